// SPDX-License-Identifier: Apache-2.0
// The scripted model under the real engine, parsers and formats of every family.
#include "baltoro/llm/script_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "baltoro/base/json.h"
#include "baltoro/base/utf8.h"
#include "baltoro/llm/collect.h"
#include "baltoro/llm/local.h"
#include "baltoro/text/pretokenizer.h"
#include "baltoro/text/test_tokenizer.h"

namespace baltoro::llm {
namespace {

using testing::HasSubstr;

constexpr const char* kScript = R"({"rules":[
  {"when":{"user":"COUNT","calls_below":5},
   "answer":{"thinking":"call {n} is due","content":"step {n}","tool_calls":[{"name":"add","arguments":{"n":"{n}"}}]}},
  {"when":{"user":"COUNT"},"answer":{"thinking":"all done","content":"counted to {calls}"}},
  {"when":{"user":"TWO"},"answer":{"tool_calls":[{"name":"add","arguments":{"n":"{n}"}},{"name":"add","arguments":{"n":"{n}"}}]}},
  {"when":{"last":"ENDLESS"},"answer":{"content":"again and ","endless":true}},
  {"when":{"last":"BROKEN"},"answer":{"raw":"<|tool_calls_section_begin|><|tool_call_begin|>functions.add:0<|tool_call_argument_begin|>{\"n\":"}},
  {"when":{"after":"Q:"},"answer":{"content":" forty-two"}},
  {"when":{"last":"Grüße"},"answer":{"thinking":"über","content":"Grüße, 世界 🎉 {last}"}}]})";

constexpr const char* kTool =
    R"({"type":"function","function":{"name":"add","parameters":{"type":"object","properties":{"n":{"type":"string"}}}}})";

class ScriptRunnerFamilies : public testing::TestWithParam<text::ChatFamily> {};

std::string script_file(const std::string& text) {
  static int number = 0;
  const std::string path = testing::TempDir() + "/script" + std::to_string(::getpid()) + "_" + std::to_string(number++);
  std::ofstream(path) << text;
  return path;
}

std::unique_ptr<LocalBackend> open(LocalOptions options) {
  if (options.dir.empty()) options.dir = std::string(BALTORO_SOURCE_DIR) + "/models/ledger";
  if (options.script_path.empty()) options.script_path = script_file(kScript);
  auto backend = LocalBackend::open(std::move(options));
  EXPECT_TRUE(backend.ok()) << (backend.ok() ? "" : backend.error().message);
  return backend.ok() ? *std::move(backend) : nullptr;
}

ChatRequest ask(const std::string& text) {
  ChatRequest request;
  request.conversation.messages.push_back({.role = text::Role::kUser, .content = text});
  request.conversation.tools.push_back({.name = "add", .declaration = *json::parse(kTool), .strict = false});
  return request;
}

Answer answer(LocalBackend& backend, const ChatRequest& request) {
  auto answers = collect(backend, request);
  EXPECT_TRUE(answers.ok()) << (answers.ok() ? "" : answers.error().message);
  return answers.ok() ? (*answers)[0] : Answer{};
}

// Appends what was answered and what the tools said to that.
void go_on(ChatRequest& request, const Answer& answer) {
  text::Message said{.role = text::Role::kAssistant, .content = answer.content, .reasoning = answer.reasoning};
  for (const auto& call : answer.calls)
    said.tool_calls.push_back({.id = call.id, .name = call.name, .arguments = call.arguments});
  request.conversation.messages.push_back(said);
  for (const auto& call : answer.calls) {
    text::Message result{.role = text::Role::kTool, .content = "ok " + call.arguments};
    result.tool_call_id = call.id;
    request.conversation.messages.push_back(result);
  }
}

// A folder with DeepSeek's control tokens over a vocabulary of bytes, and the bundled model's config.
std::string deepseek_folder() {
  const std::string dir = testing::TempDir() + "/deepseek" + std::to_string(::getpid());
  if (std::filesystem::exists(dir)) return dir;
  std::filesystem::create_directories(dir);
  std::filesystem::copy(std::string(BALTORO_SOURCE_DIR) + "/models/ledger/config.json", dir + "/config.json");
  json::Value vocab;
  int shifted = 0;
  for (int byte = 0; byte < 256;
       ++byte) {  // byte-level BPE's stand-ins: printable bytes as they are, others from U+0100
    const bool printable = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
    std::string name;
    utf8_append(name, static_cast<char32_t>(printable ? byte : 256 + shifted++));
    vocab.set(name, byte);
  }
  json::Array added;
  for (const std::string& name : text::deepseek_specials())
    added.push_back(json::Object{{"id", 256 + static_cast<int>(added.size())}, {"content", name}, {"special", true}});
  json::Array steps;
  for (const std::string_view pattern : text::kDeepSeekPatterns) {
    steps.push_back(json::Object{{"type", "Split"},
                                 {"pattern", json::Object{{"Regex", std::string(pattern)}}},
                                 {"behavior", "Isolated"},
                                 {"invert", false}});
  }
  steps.push_back(json::Object{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}});
  const json::Value document =
      json::Object{{"added_tokens", std::move(added)},
                   {"normalizer", nullptr},
                   {"pre_tokenizer", json::Object{{"type", "Sequence"}, {"pretokenizers", std::move(steps)}}},
                   {"model", json::Object{{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", json::Array{}}}}};
  std::ofstream(dir + "/tokenizer.json") << json::dump(document);
  return dir;
}

std::string folder_of(text::ChatFamily family) { return is_deepseek(family) ? deepseek_folder() : std::string(); }

TEST_P(ScriptRunnerFamilies, CountsThroughItsToolCalls) {
  const auto backend = open({.dir = folder_of(GetParam()), .family = GetParam()});
  ASSERT_NE(backend, nullptr);
  ChatRequest request = ask("COUNT please");
  request.sampling.temperature = 1.0f;
  // DeepSeek thinks after users only.
  const auto family = GetParam();
  const bool thinks_first = family != text::ChatFamily::kK2Instruct && family != text::ChatFamily::kDeepSeekV3;
  request.thinking = thinks_first;
  for (int call = 1; call <= 5; ++call) {
    const Answer got = answer(*backend, request);
    const bool thinks = thinks_first && (call == 1 || !is_deepseek(family));
    EXPECT_EQ(got.finish, Finish::kToolCalls);
    EXPECT_EQ(got.content, "step " + std::to_string(call));
    EXPECT_EQ(got.reasoning, thinks ? "call " + std::to_string(call) + " is due" : "");
    ASSERT_EQ(got.calls.size(), 1u);
    EXPECT_EQ(got.calls[0].name, "add");
    EXPECT_EQ(got.calls[0].arguments, "{\"n\":\"" + std::to_string(call) + "\"}");
    EXPECT_EQ(got.usage.tokens_cached > 0, call > 1);
    go_on(request, got);
  }
  const Answer last = answer(*backend, request);
  EXPECT_EQ(last.finish, Finish::kStop);
  EXPECT_EQ(last.content, "counted to 5");
  EXPECT_EQ(last.reasoning, thinks_first && !is_deepseek(family) ? "all done" : "");
}

INSTANTIATE_TEST_SUITE_P(All, ScriptRunnerFamilies,
                         testing::Values(text::ChatFamily::kK2Instruct, text::ChatFamily::kK2Thinking,
                                         text::ChatFamily::kK25, text::ChatFamily::kDeepSeekV3,
                                         text::ChatFamily::kDeepSeekR1, text::ChatFamily::kDeepSeekV31),
                         [](const auto& tested) {
                           std::string name = text::chat_family_name(tested.param);
                           std::erase_if(name, [](char c) { return c == '-' || c == '.'; });
                           return name;
                         });

TEST(ScriptRunner, ParallelCallsEndlessTextBrokenMarkupAndPlainPrompts) {
  const auto backend = open({});
  ASSERT_NE(backend, nullptr);
  EXPECT_EQ(backend->model().id, "scripted-ledger");
  EXPECT_THAT(backend->model().arithmetic, HasSubstr("test backend"));
  const Answer two = answer(*backend, ask("TWO"));
  ASSERT_EQ(two.calls.size(), 2u);
  EXPECT_EQ(two.calls[1].arguments, R"({"n":"2"})");
  EXPECT_NE(two.calls[0].id, two.calls[1].id);
  ChatRequest endless = ask("ENDLESS");
  endless.limits.max_tokens = 200;
  const Answer cut = answer(*backend, endless);
  EXPECT_EQ(cut.finish, Finish::kLength);
  EXPECT_THAT(cut.content, testing::StartsWith("again and again and again and again"));
  EXPECT_GT(cut.content.size(), 190u);
  // The script stops amid its arguments; the masks have them ended all the same.
  ChatRequest stops_amid = ask("BROKEN");
  stops_amid.sampling.seed = 1;  // what follows is drawn: one call, or more
  stops_amid.limits.max_tokens = 200;
  const Answer broken = answer(*backend, stops_amid);
  ASSERT_EQ(broken.calls.size(), 1u);
  EXPECT_EQ(broken.finish, Finish::kToolCalls);
  EXPECT_THAT(broken.calls[0].arguments, testing::StartsWith(R"({"n":)"));
  EXPECT_TRUE(json::parse(broken.calls[0].arguments).ok()) << broken.calls[0].arguments;
  CompletionRequest plain{.prompt = std::string("Q:")};
  plain.sampling.temperature = 0.0f;
  EXPECT_EQ((*collect(*backend, plain))[0].content, " forty-two");
  const Answer words = answer(*backend, ask("Grüße"));
  EXPECT_EQ(words.reasoning, "über");
  EXPECT_EQ(words.content, "Grüße, 世界 🎉 Grüße");
  EXPECT_THAT(answer(*backend, ask("what?")).content, HasSubstr("no rule applies to: what?"));
}

// Thinking that is over before the script's ends: the answer goes on with what comes behind it.
TEST(ScriptRunner, ThinkingMayEndEarly) {
  const auto tokenizer = std::make_shared<text::TestTokenizer>(text::kimi_specials());
  const ScriptedAnswer script{.thinking = "a long thought", .content = "so it is", .calls = {}, .raw = ""};
  const ScriptTarget target(script, text::ChatFamily::kK25, *tokenizer, 0);
  EXPECT_EQ(target.next("<think>"), 'a');
  EXPECT_EQ(target.next("<think>a lo</think>"), 's');
  EXPECT_EQ(target.next("<think></think>so it i"), 's');
  EXPECT_EQ(target.next("<think></think>so it is"), tokenizer->special_id("<|im_end|>"));
  EXPECT_EQ(target.next("<think></think>something else"), std::nullopt);
  EXPECT_EQ(target.next("so "), 'i');
}

// One block of the table holds another sequence's rows.
TEST(ScriptRunner, AWrongBlockTableIsAnError) {
  const auto tokenizer = std::make_shared<text::TestTokenizer>(text::kimi_specials());
  auto script = parse_token_script(kScript);
  ASSERT_TRUE(script.ok());
  ScriptRunner runner({.max_context_tokens = 1024, .num_blocks = 8, .max_batch_tokens = 256, .max_logit_rows = 4},
                      *std::move(script), text::ChatFamily::kK2Thinking, tokenizer, {257});
  std::vector<std::int32_t> tokens(100, 'x'), positions(100), sequences(100, 0);
  for (int i = 0; i < 100; ++i) positions[static_cast<std::size_t>(i)] = i;
  const std::vector<model::BlockId> good = {model::BlockId{3}, model::BlockId{5}},
                                    wrong = {model::BlockId{5}, model::BlockId{3}};
  std::vector<float> logits(static_cast<std::size_t>(runner.vocab_size()));
  const auto run = [&](const std::vector<model::BlockId>& table, std::size_t from) {
    const std::vector<std::span<const model::BlockId>> tables = {table};
    const std::vector<std::int32_t> rows = {static_cast<std::int32_t>(99 - from)};
    return runner.forward({.tokens = std::span(tokens).subspan(from),
                           .positions = std::span(positions).subspan(from),
                           .sequences = std::span(sequences).subspan(from),
                           .block_tables = tables,
                           .logit_rows = rows},
                          logits);
  };
  ASSERT_TRUE(run(good, 0).ok());
  const std::vector<float> before = logits;
  ASSERT_TRUE(run(good, 99).ok());
  EXPECT_EQ(logits, before);
  runner.copy_block(model::BlockId{3}, model::BlockId{6});
  ASSERT_TRUE(run({model::BlockId{6}, model::BlockId{5}}, 99).ok());
  EXPECT_EQ(logits, before);
  const Status swapped = run(wrong, 99);
  ASSERT_FALSE(swapped.ok());
  EXPECT_EQ(swapped.error().code, Errc::kInternal);
  tokens[7] = 'y';  // other text at the right place: other logits
  ASSERT_TRUE(run(good, 0).ok());
  EXPECT_NE(logits, before);
  EXPECT_FALSE(run({model::BlockId{3}}, 99).ok());
  EXPECT_FALSE(run({model::BlockId{3}, model::BlockId{8}}, 99).ok());
  EXPECT_FALSE(run({model::BlockId{3}, model::BlockId{-1}}, 99).ok());
}

TEST(ScriptRunner, RefusesWhatItCannotOpen) {
  const auto error = [](LocalOptions options) {
    options.dir = std::string(BALTORO_SOURCE_DIR) + "/models/ledger";
    const auto backend = LocalBackend::open(std::move(options));
    EXPECT_FALSE(backend.ok());
    return backend.ok() ? Error{} : backend.error();
  };
  EXPECT_EQ(error({.script_path = "/nonexistent"}).code, Errc::kNotFound);
  EXPECT_EQ(error({.script_path = "/dev/zero"}).code, Errc::kCorrupt);
  EXPECT_THAT(error({.script_path = script_file("{\"rules\":7}")}).message, HasSubstr("rules: an array of 1 to 1000"));
  EXPECT_EQ(error({.kv_tokens = std::int64_t{1} << 30, .script_path = script_file(kScript)}).field, "kv_tokens");
  EXPECT_EQ(error({.memory_bytes = 1 << 30, .script_path = script_file(kScript)}).field, "memory");
}

}  // namespace
}  // namespace baltoro::llm
