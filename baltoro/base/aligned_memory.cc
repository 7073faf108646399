// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/aligned_memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace baltoro {
namespace {

constexpr std::int64_t kSmallPage = 4096;

}  // namespace

Result<AlignedMemory> AlignedMemory::create(std::int64_t bytes) {
  AlignedMemory memory;
  if (bytes == 0) return memory;
  const auto size = static_cast<std::size_t>((bytes + kSmallPage - 1) / kSmallPage * kSmallPage);
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return Error{Errc::kResourceExhausted,
                 fmt::format("[memory] cannot take {} bytes: {}", size, std::generic_category().message(errno))};
  }
  static_cast<void>(::madvise(data, size, MADV_HUGEPAGE));  // a hint
  memory.data_ = static_cast<std::byte*>(data);
  memory.bytes_ = static_cast<std::int64_t>(size);
  return memory;
}

AlignedMemory::AlignedMemory(AlignedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

AlignedMemory& AlignedMemory::operator=(AlignedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

AlignedMemory::~AlignedMemory() {
  if (data_ != nullptr) ::munmap(data_, static_cast<std::size_t>(bytes_));
}

}  // namespace baltoro
