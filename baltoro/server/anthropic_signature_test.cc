// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/anthropic_signature.h"

#include <gtest/gtest.h>

namespace baltoro::server {
namespace {

using Origin = ThinkingSigner::Origin;

const SealKey kKey(SealKey::Bytes{1, 2, 3}), kOther(SealKey::Bytes{1, 2, 4});

TEST(ThinkingSigner, KnowsItsOwn) {
  const ThinkingSigner signer(kKey), same(kKey);
  for (const std::string& text :
       {std::string(), std::string("a thought"), std::string(100'000, 'x'), std::string("\0\xff", 2)}) {
    const std::string tag = signer.sign(text), sealed = signer.seal(text);
    EXPECT_EQ(tag, same.sign(text));
    EXPECT_NE(sealed, same.seal(text));
    EXPECT_EQ(same.read(tag, text).origin, Origin::kOurs);
    EXPECT_EQ(same.read(tag, text).thinking, text);
    EXPECT_EQ(same.read(sealed, "").origin, Origin::kOurs);
    EXPECT_EQ(same.read(sealed, "").thinking, text);
    EXPECT_EQ(signer.read(tag, text + "!").origin, Origin::kAltered);
    EXPECT_EQ(signer.read(sealed, text + "!").origin, Origin::kAltered);
  }
}

TEST(ThinkingSigner, HidesWhatItSeals) {
  const ThinkingSigner signer(kKey);
  EXPECT_EQ(signer.seal("a thought").find("thought"), std::string::npos);
  EXPECT_NE(signer.seal("a thought"), signer.seal("a thoughu"));
  EXPECT_EQ(signer.sign("a thought").size(), signer.sign(std::string(5000, 'x')).size());
}

// Each changed character makes a signature altered, or (where it no longer says whose it is) foreign, never ours.
TEST(ThinkingSigner, NoChangedSignatureIsOurs) {
  const ThinkingSigner signer(kKey);
  for (const std::string& good : {signer.sign("deep"), signer.seal("deep")}) {
    for (std::size_t i = 0; i < good.size(); ++i) {
      for (const char c : {'A', 'z', '=', '\n', '\0'}) {
        std::string bad = good;
        if (bad[i] == c) continue;
        bad[i] = c;
        EXPECT_NE(signer.read(bad, "deep").origin, Origin::kOurs) << i;
        EXPECT_NE(signer.read(bad, "").origin, Origin::kOurs) << i;
      }
      EXPECT_NE(signer.read(good.substr(0, i), "deep").origin, Origin::kOurs) << i;
    }
  }
}

TEST(ThinkingSigner, SaysNothingOfOthers) {
  const ThinkingSigner signer(kKey), other(kOther);
  for (const std::string& foreign : {std::string(), std::string("x"), std::string("EqQBCgIYAhIM"), other.sign("deep"),
                                     other.seal("deep"), std::string(1 << 20, 'A'), std::string("====")}) {
    const auto seen = signer.read(foreign, "deep");
    EXPECT_EQ(seen.origin, Origin::kForeign);
    EXPECT_EQ(seen.thinking, "deep");
  }
}

}  // namespace
}  // namespace baltoro::server
