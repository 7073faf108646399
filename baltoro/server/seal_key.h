// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "baltoro/base/result.h"

namespace baltoro::server {

// A secret of the server's, for what clients keep for it. Never logged. Each use derives a key of its own, so that one
// says nothing of another.
class SealKey {
 public:
  using Bytes = std::array<std::uint8_t, 32>;

  explicit SealKey(const Bytes& bytes) : bytes_(bytes) {}
  // From the operating system: what it was used for is lost with the process.
  static SealKey random();
  // The key in that file, 64 hexadecimal digits. Where there is no such file, one with a new key is made, whole or not
  // at all, for its owner's eyes only. kInvalidArgument for a file that holds something else, kIo for one that cannot
  // be read or made; never with the key.
  static Result<SealKey> in_file(const std::string& path);

  SealKey derive(std::string_view purpose) const { return SealKey(tag(purpose)); }
  // HMAC-SHA256 of the text.
  Bytes tag(std::string_view text) const;
  const Bytes& bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

}  // namespace baltoro::server
