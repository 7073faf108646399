// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/turn_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace baltoro::llm {
namespace {

text::Message said(std::string content, std::string reasoning = {}, std::vector<text::ToolCall> calls = {}) {
  text::Message message{.role = text::Role::kAssistant, .content = std::move(content)};
  message.reasoning = std::move(reasoning);
  message.tool_calls = std::move(calls);
  return message;
}

text::Message call(std::string arguments, std::string name = "get") {
  return said({}, {}, {{.id = "x", .name = std::move(name), .arguments = std::move(arguments)}});
}

TEST(TurnDigest, SeesThroughWhatClientsReformat) {
  const auto same = [](const text::Message& a, const text::Message& b) {
    EXPECT_EQ(visible_digest(a), visible_digest(b)) << a.content << " / " << b.content;
  };
  same(said("one\ntwo"), said("  one\r\ntwo\n\n"));
  same(said(""), said(" \n"));
  same(said("x", "thought"), said("x"));
  same(call(R"({"a":1,"b":[1.0,"é"]})"), call(" { \"b\" : [ 1 , \"\\u00e9\" ],\n\"a\":1.0 }\n"));
  same(call(R"({"a":-0.0,"c":1e3})"), call(R"({"c":1000,"a":0})"));
  same(call("{}"), call(""));
  same(call("not json "), call(" not json"));
  EXPECT_EQ(reasoning_digest("a  b\n\nc"), reasoning_digest("\ta b c "));
  EXPECT_EQ(reasoning_digest(" \n"), std::nullopt);
}

TEST(TurnDigest, SeesWhatIsDifferent) {
  const std::vector<text::Message> all = {said("a"),
                                          said("a b"),
                                          said("a  b"),
                                          said("a\nb"),
                                          said("a\rb"),
                                          said("A"),
                                          call("{}"),
                                          call("{}", "put"),
                                          call(R"({"a":1})"),
                                          call(R"({"a":"1"})"),
                                          call(R"({"a":1.5})"),
                                          call(R"({"a":9007199254740993})"),
                                          call(R"({"a":9007199254740992})"),
                                          call(R"({"a":" 1"})"),
                                          call(R"({"a":null})"),
                                          call(R"([{"a":1}])"),
                                          call(R"({"a":1,"a":2})"),
                                          said("get{}"),
                                          said({}, {}, {{"", "get", "{}"}, {"", "get", "{}"}})};
  for (std::size_t i = 0; i < all.size(); ++i)
    for (std::size_t j = i + 1; j < all.size(); ++j)
      EXPECT_NE(visible_digest(all[i]), visible_digest(all[j])) << i << " " << j;
  EXPECT_NE(reasoning_digest("a b"), reasoning_digest("ab"));
}

TEST(PromptDigest, IsThatOfTheWholeHoweverItGrew) {
  const std::vector<std::int32_t> ids = {5, 6, 7, 8};
  PromptDigest grown("t"), whole("t"), other("u"), none("");
  const auto part = grown.of(std::span(ids).first(1));
  EXPECT_NE(part, grown.of(std::span(ids).first(3)));
  const std::vector<std::int32_t> last = {8};
  const auto digest = whole.of(ids);
  EXPECT_EQ(grown.of(std::span(ids).first(3), last), digest);
  EXPECT_EQ(grown.of(ids), digest);
  EXPECT_NE(other.of(ids), digest);
  EXPECT_NE(none.of(ids), digest);
}

struct Store : testing::Test {
  static Sha256Digest prompt(std::int32_t id, const char* tenant = "") { return PromptDigest(tenant).of({&id, 1}); }
  static KeptTurn kept(const Sha256Digest& prompt, const text::Message& message, std::vector<text::TokenId> tokens) {
    return {.prompt = prompt,
            .visible = visible_digest(message),
            .reasoning = reasoning_digest(message.reasoning),
            .turn = {.tokens = std::move(tokens), .call_ids = {}, .reasons = !message.reasoning.empty()}};
  }
  static std::vector<text::TokenId> tokens(TurnStore& store, const Sha256Digest& prompt, const text::Message& message) {
    const auto turn = store.find(prompt, message);
    return turn == nullptr ? std::vector<text::TokenId>() : turn->tokens;
  }
  using Ids = std::vector<text::TokenId>;
};

TEST_F(Store, FindsOnlyTheSameConversationOfTheSameTenant) {
  TurnStore store;
  store.keep(kept(prompt(1), said("yes", "because"), {10, 11}));
  EXPECT_EQ(tokens(store, prompt(1), said("yes")), (Ids{10, 11}));
  EXPECT_EQ(tokens(store, prompt(1), said(" yes\n", "because\n")), (Ids{10, 11}));
  EXPECT_EQ(tokens(store, prompt(1), said("yes", "I changed that")), Ids());
  EXPECT_EQ(tokens(store, prompt(1), said("no")), Ids());
  EXPECT_EQ(tokens(store, prompt(2), said("yes")), Ids());
  EXPECT_EQ(tokens(store, prompt(1, "tenant"), said("yes")), Ids());
  EXPECT_EQ(store.stats().found, 2);
  EXPECT_EQ(store.stats().missed, 4);
}

TEST_F(Store, TellsAnswersApartByTheirReasoningElseTakesTheLatest) {
  TurnStore store;
  store.keep(kept(prompt(1), said("yes", "first"), {1}));
  store.keep(kept(prompt(1), said("yes", "second"), {2}));
  store.keep(kept(prompt(1), said("no"), {3}));
  EXPECT_EQ(tokens(store, prompt(1), said("yes", "first")), Ids{1});
  EXPECT_EQ(tokens(store, prompt(1), said("yes", "second")), Ids{2});
  EXPECT_EQ(tokens(store, prompt(1), said("yes")), Ids{2});
  EXPECT_EQ(tokens(store, prompt(1), said("no")), Ids{3});
  store.keep(kept(prompt(1), said("yes"), {4}));
  EXPECT_EQ(tokens(store, prompt(1), said("yes")), Ids{4});
  EXPECT_EQ(tokens(store, prompt(1), said("yes", "first")), Ids{1});
  store.keep(kept(prompt(1), said("yes", "first"), {5}));
  EXPECT_EQ(tokens(store, prompt(1), said("yes", "first")), Ids{5});
  EXPECT_EQ(store.stats().turns, 4);
}

TEST_F(Store, KeepsWithinItsBoundsAndDropsTheLeastRecentlyUsed) {
  TurnStore store({.turns = 3, .bytes = 1 << 20});
  for (std::int32_t i = 0; i < 3; ++i) store.keep(kept(prompt(i), said("x", "r"), {i}));
  EXPECT_EQ(tokens(store, prompt(0), said("x")), Ids{0});
  store.keep(kept(prompt(3), said("x", "r"), {3}));
  EXPECT_EQ(tokens(store, prompt(1), said("x")), Ids());
  EXPECT_EQ(tokens(store, prompt(0), said("x", "r")), Ids{0});
  TurnStore small({.turns = 100, .bytes = 5000});
  for (std::int32_t i = 0; i < 50; ++i) small.keep(kept(prompt(i), said("x"), Ids(100, i)));
  EXPECT_EQ(small.stats().turns, 5);  // 900 bytes each
  EXPECT_LE(small.stats().bytes, 5000);
  EXPECT_EQ(small.stats().dropped, 45);
  small.keep(kept(prompt(99), said("x"), Ids(5000, 1)));  // never fits
  EXPECT_EQ(small.stats().turns, 5);
  EXPECT_EQ(tokens(small, prompt(49), said("x")), Ids(100, 49));
}

}  // namespace
}  // namespace baltoro::llm
