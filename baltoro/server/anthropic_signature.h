// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "baltoro/base/result.h"

namespace baltoro::server {

// Signs thoughts, so that this server knows its own again when a client sends them back. A signature is the base64 of
// a mark, the kind, an id of the key (8 bytes) and either HMAC-SHA256 of the thought or the thought itself under
// AES-256-GCM. The same thought always gets the same signature. Immutable; any thread.
class ThinkingSigner {
 public:
  static constexpr std::size_t kMinKeyBytes = 16;

  // `key` must stay secret and be at least kMinKeyBytes long; it is not kept, only what is derived from it.
  explicit ThinkingSigner(std::string_view key);
  // 32 bytes of the system's random generator.
  static std::string random_key();
  // The key in `path`: the file's bytes, kMinKeyBytes to 4096 of them. Made (mode 0600, random) where there is none.
  // kIo and kInvalidArgument with the path, never with the key.
  static Result<std::string> key_file(const std::string& path);

  // For a thought that the client sees.
  std::string sign(std::string_view thinking) const;
  // For one that it does not see: the signature carries it.
  std::string seal(std::string_view thinking) const;

  enum class Origin : std::uint8_t {
    kOurs,     // exactly as this key signed it
    kForeign,  // no signature, another maker's, or another key's: nothing can be said of it
    kAltered,  // this key's, but not for this text
  };
  struct Seen {
    Origin origin = Origin::kForeign;
    std::string thinking;  // kOurs: the thought as it was; kForeign: what the client shows
  };
  // `shown`: the text that came with the signature, empty where it was sealed.
  Seen read(std::string_view signature, std::string_view shown) const;

 private:
  using Key = std::array<std::uint8_t, 32>;
  std::string head(char kind) const;
  Key mac_key_{}, seal_key_{}, id_{};
};

}  // namespace baltoro::server
