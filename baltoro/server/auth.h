// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "baltoro/server/http.h"
#include "baltoro/server/key_set.h"

namespace baltoro::server {

// The token of "Bearer TOKEN" (any case of the word), or "".
std::string_view bearer_token(std::string_view authorization);

// The key that a request brings: Anthropic's x-api-key, else the token of Authorization; "" without one.
std::string_view presented_key(const Request& head);

}  // namespace baltoro::server
