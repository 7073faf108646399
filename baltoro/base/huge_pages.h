// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "baltoro/base/result.h"

namespace baltoro {

inline constexpr std::size_t kHugePage = std::size_t{2} << 20;

// mmap of `bytes` bytes, from a file (private, from its start) or, with fd -1, anonymous and zero. The address is a
// multiple of kHugePage when there are that many bytes, so that each aligned 2 MiB of the file can be one page, and
// huge pages are asked for; where the system has none to give, small ones serve. A file is then read a huge page at a
// time, with nothing read ahead: see ReadAhead. MAP_FAILED and errno as mmap's.
void* map_for_huge_pages(int fd, std::size_t bytes, int protection);

// Gives the pages of [data, data + bytes) memory now instead of when they are first touched; contents stay. False where
// the system cannot (Linux before 5.14) or has none.
bool make_present(std::byte* data, std::size_t bytes);

// Zeroed memory of its own mapping, in huge pages where the system gives them; pages come when first touched.
// Move-only.
class HugeBuffer {
 public:
  // kResourceExhausted when the address range cannot be reserved. bytes >= 1.
  static Result<HugeBuffer> create(std::size_t bytes);
  HugeBuffer(HugeBuffer&& other) noexcept;
  HugeBuffer& operator=(HugeBuffer&& other) noexcept;
  ~HugeBuffer();

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  HugeBuffer(std::byte* data, std::size_t size) : data_(data), size_(size) {}
  std::byte* data_;
  std::size_t size_;
};

}  // namespace baltoro
