// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/auth.h"

#include <strings.h>

namespace baltoro::server {

std::string_view bearer_token(std::string_view authorization) {
  constexpr std::string_view kScheme = "Bearer ";
  if (authorization.size() <= kScheme.size()) return {};
  if (strncasecmp(authorization.data(), kScheme.data(), kScheme.size()) != 0) return {};
  authorization.remove_prefix(kScheme.size());
  while (authorization.starts_with(' ')) authorization.remove_prefix(1);
  return authorization;
}

std::string_view presented_key(const Request& head) {
  if (const std::string* key = head.header("x-api-key"); key != nullptr && !key->empty()) return *key;
  const std::string* authorization = head.header("authorization");
  return authorization == nullptr ? std::string_view() : bearer_token(*authorization);
}

}  // namespace baltoro::server
