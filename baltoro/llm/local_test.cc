// SPDX-License-Identifier: Apache-2.0
// The local backend on the Ledger model: whole tool-calling tasks, alone and many at once, and every promise of the
// seam.
#include "baltoro/llm/local.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <set>
#include <span>
#include <sstream>
#include <thread>

#include "baltoro/base/file.h"
#include "baltoro/base/json.h"
#include "baltoro/base/utf8.h"
#include "baltoro/llm/collect.h"

namespace baltoro::llm {
namespace {

using testing::HasSubstr;

constexpr std::string_view kTool =
    R"({"function":{"description":"Read one ledger entry","name":"get","parameters":{"properties":{"key":{"type":)"
    R"("string"}},"required":["key"],"type":"object"}},"type":"function"})";

std::string folder(const std::string& name) { return std::string(BALTORO_SOURCE_DIR) + "/models/" + name; }

std::unique_ptr<LocalBackend> open(LocalOptions options) {
  auto backend = LocalBackend::open(std::move(options));
  EXPECT_TRUE(backend.ok()) << (backend.ok() ? "" : backend.error().message);
  return backend.ok() ? *std::move(backend) : nullptr;
}

std::string text_of(const json::Value& object, const char* key) {
  const json::Value* value = object.find(key);
  return value != nullptr && value->is_string() ? value->as_string() : std::string();
}

text::Message message_of(const json::Value& value) {
  text::Message message;
  const std::string role = text_of(value, "role");
  message.role = role == "user"        ? text::Role::kUser
                 : role == "assistant" ? text::Role::kAssistant
                 : role == "tool"      ? text::Role::kTool
                                       : text::Role::kSystem;
  message.content = text_of(value, "content");
  if (value.find("name") != nullptr) message.name = text_of(value, "name");
  if (value.find("tool_call_id") != nullptr) message.tool_call_id = text_of(value, "tool_call_id");
  if (const json::Value* calls = value.find("tool_calls"))
    for (const json::Value& call : calls->as_array()) {
      const json::Value& function = *call.find("function");
      message.tool_calls.push_back(
          {.id = text_of(call, "id"), .name = text_of(function, "name"), .arguments = text_of(function, "arguments")});
    }
  return message;
}

// What a conversation with the tool brought, turn by turn.
struct Conversation {
  std::vector<Answer> turns;
  std::vector<text::ToolCall> calls;
};

std::string tool_result(const json::Value& ledger, const std::string& arguments) {
  const auto parsed = json::parse(arguments);
  if (!parsed.ok()) return R"({"error":"not JSON"})";
  const json::Value* entry = ledger.find(text_of(*parsed, "key"));
  return entry == nullptr ? R"({"error":"not found"})" : json::dump(*entry);
}

ChatRequest request_of(const json::Value& task) {
  ChatRequest request;
  for (const json::Value& message : task.find("messages")->as_array())
    request.conversation.messages.push_back(message_of(message));
  if (task.find("tools")->as_bool())
    request.conversation.tools.push_back({.name = "get", .declaration = *json::parse(kTool), .strict = false});
  request.sampling.temperature = 0.0f;
  request.limits.logprobs = true;
  request.limits.top_logprobs = 2;
  return request;
}

Conversation converse(Backend& backend, const json::Value& task) {
  Conversation conversation;
  ChatRequest request = request_of(task);
  for (int turn = 0; turn < 12; ++turn) {
    auto answers = collect(backend, request);
    EXPECT_TRUE(answers.ok()) << (answers.ok() ? "" : answers.error().message);
    if (!answers.ok()) return conversation;
    conversation.turns.push_back((*answers)[0]);
    const Answer& answer = conversation.turns.back();
    if (answer.finish != Finish::kToolCalls) return conversation;
    text::Message message{.role = text::Role::kAssistant, .content = answer.content, .reasoning = answer.reasoning};
    message.tool_calls = answer.calls;
    request.conversation.messages.push_back(message);
    for (const text::ToolCall& call : answer.calls) {
      conversation.calls.push_back(call);
      text::Message result{.role = text::Role::kTool, .content = tool_result(*task.find("ledger"), call.arguments)};
      result.name = call.name;
      result.tool_call_id = call.id;
      request.conversation.messages.push_back(result);
    }
  }
  ADD_FAILURE() << "the model never stops calling";
  return conversation;
}

std::vector<json::Value> tasks() {
  std::vector<json::Value> result;
  const auto file = read_file(folder("ledger") + "/tasks.jsonl", 1 << 20);
  if (!file.ok()) return result;
  std::istringstream lines(*file);
  for (std::string line; std::getline(lines, line);) result.push_back(*json::parse(line));
  return result;
}

void expect_calls(const std::vector<text::ToolCall>& got, const json::Value& want) {
  ASSERT_EQ(got.size(), want.as_array().size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].id, text_of(want.as_array()[i], "id"));
    EXPECT_EQ(got[i].name, text_of(want.as_array()[i], "name"));
    EXPECT_EQ(got[i].arguments, text_of(want.as_array()[i], "arguments"));
  }
}

bool same_bits(const std::vector<Logprob>& a, const std::vector<Logprob>& b) {
  const auto equal = [](float x, float y) {
    return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](const Logprob& x, const Logprob& y) {
    return x.token == y.token && x.bytes == y.bytes && equal(x.logprob, y.logprob) &&
           std::equal(x.top.begin(), x.top.end(), y.top.begin(), y.top.end(),
                      [&](const auto& p, const auto& q) { return p.first == q.first && equal(p.second, q.second); });
  });
}

class Twins : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Ledger, Twins, testing::Values("ledger", "ledger-bf16"),
                         [](const auto& twin) { return std::string(twin.param) == "ledger" ? "int4" : "bf16"; });

TEST_P(Twins, SolvesEveryTaskExactlyAndTheSameInACrowd) {
  const auto all = tasks();
  ASSERT_EQ(all.size(), 25u);
  const auto alone = open({.dir = folder(GetParam()), .threads = 1});
  ASSERT_NE(alone, nullptr);
  std::vector<Conversation> solo;
  for (const json::Value& task : all) {
    SCOPED_TRACE(text_of(task, "id"));
    solo.push_back(converse(*alone, task));
    const auto& steps = task.find("expected_steps")->as_array();
    ASSERT_EQ(solo.back().turns.size(), steps.size());
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const Answer& turn = solo.back().turns[i];
      EXPECT_EQ(turn.reasoning, text_of(steps[i], "think"));
      EXPECT_EQ(turn.content, text_of(steps[i], "content"));
      expect_calls(turn.calls, *steps[i].find("calls"));
      EXPECT_EQ(turn.logprobs.size() + 1, static_cast<std::size_t>(turn.usage.tokens_output));  // less the stop token
      EXPECT_GT(turn.usage.tokens_reasoning, 2);
    }
    expect_calls(solo.back().calls, *task.find("expected_calls"));
    EXPECT_EQ(solo.back().turns.back().content, text_of(task, "expected_final"));
  }
  // All at once on two threads, with odd chunks and so little KV that prompts wait and cached ones are evicted.
  const auto crowd =
      open({.dir = folder(GetParam()), .threads = 2, .max_sequences = 7, .max_batch_tokens = 37, .kv_tokens = 1536});
  ASSERT_NE(crowd, nullptr);
  std::vector<Conversation> together(all.size());
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < all.size(); ++i)
      threads.emplace_back([&, i] { together[i] = converse(*crowd, all[i]); });
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    SCOPED_TRACE(text_of(all[i], "id"));
    ASSERT_EQ(together[i].turns.size(), solo[i].turns.size());
    for (std::size_t t = 0; t < solo[i].turns.size(); ++t) {
      const Answer &a = solo[i].turns[t], &b = together[i].turns[t];
      EXPECT_EQ(a.content, b.content);
      EXPECT_EQ(a.reasoning, b.reasoning);
      EXPECT_EQ(a.usage.tokens_output, b.usage.tokens_output);
      EXPECT_TRUE(same_bits(a.logprobs, b.logprobs));
    }
  }
}

// golden.json: exact prompts and answers of whole turns, from a float64 reference.
struct GoldenTurn {
  std::vector<std::int32_t> prompt, output;
  std::vector<double> gaps;  // between the two largest logits at each output token
};

std::vector<GoldenTurn> golden_turns(const std::string& dir) {
  std::vector<GoldenTurn> turns;
  const auto file = read_file(dir + "/golden.json", 1 << 20);
  if (!file.ok()) return turns;
  const auto golden = json::parse(*file);
  const auto ids = [](const json::Value& values) {
    std::vector<std::int32_t> result;
    for (const json::Value& id : values.as_array()) result.push_back(static_cast<std::int32_t>(id.as_int()));
    return result;
  };
  for (const json::Value& item : golden->find("cases")->as_array())
    for (const json::Value& turn : item.find("turns")->as_array()) {
      turns.push_back({.prompt = ids(*turn.find("prompt_ids")), .output = ids(*turn.find("output_ids")), .gaps = {}});
      for (const json::Value& gap : turn.find("top1_top2_gap")->as_array())
        turns.back().gaps.push_back(gap.as_double());
    }
  return turns;
}

TEST_P(Twins, FollowsTheGoldenIdsInBothArithmetics) {
  const auto turns = golden_turns(folder(GetParam()));
  ASSERT_GT(turns.size(), 10u);
  for (const model::Math math : {model::Math::kExact, model::Math::kF32}) {
    const auto backend = open({.dir = folder(GetParam()), .math = math});
    ASSERT_NE(backend, nullptr);
    // The scalar reference is slow: a few turns say it all.
    const std::size_t most = math == model::Math::kF32 ? 8 : turns.size();
    for (const GoldenTurn& turn : std::span(turns).first(std::min(most, turns.size()))) {
      CompletionRequest request{.prompt = turn.prompt};
      request.sampling.temperature = 0.0f;
      request.limits.logprobs = true;
      request.limits.top_logprobs = 2;
      const auto answers = collect(*backend, request);
      ASSERT_TRUE(answers.ok()) << answers.error().message;
      const Answer& answer = (*answers)[0];
      EXPECT_EQ(answer.finish, Finish::kStop);
      ASSERT_EQ(answer.logprobs.size() + 1, turn.output.size());  // the stop token is not part of the answer
      for (std::size_t i = 0; i < answer.logprobs.size(); ++i) {
        const auto& top = answer.logprobs[i].top;
        EXPECT_EQ(answer.logprobs[i].token, turn.output[i]);
        // f32 against float64; bf16 rounding moves a gap of 20 by some tenths.
        if (math != model::Math::kF32) continue;
        EXPECT_NEAR(top[0].second - top[1].second, turn.gaps[i], 1e-4);
      }
    }
  }
}

class Local : public testing::Test {
 protected:
  static void SetUpTestSuite() { backend_ = open({.dir = folder("ledger"), .threads = 1}).release(); }
  static void TearDownTestSuite() { delete std::exchange(backend_, nullptr); }
  void SetUp() override { ASSERT_NE(backend_, nullptr); }

  static ChatRequest ask(const std::string& text, bool tool = true) {
    ChatRequest request;
    request.conversation.messages.push_back({.role = text::Role::kUser, .content = text});
    if (tool)
      request.conversation.tools.push_back({.name = "get", .declaration = *json::parse(kTool), .strict = false});
    request.sampling.temperature = 0.0f;
    return request;
  }
  static Answer answer(const ChatRequest& request) {
    auto answers = collect(*backend_, request);
    EXPECT_TRUE(answers.ok()) << (answers.ok() ? "" : answers.error().message);
    return answers.ok() ? (*answers)[0] : Answer{};
  }
  static Error refusal(const ChatRequest& request) {
    const auto answers = collect(*backend_, request);
    EXPECT_FALSE(answers.ok());
    return answers.ok() ? Error{} : answers.error();
  }

  static LocalBackend* backend_;
};
LocalBackend* Local::backend_ = nullptr;

TEST_F(Local, DescribesItself) {
  const ModelInfo info = backend_->model();
  EXPECT_EQ(info.id, "ledger");
  EXPECT_EQ(info.family, "k2-thinking");
  EXPECT_EQ(info.max_context_tokens, 1024);
  EXPECT_GT(info.created_unix_s, 1'600'000'000);
}

TEST_F(Local, EveryStopStringCutsWhereItFirstAppears) {
  const std::string whole = answer(ask("Who are you?")).content;
  ASSERT_GT(whole.size(), 20u);
  for (std::size_t at = 0; at + 7 <= whole.size(); at += 3) {
    ChatRequest request = ask("Who are you?");
    const std::string stop = whole.substr(at, 7);
    request.limits.stop = {"never seen", stop};
    const Answer cut = answer(request);
    EXPECT_EQ(cut.content, whole.substr(0, whole.find(stop)));
    EXPECT_EQ(cut.stop_string, stop);
    EXPECT_EQ(cut.finish, Finish::kStop);
  }
  ChatRequest request = ask("Who are you?");
  request.limits.stop = {"needed", whole + "x"};  // in the reasoning only; begins like the whole answer
  const Answer kept = answer(request);
  EXPECT_EQ(kept.content, whole);
  EXPECT_EQ(kept.stop_string, std::nullopt);
}

TEST_F(Local, EveryDeltaIsWholeCodePoints) {
  ChatRequest request = ask("Hello.");
  request.sampling.temperature = 2.0f;  // random bytes
  request.sampling.seed = 3;
  request.limits.ignore_eos = true;
  request.limits.max_tokens = 600;
  int deltas = 0;
  const auto check = [&](const Event& event) {
    const auto* content = std::get_if<ContentDelta>(&event.body);
    const auto* thought = std::get_if<ReasoningDelta>(&event.body);
    deltas += content != nullptr || thought != nullptr;
    EXPECT_TRUE(content == nullptr || utf8_valid(content->text));
    EXPECT_TRUE(thought == nullptr || utf8_valid(thought->text));
  };
  request.sampling.logit_bias = {{791, 5.0f}};
  ASSERT_TRUE(collect(*backend_, request, {.on_event = check, .stop = {}}).ok());
  EXPECT_GT(deltas, 50);
}

TEST_F(Local, ToolChoiceNoneAndAllowedToolsKeepThePrompt) {
  ChatRequest request = ask("What is the value of HNZ?");
  text::Tool other = request.conversation.tools[0];
  other.name = "other";
  other.declaration = *json::parse(R"({"type":"function","function":{"name":"other","parameters":{}}})");
  request.conversation.tools.push_back(other);
  request.limits.max_tokens = 60;
  const Answer called = answer(request);
  EXPECT_EQ(called.finish, Finish::kToolCalls);
  request.tool_choice = ToolChoice::kNone;
  const Answer none = answer(request);
  EXPECT_TRUE(none.calls.empty());
  EXPECT_EQ(none.usage.tokens_prompt, called.usage.tokens_prompt);
  EXPECT_GE(none.usage.tokens_cached, called.usage.tokens_prompt - 1);
  request.tool_choice = ToolChoice::kRequired;
  request.allowed_tools = {"other"};
  const Answer allowed = answer(request);
  EXPECT_EQ(allowed.usage.tokens_prompt, called.usage.tokens_prompt);
  ASSERT_FALSE(allowed.calls.empty());
  for (const text::ToolCall& call : allowed.calls) EXPECT_EQ(call.name, "other");
}

TEST_F(Local, RequiredAndNamedCallsCome) {
  for (const ToolChoice choice : {ToolChoice::kRequired, ToolChoice::kNamed}) {
    ChatRequest request = ask("Hello.");
    request.tool_choice = choice;
    request.tool_choice_name = "get";
    const Answer called = answer(request);
    EXPECT_EQ(called.finish, Finish::kToolCalls);
    ASSERT_FALSE(called.calls.empty());
    EXPECT_EQ(called.calls[0].name, "get");
    const auto arguments = json::parse(called.calls[0].arguments);
    ASSERT_TRUE(arguments.ok()) << called.calls[0].arguments;
    EXPECT_NE(arguments->find("key"), nullptr);
    request.tool_choice_name = "put";
    if (choice == ToolChoice::kNamed) {
      EXPECT_EQ(refusal(request).field, "tool_choice");
    }
    request.tool_choice_name = "get";
    request.limits.max_tokens = 3;
    EXPECT_EQ(refusal(request).field, "max_tokens");
    request.limits.max_tokens = {};
    request.conversation.tools.clear();
    EXPECT_EQ(refusal(request).field, "tool_choice");
  }
}

TEST_F(Local, ContentIsJsonWhereAskedFor) {
  ChatRequest request = ask("Hello.");
  request.tool_choice = ToolChoice::kNone;
  request.response_format = {.kind = AnswerFormat::kJsonSchema, .name = "n", .schema = {}, .strict = true};
  request.response_format.schema = *json::parse(
      R"({"type":"object","properties":{"n":{"type":"integer","minimum":3,"maximum":5}},"required":["n"],"additionalProperties":false})");
  request.limits.max_tokens = 300;
  request.sampling.temperature = 2.0f;
  request.limits.n = 3;
  const auto answers = collect(*backend_, request);
  ASSERT_TRUE(answers.ok()) << answers.error().message;
  for (const Answer& one : *answers) {
    EXPECT_EQ(one.finish, Finish::kStop);
    EXPECT_TRUE(one.content == "{\"n\":3}" || one.content == "{\"n\":4}" || one.content == "{\"n\":5}") << one.content;
  }
  request.response_format.schema = *json::parse(R"({"type":"object","properties":{"n":{"type":"integer","not":{}}}})");
  EXPECT_EQ(refusal(request).field, "response_format.json_schema.schema");
  request.response_format.strict = false;
  EXPECT_TRUE(collect(*backend_, request).ok());
}

TEST_F(Local, OneCallAtATimeWhenAskedFor) {
  ChatRequest request = ask("What are the values of HIS and GJU?");
  EXPECT_EQ(answer(request).calls.size(), 2u);
  request.parallel_tool_calls = false;
  const Answer one = answer(request);
  ASSERT_EQ(one.calls.size(), 1u);
  EXPECT_EQ(one.calls[0].arguments, R"({"key":"HIS"})");
  EXPECT_EQ(one.finish, Finish::kToolCalls);
}

TEST_F(Local, CallIdsAreUniqueInTheConversation) {
  ChatRequest request = ask("What is the value of HNZ?");
  text::Message earlier{.role = text::Role::kAssistant};
  earlier.tool_calls = {{.id = "functions.get:1", .name = "get", .arguments = R"({"key":"HNZ"})"}};  // odd count
  text::Message result{.role = text::Role::kTool, .content = R"({"next":"BJX","value":90})"};
  result.tool_call_id = "functions.get:1";
  result.name = "get";
  request.conversation.messages.push_back(earlier);
  request.conversation.messages.push_back(result);
  request.conversation.messages.push_back({.role = text::Role::kAssistant, .content = "The value is 90."});
  request.conversation.messages.push_back({.role = text::Role::kUser, .content = "What is the value of BJX?"});
  const Answer second = answer(request);
  ASSERT_EQ(second.calls.size(), 1u);
  EXPECT_NE(second.calls[0].id, "functions.get:1");
  EXPECT_EQ(second.calls[0].arguments, R"({"key":"BJX"})");
}

TEST_F(Local, ChoicesShareAPromptAndDrawOnTheirOwn) {
  CompletionRequest request{.prompt = std::string("Nobody taught it this:")};
  request.sampling.temperature = 1.5f;
  request.sampling.seed = 42;
  request.limits.n = 6;
  request.limits.max_tokens = 40;
  request.limits.ignore_eos = true;
  const auto first = collect(*backend_, request), again = collect(*backend_, request);
  ASSERT_TRUE(first.ok() && again.ok());
  std::set<std::string> distinct;
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ((*first)[i].content, (*again)[i].content);
    distinct.insert((*first)[i].content);
  }
  EXPECT_EQ(distinct.size(), 6u);
  request.limits.n = 1;
  EXPECT_EQ((*collect(*backend_, request))[0].content, (*first)[0].content);
  request.sampling.seed = 43;
  EXPECT_NE((*collect(*backend_, request))[0].content, (*first)[0].content);
}

TEST_F(Local, UsageCountsAndTheCacheServesARepeatedPrompt) {
  const ChatRequest request = ask("Start at HPX and follow 2 hops. What is the sum of the values?");
  const Answer first = answer(request), again = answer(request);
  const auto count = backend_->count_tokens(request);
  ASSERT_TRUE(count.ok());
  EXPECT_EQ(first.usage.tokens_prompt, *count);
  EXPECT_EQ(again.usage.tokens_cached, *count - 1);  // the last token is always computed
  EXPECT_EQ(first.reasoning, again.reasoning);
}

TEST_F(Local, MaxTokensIsClampedToTheContext) {
  ChatRequest request = ask("Hello.");
  request.limits.max_tokens = std::numeric_limits<std::int64_t>::max();
  request.limits.ignore_eos = true;
  const Answer answered = answer(request);
  EXPECT_EQ(answered.finish, Finish::kLength);
  EXPECT_EQ(answered.usage.tokens_prompt + answered.usage.tokens_output, 1024);
  request = ask("Hello.");
  request.limits.max_tokens = 3;
  EXPECT_EQ(answer(request).usage.tokens_output, 3);
}

TEST_F(Local, RefusesAndNamesTheField) {
  const auto with = [](auto change) {
    ChatRequest request = ask("Hello.");
    change(request);
    const Error error = refusal(request);
    EXPECT_EQ(error.code, Errc::kInvalidArgument) << error.message;
    return error.field;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(with([](auto& r) { r.conversation.messages.clear(); }), "messages");
  EXPECT_EQ(with([](auto& r) { r.sampling.temperature = 2.1f; }), "temperature");
  EXPECT_EQ(with([](auto& r) { r.sampling.temperature = -1.0f; }), "temperature");
  EXPECT_EQ(with([&](auto& r) { r.sampling.temperature = nan; }), "temperature");
  EXPECT_EQ(with([](auto& r) { r.sampling.top_p = 0.0f; }), "top_p");
  EXPECT_EQ(with([](auto& r) { r.sampling.top_p = 1.1f; }), "top_p");
  EXPECT_EQ(with([](auto& r) { r.sampling.top_k = -1; }), "top_k");
  EXPECT_EQ(with([&](auto& r) { r.sampling.min_p = nan; }), "min_p");
  EXPECT_EQ(with([](auto& r) { r.sampling.presence_penalty = 2.5f; }), "presence_penalty");
  EXPECT_EQ(with([](auto& r) { r.sampling.logit_bias = {{1024, 1.0f}}; }), "logit_bias");
  EXPECT_EQ(with([](auto& r) { r.sampling.logit_bias = {{-1, 1.0f}}; }), "logit_bias");
  EXPECT_EQ(with([](auto& r) { r.sampling.logit_bias = {{1, 101.0f}}; }), "logit_bias");
  EXPECT_EQ(with([](auto& r) { r.limits.n = 0; }), "n");
  EXPECT_EQ(with([](auto& r) { r.limits.n = 17; }), "n");
  EXPECT_EQ(with([](auto& r) { r.limits.max_tokens = 0; }), "max_tokens");
  EXPECT_EQ(with([](auto& r) { r.limits.top_logprobs = 21; }), "top_logprobs");
  EXPECT_EQ(with([](auto& r) { r.limits.stop = {""}; }), "stop");
  EXPECT_EQ(with([](auto& r) { r.limits.stop.assign(17, "x"); }), "stop");
  EXPECT_EQ(with([](auto& r) { r.limits.stop = {std::string(5000, 'x')}; }), "stop");
  EXPECT_EQ(with([](auto& r) { r.limits.stop = {"\xc3"}; }), "stop");
  EXPECT_EQ(with([](auto& r) { r.limits.stop_token_ids = {5000}; }), "stop_token_ids");
  ChatRequest large = ask(std::string(5000, 'z'));
  EXPECT_EQ(refusal(large).field, "messages");
  EXPECT_THAT(refusal(large).message, HasSubstr("context length is 1024"));
}

TEST_F(Local, CancellingEndsTheAnswer) {
  ChatRequest request = ask("Hello.");
  request.limits.ignore_eos = true;
  request.sampling.temperature = 1.5f;
  request.limits.n = 3;
  std::stop_source source;
  int tokens = 0;
  const auto answers = collect(*backend_, request,
                               {.on_event =
                                    [&](const Event& event) {
                                      if (std::holds_alternative<ReasoningDelta>(event.body) && ++tokens == 4)
                                        source.request_stop();
                                    },
                                .stop = source.get_token()});
  ASSERT_TRUE(answers.ok());
  for (const Answer& cancelled : *answers) {
    EXPECT_EQ(cancelled.finish, Finish::kCancelled);
    EXPECT_LT(cancelled.usage.tokens_output, 900);
  }
  // Dropping a ticket cancels too.
  auto dropped = std::make_shared<std::atomic<int>>(0);
  {
    const auto ticket = backend_->chat(request, [dropped](const Event& event) {
      if (const auto* end = std::get_if<Finished>(&event.body)) *dropped += end->reason == Finish::kCancelled;
    });
    ASSERT_TRUE(ticket.ok());
  }
  for (int i = 0; i < 2000 && *dropped < 3; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(*dropped, 3);
}

// Scoring what was sampled gives the very bits of the sampling: one path, however the tokens came.
TEST_F(Local, EchoedLogprobsEqualTheSampledOnes) {
  CompletionRequest request{.prompt = std::string("The ledger holds ")};
  request.sampling.temperature = 1.0f;
  request.sampling.seed = 9;
  request.limits.max_tokens = 150;
  request.limits.ignore_eos = true;
  request.limits.logprobs = true;
  request.limits.top_logprobs = 3;
  const auto sampled = collect(*backend_, request);
  ASSERT_TRUE(sampled.ok());
  const auto& tokens = (*sampled)[0].logprobs;
  ASSERT_EQ(tokens.size(), 150u);
  auto ids = backend_->tokenize("The ledger holds ", false);
  ASSERT_TRUE(ids.ok());
  const std::size_t prompt = ids->size();
  for (const Logprob& token : tokens) ids->push_back(token.token);
  CompletionRequest score{.prompt = *ids};
  score.echo = true;
  score.limits = request.limits;
  score.limits.max_tokens = 0;
  score.limits.n = 2;
  const auto scored = collect(*backend_, score);
  ASSERT_TRUE(scored.ok()) << scored.error().message;
  for (const Answer& choice : *scored) {
    ASSERT_EQ(choice.prompt_logprobs.size(), ids->size());
    EXPECT_TRUE(std::isnan(choice.prompt_logprobs[0].logprob));
    EXPECT_TRUE(same_bits(
        {choice.prompt_logprobs.begin() + static_cast<std::ptrdiff_t>(prompt), choice.prompt_logprobs.end()}, tokens));
    EXPECT_THAT(choice.content, testing::StartsWith("The ledger holds "));
    EXPECT_EQ(choice.finish, Finish::kLength);
    EXPECT_EQ(choice.usage.tokens_output, 0);
  }
}

TEST_F(Local, CompletionsCheckTheirPrompt) {
  const auto refused = [&](CompletionRequest request) {
    const auto answers = collect(*backend_, std::move(request));
    EXPECT_FALSE(answers.ok());
    return answers.ok() ? Error{} : answers.error();
  };
  EXPECT_EQ(refused({.prompt = std::string()}).field, "prompt");
  EXPECT_EQ(refused({.prompt = std::vector<std::int32_t>{1, 1024}}).field, "prompt");
  EXPECT_EQ(refused({.prompt = std::vector<std::int32_t>{-1}}).field, "prompt");
  EXPECT_THAT(refused({.prompt = std::vector<std::int32_t>(1024, 5)}).message, HasSubstr("1024 tokens > 1023 maximum"));
  CompletionRequest empty{.prompt = std::string("x")};
  empty.limits.max_tokens = 0;
  EXPECT_EQ(refused(empty).field, "max_tokens");
  // A control token's name in a text prompt is text.
  const auto ids = backend_->tokenize("<|im_end|>", false);
  ASSERT_TRUE(ids.ok());
  EXPECT_GT(ids->size(), 1u);
  EXPECT_EQ(*backend_->tokenize("<|im_end|>", true), std::vector<std::int32_t>{770});
}

TEST(LocalOpen, RefusesWhatItCannotOpen) {
  const auto error = [](LocalOptions options) {
    const auto backend = LocalBackend::open(std::move(options));
    EXPECT_FALSE(backend.ok());
    return backend.ok() ? Error{} : backend.error();
  };
  EXPECT_EQ(error({.dir = "/nonexistent"}).code, Errc::kNotFound);
  EXPECT_EQ(error({.dir = folder("ledger"), .context_tokens = 5000}).field, "context_tokens");
  EXPECT_EQ(error({.dir = folder("ledger"), .max_sequences = 0}).field, "max_sequences");
  EXPECT_EQ(error({.dir = folder("ledger"), .max_batch_tokens = -3}).field, "max_batch_tokens");
  const Error memory = error({.dir = folder("ledger"), .kv_tokens = std::int64_t{1} << 36});
  EXPECT_EQ(memory.code, Errc::kResourceExhausted) << memory.message;
}

TEST(LocalOpen, DrainsAndTicketsMayOutliveIt) {
  std::unique_ptr<Ticket> ticket;
  std::atomic<int> ended = 0;
  {
    const auto backend = open({.dir = folder("ledger"), .threads = 1, .kv_tokens = 300});
    ASSERT_NE(backend, nullptr);
    EXPECT_EQ(backend->model().max_context_tokens, 300);
    CompletionRequest request{.prompt = std::string("x")};
    request.limits.ignore_eos = true;
    auto begun =
        backend->complete(request, [&](const Event& event) { ended += std::holds_alternative<Finished>(event.body); });
    ASSERT_TRUE(begun.ok());
    ticket = *std::move(begun);
    backend->drain(0);
    EXPECT_EQ(ended, 1);
    const auto late = backend->complete(request, [](const Event&) {});
    ASSERT_FALSE(late.ok());
    EXPECT_EQ(late.error().code, Errc::kUnavailable);
  }
  ticket->cancel();
}

}  // namespace
}  // namespace baltoro::llm
