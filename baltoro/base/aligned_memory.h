// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "baltoro/base/result.h"

namespace baltoro {

// Page-aligned anonymous memory, in huge pages where the system has them. Move-only.
class AlignedMemory {
 public:
  // kResourceExhausted. `bytes` 0 gives none.
  static Result<AlignedMemory> create(std::int64_t bytes);
  AlignedMemory() = default;
  AlignedMemory(AlignedMemory&& other) noexcept;
  AlignedMemory& operator=(AlignedMemory&& other) noexcept;
  ~AlignedMemory();
  std::byte* data() const { return data_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;
  std::int64_t bytes_ = 0;
};

}  // namespace baltoro
