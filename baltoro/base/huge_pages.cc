// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/huge_pages.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <utility>

#include "baltoro/base/check.h"
#include "baltoro/base/round_up.h"

namespace baltoro {
namespace {

// An address range of `bytes` that starts at a multiple of kHugePage and holds nothing; nullptr when there is none.
void* reserve_aligned(std::size_t bytes) {
  if (bytes > std::numeric_limits<std::size_t>::max() / 2) return nullptr;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t length = round_up(bytes, page) + kHugePage;
  void* range = ::mmap(nullptr, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED) return nullptr;
  const auto begin = reinterpret_cast<std::uintptr_t>(range);
  const std::uintptr_t aligned = round_up(begin, kHugePage), end = round_up(aligned + bytes, page);
  if (aligned > begin) ::munmap(range, aligned - begin);
  if (begin + length > end) ::munmap(reinterpret_cast<void*>(end), begin + length - end);
  return reinterpret_cast<void*>(aligned);
}

// Linux 5.18 and later read a huge page at once where they are asked for, and with MADV_RANDOM no more than that: the
// same disk gives a half less without (they read two, one of them not wanted). Older ones would read 4 KiB.
bool reads_huge_pages() {
  utsname name{};
  int major = 0, minor = 0;
  if (::uname(&name) != 0 || std::sscanf(name.release, "%d.%d", &major, &minor) != 2) return false;
  return major > 5 || (major == 5 && minor >= 18);
}

}  // namespace

void* map_for_huge_pages(int fd, std::size_t bytes, int protection) {
  const int flags = MAP_PRIVATE | MAP_NORESERVE | (fd < 0 ? MAP_ANONYMOUS : 0);
  if (bytes < kHugePage) return ::mmap(nullptr, bytes, protection, flags, fd, 0);
  void* range = reserve_aligned(bytes);
  if (range == nullptr) return ::mmap(nullptr, bytes, protection, flags, fd, 0);
  void* data = ::mmap(range, bytes, protection, flags | MAP_FIXED, fd, 0);
  if (data == MAP_FAILED) {
    const int reason = errno;
    ::munmap(range, bytes);
    errno = reason;
    return MAP_FAILED;
  }
  if (::madvise(data, bytes, MADV_HUGEPAGE) == 0 && fd >= 0 && reads_huge_pages()) {
    static_cast<void>(::madvise(data, bytes, MADV_RANDOM));
  }
  return data;
}

bool make_present(std::byte* data, std::size_t bytes) { return ::madvise(data, bytes, MADV_POPULATE_WRITE) == 0; }

Result<HugeBuffer> HugeBuffer::create(std::size_t bytes) {
  BALTORO_CHECK(bytes > 0, "a buffer of at least one byte");
  void* data = map_for_huge_pages(-1, bytes, PROT_READ | PROT_WRITE);
  if (data == MAP_FAILED) {
    return Error{Errc::kResourceExhausted,
                 fmt::format("[memory] cannot reserve {} bytes: {}", bytes, std::strerror(errno))};
  }
  return HugeBuffer(static_cast<std::byte*>(data), bytes);
}

HugeBuffer::HugeBuffer(HugeBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

HugeBuffer& HugeBuffer::operator=(HugeBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

HugeBuffer::~HugeBuffer() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

}  // namespace baltoro
