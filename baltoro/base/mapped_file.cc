// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/mapped_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string_view>
#include <utility>

#include "baltoro/base/file.h"
#include "baltoro/base/huge_pages.h"

namespace baltoro {

Result<MappedFile> MappedFile::open(const std::string& path) {
  BALTORO_TRY(OpenedFile file, open_regular(path));
  if (file.bytes == 0) return Error{Errc::kCorrupt, "[file] " + path + ": it is empty"};
  void* data = map_for_huge_pages(file.fd.get(), file.bytes, PROT_READ);
  if (data == MAP_FAILED) return io_error("cannot map " + std::to_string(file.bytes) + " bytes of", path, errno);
  MappedFile mapped;
  mapped.data_ = static_cast<const std::byte*>(data);
  mapped.size_ = file.bytes;
  mapped.path_ = path;
  return mapped;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), path_(std::move(other.path_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

namespace {

void advise(std::span<const std::byte> part, int advice) {
  if (part.empty()) return;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<std::uintptr_t>(part.data());
  const std::uintptr_t begin = address / page * page;
  // A hint: a refusal changes nothing but speed.
  static_cast<void>(::madvise(reinterpret_cast<void*>(begin), address + part.size() - begin, advice));
}

extern "C" void on_mapping_fault(int) {
  constexpr std::string_view kMessage =
      "baltoro: [file] a mapped file was truncated or could not be read from disk while in use; stopping\n";
  if (::write(STDERR_FILENO, kMessage.data(), kMessage.size()) < 0) {
  }
  ::_exit(74);
}

}  // namespace

void advise_sequential(std::span<const std::byte> part) {
  advise(part, MADV_SEQUENTIAL);
  advise(part, MADV_WILLNEED);
}

void advise_normal(std::span<const std::byte> part) { advise(part, MADV_NORMAL); }
void advise_dont_need(std::span<const std::byte> part) { advise(part, MADV_DONTNEED); }

void install_mapping_fault_handler() {
  struct sigaction action = {};
  action.sa_handler = on_mapping_fault;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, nullptr);
}

}  // namespace baltoro
