// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/anthropic_signature.h"

#include <openssl/crypto.h>

#include "baltoro/server/base64url.h"

namespace baltoro::server {
namespace {

constexpr std::string_view kMark = "BTk2";
constexpr char kTagged = 't', kSealed = 's';
constexpr std::size_t kIdBytes = 8;
constexpr std::size_t kHeadBytes = kMark.size() + 1 + kIdBytes;

std::string_view text_of(const SealKey::Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

ThinkingSigner::ThinkingSigner(const SealKey& key)
    : tags_(key.derive("thinking: tag")), seal_(key.derive("thinking: seal")), id_(key.tag("thinking: id")) {}

std::string ThinkingSigner::head(char kind) const {
  return std::string(kMark) + kind + std::string(text_of(id_).substr(0, kIdBytes));
}

std::string ThinkingSigner::sign(std::string_view thinking) const {
  return to_base64url(head(kTagged) + std::string(text_of(tags_.tag(thinking))));
}

std::string ThinkingSigner::seal(std::string_view thinking) const {
  return to_base64url(head(kSealed) + seal_.encrypt(thinking, {}));
}

ThinkingSigner::Seen ThinkingSigner::read(std::string_view signature, std::string_view shown) const {
  const auto bytes = from_base64url(signature);
  if (!bytes || bytes->size() < kHeadBytes) return {Origin::kForeign, std::string(shown)};
  const std::string_view start = std::string_view(*bytes).substr(0, kHeadBytes);
  const std::string_view rest = std::string_view(*bytes).substr(kHeadBytes);
  if (start == head(kTagged)) {
    const SealKey::Bytes needed = tags_.tag(shown);
    const bool same = rest.size() == needed.size() && CRYPTO_memcmp(rest.data(), needed.data(), needed.size()) == 0;
    return same ? Seen{Origin::kOurs, std::string(shown)} : Seen{Origin::kAltered, {}};
  }
  if (start == head(kSealed)) {
    auto thinking = seal_.decrypt(rest, {});
    if (!thinking || (!shown.empty() && shown != *thinking)) return {Origin::kAltered, {}};
    return {Origin::kOurs, *std::move(thinking)};
  }
  return {Origin::kForeign, std::string(shown)};
}

}  // namespace baltoro::server
