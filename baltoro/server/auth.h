// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/server/http.h"

namespace baltoro::server {

// The API keys a server accepts, kept as SHA-256 digests. Immutable; any thread.
class KeySet {
 public:
  KeySet() = default;
  explicit KeySet(const std::vector<std::string>& keys);

  // True when no keys were set: everyone may.
  bool open() const { return digests_.empty(); }
  // Takes the same time for every wrong key: digests are compared in constant time, against all keys.
  bool accepts(std::string_view key) const;

 private:
  using Digest = std::array<std::uint8_t, 32>;
  static Digest digest(std::string_view key);
  std::vector<Digest> digests_;
};

// The key that a request brings: Anthropic's x-api-key, else the token of Authorization; "" without one.
std::string_view presented_key(const Request& head);

// The token of "Bearer TOKEN" (any case of the word), or "".
std::string_view bearer_token(std::string_view authorization);

}  // namespace baltoro::server
