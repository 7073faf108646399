// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/openai_completions.h"

#include <gtest/gtest.h>

#include <cmath>

#include "baltoro/server/field_reader.h"

namespace baltoro::server {
namespace {

Result<CompletionCall> parse(const std::string& text) {
  auto body = parse_body(text, {});
  if (!body.ok()) return body.error();
  return parse_completion(*body, {});
}

TEST(OpenAiCompletions, ReadsEveryFormOfPrompt) {
  const auto text = parse(R"({"prompt":"hi","echo":true,"logprobs":2,"max_tokens":0,"best_of":1,"suffix":""})");
  ASSERT_TRUE(text.ok()) << text.error().message;
  ASSERT_EQ(text->requests.size(), 1u);
  EXPECT_EQ(std::get<std::string>(text->requests[0].prompt), "hi");
  EXPECT_TRUE(text->requests[0].echo);
  EXPECT_EQ(text->requests[0].limits.max_tokens, 0);
  EXPECT_EQ(text->requests[0].limits.top_logprobs, 2);
  const auto texts = parse(R"({"prompt":["a","b"],"n":2})");
  ASSERT_TRUE(texts.ok());
  EXPECT_EQ(texts->requests.size(), 2u);
  EXPECT_EQ(texts->requests[1].limits.max_tokens, 16);
  const auto ids = parse(R"({"prompt":[1,2,3]})");
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(std::get<1>(ids->requests[0].prompt), (std::vector<std::int32_t>{1, 2, 3}));
  const auto lists = parse(R"({"prompt":[[1],[2,3]]})");
  ASSERT_TRUE(lists.ok());
  EXPECT_EQ(std::get<1>(lists->requests[1].prompt), (std::vector<std::int32_t>{2, 3}));
}

TEST(OpenAiCompletions, NamesTheOffendingField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "prompt"},
      {R"({"prompt":5})", "prompt"},
      {R"({"prompt":[]})", "prompt"},
      {R"({"prompt":[1,-2]})", "prompt[1]"},
      {R"({"prompt":[1,"a"]})", "prompt[1]"},
      {R"({"prompt":[1,2147483648]})", "prompt[1]"},
      {R"({"prompt":["a",5]})", "prompt[1]"},
      {R"({"prompt":[[1,"a"]]})", "prompt[0][1]"},
      {R"({"prompt":["1","2","3","4","5","6","7","8","9"]})", "prompt"},
      {R"({"prompt":["1","2","3"],"n":3})", "n"},
      {R"({"prompt":"x","max_tokens":0})", "max_tokens"},
      {R"({"prompt":"x","logprobs":true})", "logprobs"},
      {R"({"prompt":"x","logprobs":21})", "logprobs"},
      {R"({"prompt":"x","best_of":2})", "best_of"},
      {R"({"prompt":"x","suffix":"y"})", "suffix"},
      {R"({"prompt":"x","echo":1})", "echo"},
  };
  for (const auto& [body, field] : cases) {
    const auto call = parse(body);
    ASSERT_FALSE(call.ok()) << body;
    EXPECT_EQ(call.error().field, field) << body << "\n" << call.error().message;
  }
}

AnswerHead test_head(std::int32_t n, std::int32_t choices) {
  return {.id = "cmpl-1", .model = "m", .created_unix_s = 7, .system_fingerprint = "fp_1", .n = n, .choices = choices};
}

TEST(OpenAiCompletions, WritesOneBodyWithLegacyLogprobs) {
  const auto writer = make_completion_writer(test_head(1, 1));
  std::string out;
  llm::LogprobDelta prompt{.tokens = {{.bytes = "é", .token = 1, .logprob = std::nanf(""), .top = {}}}, .prompt = true};
  writer->event({0, std::move(prompt)}, out);
  writer->event({0, llm::ContentDelta{"éx"}}, out);
  writer->event({0, llm::LogprobDelta{{{"x", 2, -0.5f, {{"x", -0.5f}, {"\xff", -2.0f}}}}, false}}, out);
  writer->event({0, llm::Finished{llm::Finish::kLength, {}, {1, 0, 1, 0}, {}}}, out);
  writer->end(out);
  EXPECT_EQ(
      out,
      R"({"id":"cmpl-1","object":"text_completion","created":7,"model":"m","system_fingerprint":"fp_1","choices":[{"text":"éx","index":0,)"
      R"("logprobs":{"tokens":["é","x"],"token_logprobs":[null,-0.5],"top_logprobs":[null,{"x":-0.5,)"
      R"("bytes:\\xff":-2.0}],"text_offset":[0,1]},"finish_reason":"length"}],"usage":{"prompt_tokens":1,)"
      R"("completion_tokens":1,"total_tokens":2,"cached_tokens":0,"prompt_tokens_details":{"cached_tokens":0},)"
      R"("completion_tokens_details":{"reasoning_tokens":0}}})");
}

TEST(OpenAiCompletions, StreamsChoicesOfSeveralPrompts) {
  const auto writer = make_completion_stream_writer(test_head(1, 2));
  std::string out;
  writer->event({1, llm::ContentDelta{"b"}}, out);
  writer->event({0, llm::ContentDelta{"a"}}, out);
  writer->event({0, llm::Finished{}}, out);
  writer->event({1, llm::Finished{llm::Finish::kLength, {}, {}, {}}}, out);
  writer->end(out);
  const std::string head =
      R"(data: {"id":"cmpl-1","object":"text_completion","created":7,"model":"m","system_fingerprint":"fp_1","choices":[)";
  EXPECT_EQ(out, head +
                     R"({"text":"b","index":1,"logprobs":null,"finish_reason":null}]})"
                     "\n\n" +
                     head +
                     R"({"text":"a","index":0,"logprobs":null,"finish_reason":null}]})"
                     "\n\n" +
                     head +
                     R"({"text":"","index":0,"logprobs":null,"finish_reason":"stop"}]})"
                     "\n\n" +
                     head +
                     R"({"text":"","index":1,"logprobs":null,"finish_reason":"length"}]})"
                     "\n\ndata: [DONE]\n\n");
}

}  // namespace
}  // namespace baltoro::server
