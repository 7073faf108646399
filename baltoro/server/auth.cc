// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <strings.h>

namespace baltoro::server {

KeySet::KeySet(const std::vector<std::string>& keys) {
  for (const std::string& key : keys) digests_.push_back(digest(key));
}

KeySet::Digest KeySet::digest(std::string_view key) {
  Digest out;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), out.data());
  return out;
}

bool KeySet::accepts(std::string_view key) const {
  const Digest given = digest(key);
  int found = 0;
  for (const Digest& known : digests_) found |= CRYPTO_memcmp(given.data(), known.data(), given.size()) == 0 ? 1 : 0;
  return found != 0;
}

std::string_view presented_key(const Request& head) {
  if (const std::string* key = head.header("x-api-key"); key != nullptr && !key->empty()) return *key;
  const std::string* authorization = head.header("authorization");
  return authorization == nullptr ? std::string_view() : bearer_token(*authorization);
}

std::string_view bearer_token(std::string_view authorization) {
  constexpr std::string_view kScheme = "Bearer ";
  if (authorization.size() <= kScheme.size()) return {};
  if (strncasecmp(authorization.data(), kScheme.data(), kScheme.size()) != 0) return {};
  authorization.remove_prefix(kScheme.size());
  while (authorization.starts_with(' ')) authorization.remove_prefix(1);
  return authorization;
}

}  // namespace baltoro::server
