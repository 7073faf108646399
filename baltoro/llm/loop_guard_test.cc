// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "baltoro/llm/call_counter.h"
#include "baltoro/llm/repetition_watch.h"

namespace baltoro::llm {
namespace {

std::int64_t call(CallCounter& counter, std::string_view name, std::string_view arguments, std::size_t piece = 1000) {
  counter.begin(name);
  for (std::size_t i = 0; i < arguments.size(); i += piece) counter.arguments(arguments.substr(i, piece));
  return counter.end();
}

TEST(CallCounter, CountsTheHistoryAndThisAnswer) {
  text::Conversation conversation;
  for (const char* arguments : {R"({"path":"a b"})", R"({ "path" : "a b" })", R"({"path":"ab"})"}) {
    text::Message message{.role = text::Role::kAssistant};
    message.tool_calls.push_back({.id = "1", .name = "read", .arguments = arguments});
    conversation.messages.push_back(message);
  }
  const auto history = CallCounter::count(conversation);
  CallCounter counter(history);
  EXPECT_EQ(counter.most(), 0);
  EXPECT_EQ(call(counter, "write", R"({"path":"a b"})"), 1);
  EXPECT_EQ(call(counter, "read", R"({"path":"a  b"})"), 1);
  EXPECT_EQ(call(counter, "read", R"({"path":"ab"})"), 2);
  EXPECT_EQ(counter.most(), 2);
  EXPECT_EQ(call(counter, "read", R"({"path": "a b"})", 3), 3);
  EXPECT_EQ(call(counter, "read", "{\n\t\"path\":\"a b\"}\r\n", 1), 4);
  EXPECT_EQ(counter.most(), 4);
  CallCounter other(history);
  EXPECT_EQ(call(other, "read", R"({"path":"a b"})"), 3);  // choices do not count each other's
}

TEST(CallCounter, KnowsWhereStringsEnd) {
  CallCounter counter(std::make_shared<CallCounter::Counts>());
  EXPECT_EQ(call(counter, "f", R"({"a":"\\" , "b":"\" x"})"), 1);
  EXPECT_EQ(call(counter, "f", R"({"a":"\\","b":"\" x"})"), 2);
  EXPECT_EQ(call(counter, "f", R"({"a":"\\","b":"\"x"})"), 1);
  EXPECT_EQ(call(counter, "f{", R"("a"})"), 1);
  EXPECT_EQ(call(counter, "f", R"({"a"})"), 1);  // not the same bytes in another place
  EXPECT_EQ(call(counter, "", "not json ("), 1);
  EXPECT_EQ(call(counter, "", ""), 1);
}

// Tokens until the watch trips, -1: never.
std::int64_t trips(const std::vector<std::int32_t>& tokens) {
  RepetitionWatch watch;
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (watch.push(tokens[i])) return static_cast<std::int64_t>(i) + 1;
  return -1;
}

TEST(RepetitionWatch, FindsEveryPeriodAfterAnyBeginning) {
  std::mt19937 random(1);
  for (const std::size_t period : {1u, 2u, 3u, 7u, 31u, 32u, 33u, 100u, 511u, 512u}) {
    for (const std::size_t lead : {0u, 1u, 500u, 3000u}) {
      std::vector<std::int32_t> tokens;
      for (std::size_t i = 0; i < lead + period; ++i)
        tokens.push_back(static_cast<std::int32_t>(1000 + random() % 100'000));
      while (tokens.size() < lead + 6 * 512) tokens.push_back(tokens[tokens.size() - period]);
      const auto need = std::max(RepetitionWatch::kMinTokens, RepetitionWatch::kCopies * period);
      EXPECT_EQ(trips(tokens), static_cast<std::int64_t>(lead + need)) << period << " after " << lead;
    }
  }
}

TEST(RepetitionWatch, LeavesAloneWhatOnlyLooksLikeIt) {
  std::mt19937 random(2);
  std::vector<std::int32_t> tokens(50'000);
  for (auto& token : tokens) token = static_cast<std::int32_t>(random() % 5);  // few words, no circle
  EXPECT_EQ(trips(tokens), -1);
  for (std::size_t i = 0; i < tokens.size(); ++i)  // a list whose numbers count up
    tokens[i] = i % 20 == 7 ? static_cast<std::int32_t>(1000 + i / 20) : static_cast<std::int32_t>(i % 20);
  EXPECT_EQ(trips(tokens), -1);
  for (std::size_t i = 0; i < tokens.size(); ++i)  // a circle longer than it looks for
    tokens[i] = static_cast<std::int32_t>(i % 700);
  EXPECT_EQ(trips(tokens), -1);
  EXPECT_EQ(trips(std::vector<std::int32_t>(127, 4)), -1);
  EXPECT_EQ(trips(std::vector<std::int32_t>(128, 4)), 128);
}

TEST(RepetitionWatch, AgreesWithLookingAtAllTokens) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::int32_t> tokens;
    const std::size_t period = 1 + random() % 60;
    for (int i = 0; i < 1500; ++i) {
      const bool repeat = tokens.size() >= period && random() % 400 != 0;
      tokens.push_back(repeat ? tokens[tokens.size() - period] : static_cast<std::int32_t>(random() % 3));
    }
    std::int64_t want = -1;
    for (std::size_t end = 1; end <= tokens.size() && want < 0; ++end) {
      for (std::size_t p = 1; p <= RepetitionWatch::kMaxPeriod && want < 0; ++p) {
        const std::size_t need = std::max(RepetitionWatch::kMinTokens, RepetitionWatch::kCopies * p);
        if (need > end) break;
        bool same = true;
        for (std::size_t i = end - need + p; i < end && same; ++i) same = tokens[i] == tokens[i - p];
        if (same) want = static_cast<std::int64_t>(end);
      }
    }
    ASSERT_EQ(trips(tokens), want) << "round " << round;
  }
}

}  // namespace
}  // namespace baltoro::llm
