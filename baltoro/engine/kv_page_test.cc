// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/kv_page.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <vector>

namespace baltoro::engine {
namespace {

constexpr std::size_t kBytes = 1000;

struct Page : testing::Test {
  Page() : kv(kBytes) {
    id.fingerprint.fill(7);
    id.before.fill(1);
    id.key.fill(2);
    id.index = 5;
    for (std::size_t i = 0; i < id.tokens.size(); ++i) id.tokens[i] = static_cast<TokenId>(i * 3);
    for (std::size_t i = 0; i < kv.size(); ++i) kv[i] = static_cast<std::byte>(i * 31);
    header = make_page_header(id, kv);
  }
  PageFault check(const PageId& wanted) const { return check_page(header, kv, kBytes, wanted); }

  PageId id;
  std::vector<std::byte> kv;
  PageHeader header;
};

TEST_F(Page, IsWhatWasWritten) { EXPECT_EQ(check(id), PageFault::kNone); }

TEST_F(Page, EveryBitIsLookedAt) {
  for (std::size_t at = 0; at < kPageHeaderBytes + kBytes; ++at) {
    std::byte& byte = at < kPageHeaderBytes ? header[at] : kv[at - kPageHeaderBytes];
    for (int bit = 0; bit < 8; bit += at % 7 == 0 ? 1 : 5) {
      byte ^= static_cast<std::byte>(1 << bit);
      EXPECT_NE(check(id), PageFault::kNone) << "byte " << at << " bit " << bit;
      byte ^= static_cast<std::byte>(1 << bit);
    }
  }
  EXPECT_EQ(check(id), PageFault::kNone);
}

TEST_F(Page, EveryLengthIsLookedAt) {
  for (std::size_t size = 0; size < kPageHeaderBytes; size += 13)
    EXPECT_EQ(check_page(std::span(header).first(size), kv, kBytes, id), PageFault::kSize);
  for (std::size_t size = 0; size < kBytes; size += 77)
    EXPECT_EQ(check_page(header, std::span(kv).first(size), kBytes, id), PageFault::kSize);
  EXPECT_EQ(check_page(header, kv, kBytes + 1, id), PageFault::kSize);
  EXPECT_EQ(check_page(header, std::span(kv).first(kBytes - 1), kBytes - 1, id), PageFault::kSize);
}

// Pages that are sound, of another model, place or text.
TEST_F(Page, AnotherPageIsNamedAsSuch) {
  PageId other = id;
  other.fingerprint[31] ^= 1;
  EXPECT_EQ(check(other), PageFault::kFingerprint);
  const auto differs = [&](auto change) {
    PageId wanted = id;
    change(wanted);
    EXPECT_EQ(check(wanted), PageFault::kTokens);
  };
  differs([](PageId& wanted) { wanted.before[0] ^= 1; });
  differs([](PageId& wanted) { wanted.key[15] ^= 1; });
  differs([](PageId& wanted) { ++wanted.index; });
  differs([](PageId& wanted) { wanted.tokens[63] ^= 1; });
}

TEST_F(Page, OtherVersionsAndFormatsAreNamedAsSuch) {
  const auto with_digest = [&] {
    const auto digest = sha256(std::span(header).first(384));
    std::memcpy(header.data() + 384, digest.data(), digest.size());
  };
  header[8] = std::byte{2};
  with_digest();
  EXPECT_EQ(check(id), PageFault::kVersion);
  header[8] = std::byte{1};
  header[12] ^= std::byte{1};  // bytes of the header
  with_digest();
  EXPECT_EQ(check(id), PageFault::kHeader);
  header[12] ^= std::byte{1};
  header[0] = std::byte{'b'};
  with_digest();
  EXPECT_EQ(check(id), PageFault::kFormat);
}

TEST(ChainKeys, DependOnEverythingBefore) {
  Sha256Digest secret{}, other{};
  other[0] = 1;
  std::set<ChainKey> seen;
  std::vector<TokenId> tokens(kBlockTokens, 1);
  for (const ChainKeys& keys : {ChainKeys(secret), ChainKeys(other)}) {
    for (const CacheSalt& salt : {CacheSalt{}, CacheSalt{.high = 1, .low = 0}, CacheSalt{.high = 0, .low = 1}}) {
      ChainKey key = keys.root(salt);
      EXPECT_TRUE(seen.insert(key).second);
      for (int block = 0; block < 4; ++block) {
        key = keys.next(key, tokens);
        EXPECT_TRUE(seen.insert(key).second);
      }
      tokens.back() = 2;
      EXPECT_TRUE(seen.insert(keys.next(keys.root(salt), tokens)).second);
      tokens.back() = 1;
      EXPECT_EQ(keys.next(keys.root(salt), tokens), keys.next(keys.root(salt), tokens));
    }
  }
}

}  // namespace
}  // namespace baltoro::engine
