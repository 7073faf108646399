// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/auth.h"

#include <gtest/gtest.h>

namespace baltoro::server {
namespace {

TEST(KeySet, AcceptsItsKeysOnly) {
  const KeySet keys = KeySet::of(plain_keys({"first-key", "second-key"}));
  EXPECT_FALSE(keys.open());
  EXPECT_TRUE(keys.accepts("first-key"));
  EXPECT_TRUE(keys.accepts("second-key"));
  EXPECT_FALSE(keys.accepts(""));
  EXPECT_FALSE(keys.accepts("first-ke"));
  EXPECT_FALSE(keys.accepts("first-key2"));
  EXPECT_FALSE(keys.accepts(std::string("first-key\0", 10)));
  EXPECT_FALSE(keys.accepts(std::string(1 << 20, 'k')));
  EXPECT_TRUE(KeySet().open());
}

TEST(BearerToken, TakesTheTokenOfTheSchemeOnly) {
  EXPECT_EQ(bearer_token("Bearer abc"), "abc");
  EXPECT_EQ(bearer_token("bearer  abc"), "abc");
  EXPECT_EQ(bearer_token("Basic abc"), "");
  EXPECT_EQ(bearer_token("Bearer"), "");
  EXPECT_EQ(bearer_token(""), "");
}

TEST(PresentedKey, EitherHeader) {
  Request head;
  EXPECT_EQ(presented_key(head), "");
  head.headers = {{"authorization", "Bearer abc"}};
  EXPECT_EQ(presented_key(head), "abc");
  head.headers.emplace_back("x-api-key", "");
  EXPECT_EQ(presented_key(head), "abc");
  head.headers.back().second = "xyz";
  EXPECT_EQ(presented_key(head), "xyz");
}

}  // namespace
}  // namespace baltoro::server
