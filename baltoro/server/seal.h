// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "baltoro/server/seal_key.h"

namespace baltoro::server {

// Text that a client keeps for us and cannot read or change: AES-256-GCM, base64url. Immutable; any thread.
class Seal {
 public:
  explicit Seal(const SealKey& key) : key_(key) {}

  // `owner` must be the same when it is opened (one client's text is nothing to another). Different each time.
  std::string seal(std::string_view text, std::string_view owner) const;
  // Nothing for what was not sealed with this key for that owner, or was changed.
  std::optional<std::string> open(std::string_view sealed, std::string_view owner) const;
  // The same as bytes.
  std::string encrypt(std::string_view text, std::string_view owner) const;
  std::optional<std::string> decrypt(std::string_view sealed, std::string_view owner) const;

 private:
  SealKey key_;
};

}  // namespace baltoro::server
