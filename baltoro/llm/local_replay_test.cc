// SPDX-License-Identifier: Apache-2.0
// Clients change what they send back; the next prompt goes on from the sampled tokens all the same, and says the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>

#include "baltoro/llm/collect.h"
#include "baltoro/llm/local.h"

namespace baltoro::llm {
namespace {

constexpr std::string_view kTool =
    R"({"function":{"description":"Read one ledger entry","name":"get","parameters":{"properties":{"key":{"type":)"
    R"("string"}},"required":["key"],"type":"object"}},"type":"function"})";

std::unique_ptr<LocalBackend> open(std::optional<text::ChatFamily> family, std::int64_t kept_turn_bytes = 1 << 20) {
  auto backend = LocalBackend::open({.dir = std::string(BALTORO_SOURCE_DIR) + "/models/ledger",
                                     .threads = 1,
                                     .kv_tokens = 4096,
                                     .family = family,
                                     .kept_turn_bytes = kept_turn_bytes});
  EXPECT_TRUE(backend.ok()) << (backend.ok() ? "" : backend.error().message);
  return backend.ok() ? *std::move(backend) : nullptr;
}

Answer answer(Backend& backend, const ChatRequest& request) {
  auto answers = collect(backend, request);
  EXPECT_TRUE(answers.ok()) << (answers.ok() ? "" : answers.error().message);
  return answers.ok() ? (*answers)[0] : Answer{};
}

double metric(const Backend& backend, std::string_view name) {
  for (const auto& [key, value] : backend.metrics())
    if (key == name) return value;
  ADD_FAILURE() << name;
  return -1;
}

ChatRequest ledger_request() {
  ChatRequest request;
  request.conversation.messages.push_back(
      {.role = text::Role::kUser, .content = "Start at HPX and follow 2 hops. What is the sum of the values?"});
  request.conversation.tools.push_back({.name = "get", .declaration = *json::parse(kTool), .strict = false});
  request.sampling.temperature = 0.0f;
  request.limits.logprobs = true;
  return request;
}

text::Message sent_back(const Answer& answer) {
  text::Message message{.role = text::Role::kAssistant, .content = answer.content, .reasoning = answer.reasoning};
  message.tool_calls = answer.calls;
  return message;
}

// What clients do to an answer before they send it back.
struct Mangling {
  const char* name;
  void (*change)(text::Message&);
};
const Mangling kManglings[] = {
    {"nothing", [](text::Message&) {}},
    {"reasoning dropped", [](text::Message& m) { m.reasoning.clear(); }},
    {"reasoning reformatted", [](text::Message& m) { m.reasoning = "\n " + m.reasoning + "\n\n"; }},
    {"content with spaces", [](text::Message& m) { m.content = "\n" + m.content + " \r\n"; }},
    {"arguments spaced",
     [](text::Message& m) {
       for (auto& call : m.tool_calls) call.arguments = "{ " + call.arguments.substr(1) + "\n";
     }},
    {"arguments escaped",
     [](text::Message& m) {
       for (auto& call : m.tool_calls)
         if (const auto at = call.arguments.find("key"); at != std::string::npos)
           call.arguments.replace(at, 1, "\\u006b");
     }},
    {"ids renamed",
     [](text::Message& m) {
       for (auto& call : m.tool_calls) call.id = "toolu_" + std::to_string(call.id.size());
     }},
};

// Two calls and the answer of one task; logprobs of all turns.
std::vector<Answer> converse(Backend& backend, const Mangling& mangling) {
  ChatRequest request = ledger_request();
  const char* const results[] = {R"({"next":"GOT","value":94})", R"({"next":"BQU","value":91})"};
  std::vector<Answer> turns;
  for (int turn = 0; turn < 3; ++turn) {
    turns.push_back(answer(backend, request));
    if (turns.back().calls.size() != 1 || turn == 2) break;
    text::Message message = sent_back(turns.back());
    mangling.change(message);
    request.conversation.messages.push_back(message);
    text::Message result{.role = text::Role::kTool, .name = "get", .content = results[turn]};
    result.tool_call_id = message.tool_calls[0].id;
    request.conversation.messages.push_back(result);
  }
  return turns;
}

TEST(Replay, TheModelSeesWhatItSaidWhateverTheClientDidToIt) {
  const auto plain = open({}, 0);
  ASSERT_NE(plain, nullptr);
  const std::vector<Answer> want = converse(*plain, kManglings[0]);
  ASSERT_EQ(want.size(), 3u);
  EXPECT_EQ(want[2].content, "The sum is 185.");
  for (const Mangling& mangling : kManglings) {
    SCOPED_TRACE(mangling.name);
    const auto backend = open({});
    ASSERT_NE(backend, nullptr);
    const std::vector<Answer> got = converse(*backend, mangling);
    ASSERT_EQ(got.size(), want.size());
    for (std::size_t t = 0; t < want.size(); ++t) {
      EXPECT_EQ(got[t].content, want[t].content);
      EXPECT_EQ(got[t].reasoning, want[t].reasoning);
      EXPECT_EQ(got[t].usage.tokens_prompt, want[t].usage.tokens_prompt);
      ASSERT_EQ(got[t].logprobs.size(), want[t].logprobs.size());
      for (std::size_t i = 0; i < want[t].logprobs.size(); ++i)
        EXPECT_EQ(std::bit_cast<std::uint32_t>(got[t].logprobs[i].logprob),
                  std::bit_cast<std::uint32_t>(want[t].logprobs[i].logprob));
    }
    EXPECT_EQ(metric(*backend, "kept_turns_found_total"), 3);  // one, then two
    EXPECT_EQ(metric(*backend, "kept_turns_missed_total"), 0);
  }
}

TEST(Replay, WhatTheClientReallyChangedIsWhatTheModelSees) {
  const auto backend = open({});
  const auto plain = open({}, 0);
  ASSERT_NE(backend, nullptr);
  ChatRequest request = ledger_request();
  const Answer first = answer(*backend, request);
  ASSERT_EQ(first.calls.size(), 1u);
  text::Message result{.role = text::Role::kTool, .name = "get", .content = R"({"next":"GOT","value":94})"};
  result.tool_call_id = first.calls[0].id;
  const auto changed = [&](void (*change)(text::Message&)) {
    ChatRequest next = request;
    next.conversation.messages.push_back(sent_back(first));
    change(next.conversation.messages.back());
    next.conversation.messages.push_back(result);
    EXPECT_EQ(*backend->count_tokens(next), *plain->count_tokens(next));
    return metric(*backend, "kept_turns_found_total");
  };
  EXPECT_EQ(changed([](text::Message& m) { m.content = "I said more"; }), 0);
  EXPECT_EQ(changed([](text::Message& m) { m.reasoning = "left 9"; }), 0);
  EXPECT_EQ(changed([](text::Message& m) { m.tool_calls[0].arguments = R"({"key":"HPY"})"; }), 0);
  EXPECT_EQ(changed([](text::Message& m) { m.tool_calls[0].name = "put"; }), 0);
  EXPECT_EQ(changed([](text::Message&) {}), 1);
  // Another tenant, salt or history knows nothing of it.
  for (const CacheScope& scope : {CacheScope{.tenant = "t", .salt = ""}, CacheScope{.tenant = "", .salt = "s"}}) {
    ChatRequest next = request;
    next.cache_scope = scope;
    next.conversation.messages.push_back(sent_back(first));
    next.conversation.messages.push_back(result);
    ASSERT_TRUE(backend->count_tokens(next).ok());
  }
  EXPECT_EQ(metric(*backend, "kept_turns_found_total"), 1);
}

// Random bytes at a high temperature: hardly any answer is tokenised as its text would be. Every other answer is begun
// by the client, who sends back the whole.
TEST(Replay, ThePromptIsLastPromptAndAnswerWhateverWasSampled) {
  const auto backend = open(text::ChatFamily::kK2Instruct);
  ASSERT_NE(backend, nullptr);
  ChatRequest request;
  request.conversation.messages.push_back({.role = text::Role::kUser, .content = "Hello"});
  request.sampling.temperature = 2.0f;
  for (std::int32_t id = 768; id < 1024; ++id) request.sampling.logit_bias.emplace_back(id, -100.0f);  // no control
  request.limits.max_tokens = 24;
  std::int64_t odd = 0;
  for (std::uint64_t turn = 0; turn < 8; ++turn) {
    request.sampling.seed = turn;
    const std::string begun = turn % 2 == 1 ? "Well, " : "";
    if (!begun.empty())
      request.conversation.messages.push_back({.role = text::Role::kAssistant, .content = begun, .partial = true});
    const auto tokens = backend->count_tokens(request);
    const Answer got = answer(*backend, request);
    ASSERT_EQ(got.usage.tokens_output, 24);
    EXPECT_EQ(got.usage.tokens_prompt, *tokens);
    odd += backend->tokenize(got.content, false)->size() != 24;
    if (!begun.empty()) request.conversation.messages.pop_back();
    request.conversation.messages.push_back({.role = text::Role::kAssistant, .content = begun + got.content});
    request.conversation.messages.push_back({.role = text::Role::kUser, .content = "On"});
    // A user's turn and the end of the answer's come on top of it: <|im_end|> <|im_user|> user <|im_middle|> On
    // <|im_end|> <|im_assistant|> assistant <|im_middle|>.
    const auto turn_tokens =
        1 + 5 +
        static_cast<std::int64_t>(backend->tokenize("user", false)->size() + backend->tokenize("On", false)->size() +
                                  backend->tokenize("assistant", false)->size());
    EXPECT_EQ(*backend->count_tokens(request), got.usage.tokens_prompt + 24 + turn_tokens) << turn;
  }
  EXPECT_GT(odd, 0);
}

}  // namespace
}  // namespace baltoro::llm
