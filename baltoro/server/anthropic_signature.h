// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "baltoro/server/seal.h"

namespace baltoro::server {

// Signs thoughts, so that this server knows its own again when a client sends them back. A signature is the base64url
// of a mark, the kind, an id of the key (8 bytes) and either HMAC-SHA256 of the thought or the thought itself, sealed.
// Immutable; any thread.
class ThinkingSigner {
 public:
  explicit ThinkingSigner(const SealKey& key);

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
  std::string head(char kind) const;
  SealKey tags_;
  Seal seal_;
  SealKey::Bytes id_;
};

}  // namespace baltoro::server
