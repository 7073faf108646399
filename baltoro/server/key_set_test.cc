// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/key_set.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace baltoro::server {
namespace {

struct Time {
  double now = 100;
  std::function<double()> clock() {
    return [this] { return now; };
  }
};

std::string header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers)
    if (key == name) return value;
  return "-";
}

TEST(TokenBucket, RefillsSteadilyAndRemembersDebt) {
  TokenBucket bucket(60, 0);
  EXPECT_EQ(bucket.wait(60, 0), 0);
  bucket.take(60, 0);
  EXPECT_DOUBLE_EQ(bucket.wait(1, 0), 1);
  EXPECT_DOUBLE_EQ(bucket.wait(1, 0.5), 0.5);
  EXPECT_EQ(bucket.wait(1, 1), 0);
  bucket.take(31, 1);  // 1 was there: 30 of debt
  EXPECT_DOUBLE_EQ(bucket.wait(1, 1), 31);
  bucket.take(-1000, 1);
  EXPECT_EQ(bucket.left(1), 60);
  EXPECT_EQ(bucket.wait(1e9, 1), 0);  // more than it holds needs a full one
  EXPECT_EQ(bucket.left(0.5), 60);    // a clock that goes back changes nothing
}

TEST(KeyAccount, RequestsPerMinute) {
  Time time;
  KeyAccount account("a", {.requests_per_minute = 2}, time.clock());
  EXPECT_TRUE(account.begin(10).ok());
  EXPECT_TRUE(account.begin(10).ok());
  const Status third = account.begin(10);
  ASSERT_FALSE(third.ok());
  EXPECT_EQ(third.error().code, Errc::kRateLimited);
  EXPECT_DOUBLE_EQ(third.error().retry_seconds, 30);
  EXPECT_NE(third.error().message.find("requests per minute (current: 2, limit: 2); try again in 30 s"),
            std::string::npos)
      << third.error().message;
  time.now += 30;
  EXPECT_TRUE(account.begin(10).ok());
  EXPECT_FALSE(account.begin(10).ok());
}

TEST(KeyAccount, TokensAreBookedUpFrontAndCorrectedAtTheEnd) {
  Time time;
  const auto account = std::make_shared<KeyAccount>("a", KeyLimits{.tokens_per_minute = 1000}, time.clock());
  {
    Booking first = *Booking::make(account, 900);
    EXPECT_EQ(account->begin(200).error().code, Errc::kRateLimited);
    EXPECT_EQ(header(account->headers(), "X-RateLimit-Remaining"), "100");
    first.use(150);
  }
  EXPECT_EQ(header(account->headers(), "X-RateLimit-Remaining-Tokens"), "850");
  EXPECT_EQ(header(account->headers(), "X-RateLimit-Limit"), "1000");
  EXPECT_EQ(header(account->headers(), "X-RateLimit-Reset"), "9");
  EXPECT_EQ(header(account->headers(), "X-RateLimit-Limit-Requests"), "-");
  EXPECT_FALSE(Booking::make(account, 5000).ok());  // larger than the bucket: only when that is full
  time.now += 9;
  Booking large = *Booking::make(account, 5000);
  large.use(1200);
}

TEST(KeyAccount, Concurrency) {
  Time time;
  const auto account = std::make_shared<KeyAccount>("a", KeyLimits{.max_concurrent = 1}, time.clock());
  {
    Booking first = *Booking::make(account, 5);
    EXPECT_EQ(account->begin(5).error().code, Errc::kRateLimited);
    Booking moved = std::move(first);
    EXPECT_EQ(account->begin(5).error().code, Errc::kRateLimited);
  }
  EXPECT_TRUE(Booking::make(account, 5).ok());
  EXPECT_TRUE(account->headers().empty());
}

TEST(KeyAccount, ABudgetEndsForGood) {
  Time time;
  const auto account = std::make_shared<KeyAccount>("a", KeyLimits{.tokens_total = 100}, time.clock());
  Booking::make(account, 80)->use(60);
  const auto over = Booking::make(account, 41);
  ASSERT_FALSE(over.ok());
  EXPECT_EQ(over.error().code, Errc::kQuotaExceeded);
  EXPECT_NE(over.error().message.find("current: 60, limit: 100"), std::string::npos) << over.error().message;
  time.now += 1e6;
  EXPECT_FALSE(Booking::make(account, 41).ok());
  EXPECT_TRUE(Booking::make(account, 40).ok());
}

TEST(KeySet, AccountsOutliveAReload) {
  Time time;
  const KeyEntry a{.name = "a", .digest = key_digest("ka"), .limits = {.requests_per_minute = 1}};
  const KeyEntry b{.name = "b", .digest = key_digest("kb"), .limits = {}};
  KeySet keys = KeySet::of({a, b}, time.clock());
  const KeySet copy = keys;
  EXPECT_TRUE(copy.account("ka")->begin(1).ok());
  keys.replace({{.name = "a", .digest = key_digest("ka"), .limits = {.requests_per_minute = 2}},
                {.name = "c", .digest = key_digest("kc"), .limits = {}}});
  EXPECT_EQ(copy.account("kb"), nullptr);
  EXPECT_EQ(copy.account("kc")->name(), "c");
  EXPECT_FALSE(copy.account("ka")->begin(1).ok());  // none of one was left, none of two is
  time.now += 30;
  EXPECT_TRUE(copy.account("ka")->begin(1).ok());
}

TEST(ParseKeys, ReadsAll) {
  const auto keys = parse_keys(R"({"keys":[{"name":"ci","key":"sk-1","max_concurrent":2,"requests_per_minute":3,
      "tokens_per_minute":4,"tokens_total":5,"priority":-6},{"name":"dev",
      "sha256":"2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}]})");
  ASSERT_TRUE(keys.ok()) << keys.error().message;
  ASSERT_EQ(keys->size(), 2u);
  const KeyEntry& ci = keys->front();
  EXPECT_EQ(ci.name, "ci");
  EXPECT_EQ(ci.digest, key_digest("sk-1"));
  EXPECT_EQ(ci.limits.max_concurrent, 2);
  EXPECT_EQ(ci.limits.requests_per_minute, 3);
  EXPECT_EQ(ci.limits.tokens_per_minute, 4);
  EXPECT_EQ(ci.limits.tokens_total, 5);
  EXPECT_EQ(ci.limits.priority, -6);
  EXPECT_TRUE(KeySet::of(*keys).accepts("foo"));
}

TEST(ParseKeys, RefusesWithoutTellingTheKey) {
  for (const char* text : {"",
                           "[]",
                           "{}",
                           R"({"keys":[]})",
                           R"({"keys":{}})",
                           R"({"keys":[1]})",
                           R"({"keys":[{"name":"a"}]})",
                           R"({"keys":[{"key":"secret"}]})",
                           R"({"keys":[{"name":"a b","key":"secret"}]})",
                           R"({"keys":[{"name":"a","key":""}]})",
                           R"({"keys":[{"name":"a","sha256":"secret"}]})",
                           R"({"keys":[{"name":"a","key":"secret","sha256":
            "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}]})",
                           R"({"keys":[{"name":"a","key":"secret","rpm":5}]})",
                           R"({"keys":[{"name":"a","key":"secret","priority":1.5}]})",
                           R"({"keys":[{"name":"a","key":"secret","tokens_total":0}]})",
                           R"({"keys":[{"name":"a","key":"secret","tokens_total":"5"}]})",
                           R"({"keys":[{"name":"a","key":"secret","tokens_total":-5}]})",
                           R"({"keys":[{"name":"a","key":"secret"},{"name":"b","key":"secret"}]})",
                           R"({"keys":[{"name":"a","key":"secret"},{"name":"a","key":"other"}]})",
                           R"({"keys":[{"name":"a","key":"secret"}],"more":1})"}) {
    const auto keys = parse_keys(text);
    ASSERT_FALSE(keys.ok()) << text;
    EXPECT_EQ(keys.error().code, Errc::kInvalidArgument) << text;
    EXPECT_EQ(keys.error().message.find("secret"), std::string::npos) << keys.error().message;
  }
}

}  // namespace
}  // namespace baltoro::server
