// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/page_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "baltoro/base/file.h"

namespace baltoro {
namespace {

constexpr std::size_t kPiece = 4 << 20;

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
  std::vector<std::byte> buffer(kPiece);
  for (;;) {
    const ssize_t got = ::read(file.fd.get(), buffer.data(), kPiece);
    if (got == 0) return {};
    if (got < 0 && errno != EINTR) return failed(path, "read", errno);
  }
}

}  // namespace baltoro
