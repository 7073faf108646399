// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "baltoro/base/hex.h"  // to_hex: a digest in 64 digits

namespace baltoro {

using Sha256Digest = std::array<std::uint8_t, 32>;

// SHA-256 (FIPS 180-4) of bytes given in any number of pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  Sha256 fork() const;  // another that has seen the same bytes
  void update(std::span<const std::byte> bytes);
  Sha256Digest finish();  // once

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

Sha256Digest sha256(std::span<const std::byte> bytes);

}  // namespace baltoro
