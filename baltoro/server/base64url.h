// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace baltoro::server {

// RFC 4648's base64url, without padding.
std::string to_base64url(std::string_view bytes);
// Nothing for what to_base64url would not have written: each byte string has one text.
std::optional<std::string> from_base64url(std::string_view text);

}  // namespace baltoro::server
