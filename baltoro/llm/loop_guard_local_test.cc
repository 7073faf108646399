// SPDX-License-Identifier: Apache-2.0
// The loop guard on the Ledger model: a call that comes again, a text in circles, through the whole backend.
#include <gtest/gtest.h>

#include "baltoro/llm/collect.h"
#include "baltoro/llm/local.h"

namespace baltoro::llm {
namespace {

constexpr std::string_view kTool =
    R"({"function":{"description":"Read one ledger entry","name":"get","parameters":{"properties":{"key":{"type":)"
    R"("string"}},"required":["key"],"type":"object"}},"type":"function"})";

class LoopGuard : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    LocalOptions options;
    options.dir = std::string(BALTORO_SOURCE_DIR) + "/models/ledger";
    backend_ = *LocalBackend::open(std::move(options));
  }
  static void TearDownTestSuite() { backend_.reset(); }

  // A conversation in which the same question has been asked, looked up and answered `times` times.
  static ChatRequest asked(int times) {
    const text::Message question{.role = text::Role::kUser, .content = "Sum the values of 1 entry from HNZ."};
    ChatRequest request;
    for (int i = 0; i < times; ++i) {
      request.conversation.messages.push_back(question);
      text::Message call{.role = text::Role::kAssistant};
      const std::string id = "functions.get:" + std::to_string(i);
      call.tool_calls.push_back({.id = id, .name = "get", .arguments = R"({ "key": "HNZ" })"});
      text::Message result{.role = text::Role::kTool, .content = R"({"next":"BJX","value":90})"};
      result.name = "get";
      result.tool_call_id = id;
      request.conversation.messages.push_back(call);
      request.conversation.messages.push_back(result);
      request.conversation.messages.push_back({.role = text::Role::kAssistant, .content = "The sum is 90."});
    }
    request.conversation.messages.push_back(question);
    request.conversation.tools.push_back({.name = "get", .declaration = *json::parse(kTool), .strict = false});
    request.sampling.temperature = 0.0f;
    return request;
  }
  static Answer answer(ChatRequest request) {
    auto answers = collect(*backend_, std::move(request));
    EXPECT_TRUE(answers.ok()) << (answers.ok() ? "" : answers.error().message);
    return answers.ok() ? answers->front() : Answer{};
  }

  static std::unique_ptr<LocalBackend> backend_;
};
std::unique_ptr<LocalBackend> LoopGuard::backend_;

TEST_F(LoopGuard, ACallThatComesAgainIsCountedAndEndsTheAnswerIfAsked) {
  for (const int times : {0, 1, 2}) {
    SCOPED_TRACE(times);
    const Answer counted = answer(asked(times));
    ASSERT_EQ(counted.finish, Finish::kToolCalls);
    ASSERT_EQ(counted.calls.size(), 1u);
    ASSERT_EQ(counted.calls[0].arguments, R"({"key":"HNZ"})");
    EXPECT_EQ(counted.usage.identical_calls, times + 1);
    for (const int most : {1, 2, 3}) {
      ChatRequest request = asked(times);
      request.handling.max_identical_calls = most;
      const Answer guarded = answer(std::move(request));
      EXPECT_EQ(guarded.finish, times + 1 > most ? Finish::kRepetition : Finish::kToolCalls) << most;
      EXPECT_EQ(guarded.usage.identical_calls, times + 1);
      EXPECT_EQ(guarded.calls.size(), 1u);
    }
  }
}

TEST_F(LoopGuard, TextInCirclesEndsIfAsked) {
  CompletionRequest request;
  request.prompt = std::string("Tell");
  request.sampling.temperature = 0.0f;
  request.sampling.logit_bias = {{100, 100.0f}};  // nothing but this token
  request.limits.max_tokens = 300;
  request.limits.ignore_eos = true;
  const auto all = collect(*backend_, request);
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->front().finish, Finish::kLength);
  EXPECT_EQ(all->front().usage.tokens_output, 300);
  request.handling.stop_repetition = true;
  const auto cut = collect(*backend_, request);
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->front().finish, Finish::kRepetition);
  EXPECT_EQ(cut->front().usage.tokens_output, 128);
  EXPECT_FALSE(cut->front().stop_string);
  EXPECT_TRUE(all->front().content.starts_with(cut->front().content));
}

}  // namespace
}  // namespace baltoro::llm
