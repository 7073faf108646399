// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/page_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "baltoro/base/clock.h"
#include "baltoro/base/file.h"

namespace baltoro {
namespace {

constexpr std::size_t kPiece = 4 << 20;
constexpr int kReaders = 4;
constexpr std::size_t kAlignment = 4096;  // of O_DIRECT buffers; every common file system takes it

struct Free {
  void operator()(std::byte* data) const { std::free(data); }
};
using AlignedBuffer = std::unique_ptr<std::byte, Free>;
AlignedBuffer aligned_buffer() {
  return AlignedBuffer(static_cast<std::byte*>(std::aligned_alloc(kAlignment, kPiece)));
}

Error failed(const std::string& path, const char* what, int code) {
  return Error{Errc::kIo, fmt::format("[page cache] {}: {}: {}", path, what, std::strerror(code))};
}

}  // namespace

Result<std::uint64_t> cached_bytes(const std::string& path) {
  BALTORO_TRY(const OpenedFile file, open_regular(path));
  if (file.bytes == 0) return std::uint64_t{0};
  const auto bytes = static_cast<std::size_t>(file.bytes);
  void* data = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.fd.get(), 0);
  if (data == MAP_FAILED) return failed(path, "mmap", errno);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> present((bytes + page - 1) / page);
  const int result = ::mincore(data, bytes, present.data());
  const int code = errno;
  ::munmap(data, bytes);
  if (result != 0) return failed(path, "mincore", code);
  const auto pages = std::count_if(present.begin(), present.end(), [](unsigned char p) { return (p & 1U) != 0; });
  return std::min<std::uint64_t>(static_cast<std::uint64_t>(pages) * page, file.bytes);
}

Status drop_from_page_cache(const std::string& path) {
  BALTORO_TRY(const OpenedFile file, open_regular(path));
  (void)::fdatasync(file.fd.get());  // pages still to be written cannot be dropped
  const int code = ::posix_fadvise(file.fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  if (code != 0) return failed(path, "posix_fadvise", code);
  return {};
}

Status read_through(const std::string& path) {
  BALTORO_TRY(const OpenedFile file, open_regular(path));
  const AlignedBuffer buffer = aligned_buffer();
  if (buffer == nullptr) return Error{Errc::kResourceExhausted, "[page cache] no memory for a buffer of 4 MiB"};
  for (;;) {
    const ssize_t got = ::read(file.fd.get(), buffer.get(), kPiece);
    if (got == 0) return {};
    if (got < 0 && errno != EINTR) return failed(path, "read", errno);
  }
}

Result<double> direct_read_rate(const std::string& path, std::uint64_t bytes, double seconds) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT));
  if (!file.open()) {
    const int code = errno;
    if (code == EINVAL) return Error{Errc::kUnsupported, fmt::format("[page cache] {}: no O_DIRECT reads", path)};
    return failed(path, "open", code);
  }
  std::atomic<std::uint64_t> next{0}, done{0};
  std::atomic<int> error{0};
  const double start = steady_seconds();
  const auto work = [&] {
    const AlignedBuffer buffer = aligned_buffer();
    while (buffer != nullptr && error == 0 && steady_seconds() - start < seconds) {
      const std::uint64_t at = next.fetch_add(kPiece);
      if (at >= bytes) return;
      const ssize_t got = ::pread(file.get(), buffer.get(), kPiece, static_cast<off_t>(at));
      if (got < 0) error = errno;
      if (got <= 0) return;
      done += static_cast<std::uint64_t>(got);
    }
  };
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) readers.emplace_back(work);
  for (auto& reader : readers) reader.join();
  if (error != 0) return failed(path, "pread", error);
  if (done == 0) return Error{Errc::kIo, fmt::format("[page cache] {}: nothing could be read", path)};
  return static_cast<double>(done) / (steady_seconds() - start);
}

}  // namespace baltoro
