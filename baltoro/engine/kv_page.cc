// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/kv_page.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace baltoro::engine {
namespace {

static_assert(std::endian::native == std::endian::little, "pages are written as memory holds them");

constexpr std::string_view kMagic = "BALTORO\n";
constexpr std::size_t kVersionAt = 8, kHeaderBytesAt = 12, kFingerprintAt = 16, kBeforeAt = 48, kKeyAt = 64,
                      kIndexAt = 80, kBytesAt = 88, kTokensAt = 96, kContentAt = 352, kDigestAt = 384;

template <typename T>
void put(PageHeader& header, std::size_t at, const T& value) {
  std::memcpy(header.data() + at, &value, sizeof value);
}

template <typename T>
bool has(std::span<const std::byte> header, std::size_t at, const T& value) {
  return std::memcmp(header.data() + at, &value, sizeof value) == 0;
}

ChainKey cut(const Sha256Digest& digest) {
  ChainKey key;
  std::copy_n(digest.begin(), key.size(), key.begin());
  return key;
}

}  // namespace

ChainKey ChainKeys::root(CacheSalt salt) const {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(secret_)));
  hash.update(std::as_bytes(std::span(&salt.high, 1)));
  hash.update(std::as_bytes(std::span(&salt.low, 1)));
  return cut(hash.finish());
}

ChainKey ChainKeys::next(const ChainKey& before, std::span<const TokenId> tokens) const {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(secret_)));
  hash.update(std::as_bytes(std::span(before)));
  hash.update(std::as_bytes(tokens));
  return cut(hash.finish());
}

PageHeader make_page_header(const PageId& id, std::span<const std::byte> kv) {
  PageHeader header{};
  std::memcpy(header.data(), kMagic.data(), kMagic.size());
  put(header, kVersionAt, kPageVersion);
  put(header, kHeaderBytesAt, static_cast<std::uint32_t>(kPageHeaderBytes));
  put(header, kFingerprintAt, id.fingerprint);
  put(header, kBeforeAt, id.before);
  put(header, kKeyAt, id.key);
  put(header, kIndexAt, id.index);
  put(header, kBytesAt, static_cast<std::uint64_t>(kv.size()));
  put(header, kTokensAt, id.tokens);
  put(header, kContentAt, sha256(kv));
  put(header, kDigestAt, sha256(std::span(header).first(kDigestAt)));
  return header;
}

const char* page_fault_name(PageFault fault) {
  static constexpr const char* kNames[] = {"none",   "size",        "format", "version",
                                           "header", "fingerprint", "tokens", "content"};
  return kNames[static_cast<std::size_t>(fault)];
}

PageFault check_page(std::span<const std::byte> header, std::span<const std::byte> kv, std::size_t kv_bytes,
                     const PageId& wanted) {
  if (header.size() != kPageHeaderBytes || kv.size() != kv_bytes) return PageFault::kSize;
  if (std::memcmp(header.data(), kMagic.data(), kMagic.size()) != 0) return PageFault::kFormat;
  if (!has(header, kVersionAt, kPageVersion)) return PageFault::kVersion;
  if (!has(header, kDigestAt, sha256(header.first(kDigestAt)))) return PageFault::kHeader;
  if (!has(header, kHeaderBytesAt, static_cast<std::uint32_t>(kPageHeaderBytes))) return PageFault::kHeader;
  if (!has(header, kFingerprintAt, wanted.fingerprint)) return PageFault::kFingerprint;
  if (!has(header, kBytesAt, static_cast<std::uint64_t>(kv_bytes))) return PageFault::kSize;
  const bool same = has(header, kBeforeAt, wanted.before) && has(header, kKeyAt, wanted.key) &&
                    has(header, kIndexAt, wanted.index) && has(header, kTokensAt, wanted.tokens);
  if (!same) return PageFault::kTokens;
  return has(header, kContentAt, sha256(kv)) ? PageFault::kNone : PageFault::kContent;
}

}  // namespace baltoro::engine
