// SPDX-License-Identifier: Apache-2.0
// Answers that stand in a prompt as they were sampled: when, where, and that the next prompt goes on from them.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <utility>

#include "baltoro/text/chat_format.h"
#include "baltoro/text/test_tokenizer.h"

namespace baltoro::text {
namespace {

using Ids = std::vector<TokenId>;

struct Family {
  ChatFamily family;
  bool thinks;
  std::shared_ptr<const Tokenizer> vocabulary;
  std::shared_ptr<const ChatFormat> format;

  explicit Family(ChatFamily kind, bool think_tokens = true)
      : family(kind),
        thinks(kind == ChatFamily::kK2Thinking || kind == ChatFamily::kK25),
        vocabulary(std::make_shared<TestTokenizer>(kind <= ChatFamily::kK25 ? kimi_specials(think_tokens)
                                                                            : deepseek_specials(think_tokens))),
        format(*make_chat_format(kind, vocabulary)) {}

  Ids render(const Conversation& conversation, RenderOptions options = {}) const {
    auto ids = format->render(conversation, options);
    EXPECT_TRUE(ids.ok()) << (ids.ok() ? "" : ids.error().message);
    return ids.ok() ? *ids : Ids();
  }
  Ids encode(std::string_view text) const { return vocabulary->encode(text, ParseSpecial::kYes); }
};

// Turns by the prompt before them; a log of what was asked.
struct Known final : SampledTurns {
  const SampledTurn* find(std::span<const TokenId> before, std::span<const TokenId> opening, const Message&) override {
    EXPECT_TRUE(before.size() >= last.size() && std::equal(last.begin(), last.end(), before.begin()));
    last.assign(before.begin(), before.end());
    Ids prompt = last;
    prompt.insert(prompt.end(), opening.begin(), opening.end());
    asked.push_back(prompt);
    const auto found = turns.find(prompt);
    return found == turns.end() ? nullptr : &found->second;
  }
  std::map<Ids, SampledTurn> turns;
  std::vector<Ids> asked;
  Ids last;
};

Message user(std::string content) { return {.role = Role::kUser, .content = std::move(content)}; }
Message answer(std::string content, std::vector<ToolCall> calls = {}) {
  return {.role = Role::kAssistant, .content = std::move(content), .tool_calls = std::move(calls)};
}
Message result(std::string id, std::string content) {
  return {.role = Role::kTool, .content = std::move(content), .tool_call_id = std::move(id)};
}

bool starts_with(const Ids& ids, const Ids& start) {
  return ids.size() >= start.size() && std::equal(start.begin(), start.end(), ids.begin());
}

Ids joined(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class EveryFamily : public testing::TestWithParam<ChatFamily> {};
INSTANTIATE_TEST_SUITE_P(Chat, EveryFamily,
                         testing::Values(ChatFamily::kK2Instruct, ChatFamily::kK2Thinking, ChatFamily::kK25,
                                         ChatFamily::kDeepSeekV3, ChatFamily::kDeepSeekV31),
                         [](const auto& kind) {
                           std::string name = chat_family_name(kind.param);
                           std::erase_if(name, [](char c) { return c == '-' || c == '.'; });
                           return name;
                         });

// A chain of calls: each prompt is the last one, its answer as sampled, and more.
TEST_P(EveryFamily, AChainOfCallsOnlyGrows) {
  const Family family(GetParam());
  Known known;
  Conversation conversation{.messages = {user("go")}};
  conversation.tools.push_back({.name = "get", .declaration = *json::parse(R"({"function":{"name":"get"}})")});
  RenderOptions options;
  options.thinking = family.thinks;
  Ids grown;
  for (int turn = 0; turn < 5; ++turn) {
    known.last.clear();
    options.sampled = &known;
    const Ids prompt = family.render(conversation, options);
    EXPECT_TRUE(starts_with(prompt, grown)) << turn;
    const std::string id = "functions.get:" + std::to_string(turn);
    // Not as the text would be tokenised or written: an id of its own, odd spaces.
    const Ids sampled = joined({77, 77, 300 % family.vocabulary->vocab_size()}, family.encode("odd  " + id));
    known.turns[prompt] = {
        .tokens = sampled,
        .call_ids = GetParam() <= ChatFamily::kK25 ? std::vector<std::string>{id} : std::vector<std::string>{},
        .reasons = family.thinks};
    grown = joined(prompt, sampled);
    conversation.messages.push_back(answer("shown", {{"client-" + std::to_string(turn), "get", "{ }"}}));
    conversation.messages.push_back(result("client-" + std::to_string(turn), "value"));
  }
}

TEST_P(EveryFamily, WhatIsNotKnownIsRenderedAsEver) {
  for (const bool think_tokens : {true, false}) {
    const Family family(GetParam(), think_tokens);
    Conversation conversation{.messages = {user("a"), answer("b"), user("c"), answer("d", {{"1", "get", "{}"}}),
                                           result("1", "e"), answer("", {{"2", "get", "{}"}}), result("2", "f")}};
    for (const bool thinking : {true, false}) {
      RenderOptions options{.thinking = thinking};
      const Ids plain = family.render(conversation, options);
      Known nothing;
      options.sampled = &nothing;
      EXPECT_EQ(family.render(conversation, options), plain);
      EXPECT_GT(nothing.asked.size(), 0u);
    }
  }
}

// The prompt that is asked for is the one that the generation prompt made.
TEST_P(EveryFamily, AsksForThePromptsThatWereRendered) {
  for (const bool think_tokens : {true, false}) {
    const Family family(GetParam(), think_tokens);
    Conversation conversation{.messages = {user("a"), answer("", {{"1", "get", "{}"}}), result("1", "e"),
                                           answer("", {{"2", "get", "{}"}}), result("2", "f")}};
    RenderOptions options{.thinking = family.thinks};
    const Ids first = family.render({.messages = {conversation.messages[0]}}, options);
    Known nothing;
    options.sampled = &nothing;
    static_cast<void>(family.render(conversation, options));
    ASSERT_EQ(nothing.asked.size(), 2u);
    EXPECT_EQ(nothing.asked[0], first);
  }
}

TEST(ChatSampled, DroppedReasoningStaysDropped) {
  const Conversation ended{.messages = {user("a"), answer("", {{"1", "get", "{}"}}), result("1", "e"), answer("done"),
                                        user("next"), answer("", {{"2", "get", "{}"}}), result("2", "f")}};
  const Family family(ChatFamily::kK2Thinking);
  Known known;
  const Ids plain = family.render(ended);
  static_cast<void>(family.render(ended, {.sampled = &known}));
  EXPECT_EQ(known.asked.size(), 1u);  // the last chain's call alone

  const Family k25(ChatFamily::kK25);
  Known all;
  static_cast<void>(k25.render(ended, {.preserve_thinking = true, .sampled = &all}));
  EXPECT_EQ(all.asked.size(), 3u);
  Known instant;
  static_cast<void>(k25.render(ended, {.thinking = false, .sampled = &instant}));
  EXPECT_EQ(instant.asked.size(), 3u);
}

TEST(ChatSampled, DeepSeekNeverShowsReasoningAgain) {
  const Family family(ChatFamily::kDeepSeekV3);
  const Conversation conversation{.messages = {user("a"), answer("b"), user("c")}};
  const Ids plain = family.render(conversation);
  Known known;
  known.turns[family.render({.messages = {user("a")}})] = {.tokens = {1, 2}, .call_ids = {}, .reasons = true};
  EXPECT_EQ(family.render(conversation, {.sampled = &known}), plain);
  known.turns.begin()->second.reasons = false;
  known.last.clear();
  EXPECT_NE(family.render(conversation, {.sampled = &known}), plain);
}

// A result is named after the id that the model gave the call, not after the count.
TEST(ChatSampled, ResultsCarryTheIdsThatTheModelWrote) {
  const Family family(ChatFamily::kK2Instruct);
  Known known;
  const Ids prompt = family.render({.messages = {user("a")}});
  known.turns[prompt] = {
      .tokens = family.encode("ids<|im_end|>"), .call_ids = {"functions.get:7", "functions.put:9"}, .reasons = false};
  const Conversation conversation{.messages = {user("a"), answer("", {{"x", "get", "{}"}, {"y", "put", "{}"}}),
                                               result("y", "Y"), result("x", "X")}};
  const auto text = family.format->render_text(conversation, {.sampled = &known});
  ASSERT_TRUE(text.ok());
  EXPECT_NE(text->find("ids<|im_end|>"), std::string::npos);
  EXPECT_NE(text->find("## Return of functions.put:9\nY"), std::string::npos) << *text;
  EXPECT_NE(text->find("## Return of functions.get:7\nX"), std::string::npos);
  known.last.clear();
  known.turns[prompt].call_ids.pop_back();  // not the calls that the client sends: rendered from its text
  const auto other = family.format->render_text(conversation, {.sampled = &known});
  EXPECT_EQ(*other, *family.format->render_text(conversation, {}));
}

TEST(ChatSampled, TheEndOfATurnIsThatOfAPrompt) {
  for (const ChatFamily kind : {ChatFamily::kK2Instruct, ChatFamily::kK25, ChatFamily::kDeepSeekV31}) {
    const Family family(kind);
    const Conversation conversation{.messages = {user("a"), answer("b", {{"1", "get", "{}"}})}};
    const Ids ids = family.render(conversation, {.thinking = false, .add_generation_prompt = false});
    const Ids after_call = family.format->end_of_turn(true), plain = family.format->end_of_turn(false);
    EXPECT_EQ(after_call.size(), 2u);
    EXPECT_TRUE(std::equal(after_call.rbegin(), after_call.rend(), ids.rbegin()));
    EXPECT_EQ(plain, Ids{ids.back()});
  }
}

TEST(OutputParserClean, TellsWhetherAnythingWasLost) {
  const Family family(ChatFamily::kK2Thinking);
  const auto clean = [&](std::string_view text) {
    const auto parser = family.format->make_parser({}, {});
    std::vector<ParsedEvent> events;
    for (const TokenId id : family.encode(text))
      parser->push(id, family.vocabulary->token_bytes(id), family.vocabulary->is_special(id), events);
    parser->finish(events);
    return parser->clean();
  };
  const std::string call = "<|tool_call_begin|>functions.get:0<|tool_call_argument_begin|>{\"a\":1}<|tool_call_end|>";
  const std::string section = "<|tool_calls_section_begin|>" + call + "<|tool_calls_section_end|>";
  EXPECT_TRUE(clean("<think>x</think>y"));
  EXPECT_TRUE(clean("x</think>y" + section));
  EXPECT_TRUE(clean("<think>x" + section));
  EXPECT_TRUE(clean("<think>x</think><|tool_calls_section_begin|>" + call + call + "<|tool_calls_section_end|>"));
  EXPECT_FALSE(clean("<think>x</think>y<|im_user|>z"));
  EXPECT_FALSE(clean("<think>x</think>y</think>z"));
  EXPECT_FALSE(clean("<think>x</think>y<think>z</think>"));
  EXPECT_FALSE(clean("x</think><|tool_calls_section_begin|><|tool_call_begin|>"));
  EXPECT_FALSE(clean("x</think><|tool_calls_section_begin|><|tool_call_begin|>functions.ge"));
  EXPECT_FALSE(clean("x</think><|tool_call_begin|>functions.get:0<|tool_call_argument_begin|>{"));
  EXPECT_FALSE(clean("x</think>y<|tool_call_end|>"));
  EXPECT_FALSE(clean("x</think>y<|tool_calls_section_end|>"));
  EXPECT_FALSE(clean("x</think>y<|tool_call_argument_begin|>{}"));
  EXPECT_FALSE(clean("x</think><|tool_call_begin|><|tool_call_argument_begin|>{}<|tool_call_end|>"));
}

}  // namespace
}  // namespace baltoro::text
