// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace baltoro::server {

// Text that a client keeps for us and cannot read or change: AES-256-GCM, base64url. Immutable; any thread.
class Seal {
 public:
  static constexpr std::size_t kKeyBytes = 32;
  using Key = std::array<std::uint8_t, kKeyBytes>;

  // A key from the operating system: what was sealed is lost with the process.
  Seal();
  explicit Seal(const Key& key);

  // `owner` must be the same when it is opened (one client's text is nothing to another). Different each time.
  std::string seal(std::string_view text, std::string_view owner) const;
  // Nothing for what was not sealed with this key for that owner, or was changed.
  std::optional<std::string> open(std::string_view sealed, std::string_view owner) const;

 private:
  Key key_;
};

}  // namespace baltoro::server
