// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/openai_chat.h"

#include <gtest/gtest.h>

#include "baltoro/server/openai_errors.h"

namespace baltoro::server {
namespace {

Result<ChatCall> parse(const std::string& text) {
  auto body = parse_body(text, {});
  if (!body.ok()) return body.error();
  return parse_chat(*body, {});
}

// A request with these members beside one good message.
std::string with(const std::string& members) {
  return R"({"messages":[{"role":"user","content":"hi"}],)" + members + "}";
}

TEST(OpenAiChat, ReadsAFullRequest) {
  const auto call = parse(R"({
    "model": "m", "stream": true, "stream_options": {"include_usage": true}, "unknown": {"a": [1]},
    "messages": [
      {"role": "developer", "content": [{"type": "text", "text": "be "}, {"type": "text", "text": "brief"}]},
      {"role": "user", "content": "What is 2+2?", "name": "ann"},
      {"role": "assistant", "content": null, "reasoning_content": "add",
       "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "sum", "arguments": "{\"a\": 2}"}}]},
      {"role": "tool", "tool_call_id": "c1", "content": "4"},
      {"role": "assistant", "content": "It", "partial": true}],
    "tools": [{"type": "function", "function": {"name": "sum", "strict": true, "parameters": {"type": "object"}}}],
    "tool_choice": {"type": "function", "function": {"name": "sum"}}, "parallel_tool_calls": false,
    "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "presence_penalty": -1, "frequency_penalty": 1.5,
    "repetition_penalty": 1.1, "seed": -1, "logit_bias": {"17": -100, "3": 2.5},
    "n": 2, "stop": ["a", "b"], "max_tokens": 5, "max_completion_tokens": 262144,
    "logprobs": true, "top_logprobs": 3, "thinking": {"type": "enabled", "keep": "all"}})");
  ASSERT_TRUE(call.ok()) << call.error().message;
  EXPECT_EQ(call->model, "m");
  EXPECT_TRUE(call->stream);
  EXPECT_TRUE(call->include_usage);
  const llm::ChatRequest& request = call->request;
  const auto& messages = request.conversation.messages;
  ASSERT_EQ(messages.size(), 5u);
  EXPECT_EQ(messages[0].role, text::Role::kSystem);
  EXPECT_EQ(messages[0].content, "be brief");
  EXPECT_EQ(messages[1].name, "ann");
  EXPECT_EQ(messages[2].reasoning, "add");
  ASSERT_EQ(messages[2].tool_calls.size(), 1u);
  EXPECT_EQ(messages[2].tool_calls[0].arguments, "{\"a\": 2}");
  EXPECT_EQ(messages[3].tool_call_id, "c1");
  EXPECT_TRUE(messages[4].partial);
  ASSERT_EQ(request.conversation.tools.size(), 1u);
  EXPECT_EQ(request.conversation.tools[0].name, "sum");
  EXPECT_TRUE(request.conversation.tools[0].strict);
  EXPECT_EQ(json::dump(request.conversation.tools[0].declaration),
            R"({"type":"function","function":{"name":"sum","strict":true,"parameters":{"type":"object"}}})");
  EXPECT_EQ(request.tool_choice, llm::ToolChoice::kNamed);
  EXPECT_EQ(request.tool_choice_name, "sum");
  EXPECT_FALSE(request.parallel_tool_calls);
  EXPECT_FLOAT_EQ(*request.sampling.temperature, 0.5f);
  EXPECT_EQ(request.sampling.top_k, 40);
  EXPECT_EQ(request.sampling.seed, UINT64_MAX);
  EXPECT_EQ(request.sampling.logit_bias.size(), 2u);
  EXPECT_EQ(request.limits.n, 2);
  EXPECT_EQ(request.limits.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request.limits.max_tokens, 262144);
  EXPECT_TRUE(request.limits.logprobs);
  EXPECT_EQ(request.limits.top_logprobs, 3);
  EXPECT_EQ(request.thinking, true);
  EXPECT_TRUE(request.preserve_thinking);
}

TEST(OpenAiChat, TakesNullAsAbsent) {
  const auto call = parse(with(R"("temperature":null,"stop":null,"tools":null,"tool_choice":null,"stream":null,
      "stream_options":null,"max_tokens":null,"logprobs":null,"response_format":null,"seed":null,"thinking":null)"));
  ASSERT_TRUE(call.ok()) << call.error().message;
  EXPECT_FALSE(call->request.sampling.temperature.has_value());
  EXPECT_FALSE(call->request.limits.max_tokens.has_value());
}

TEST(OpenAiChat, AcceptsEveryWayToSwitchThinking) {
  EXPECT_EQ(parse(with(R"("thinking":{"type":"disabled"})"))->request.thinking, false);
  EXPECT_EQ(parse(with(R"("chat_template_kwargs":{"thinking":false,"other":1})"))->request.thinking, false);
  EXPECT_EQ(parse(with(R"("chat_template_kwargs":{"enable_thinking":true})"))->request.thinking, true);
  EXPECT_EQ(parse(with(R"("reasoning_effort":"none")"))->request.thinking, false);
  EXPECT_EQ(parse(with(R"("reasoning_effort":"high")"))->request.thinking, std::nullopt);
  EXPECT_EQ(parse(with(R"("thinking":{"keep":"all"})"))->request.thinking, true);
  EXPECT_EQ(parse(with(R"("thinking":{"type":"disabled","keep":"odd","effort":"odd"})"))->request.thinking, false);
}

TEST(OpenAiChat, AcceptsEveryWayToLimitThinking) {
  EXPECT_EQ(parse(with(R"("thinking":{"type":"enabled","budget_tokens":0})"))->request.thinking_budget, 0);
  EXPECT_EQ(parse(with(R"("thinking_token_budget":7)"))->request.thinking_budget, 7);
  EXPECT_EQ(parse(with(R"("thinking_budget":8)"))->request.thinking_budget, 8);
  EXPECT_EQ(parse(with(R"("chat_template_kwargs":{"thinking_budget":9})"))->request.thinking_budget, 9);
  EXPECT_EQ(parse(with(R"("thinking":{"type":"enabled"})"))->request.thinking_budget, std::nullopt);
}

TEST(OpenAiChat, ForgetsTheReasoningThatThinkingKeepGivesUp) {
  const auto kept = [](const std::string& keep) {
    const auto call =
        parse(R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":"1"},
        {"role":"user","content":"c"},{"role":"assistant","content":"d","reasoning_content":"2"}],"thinking":{"keep":")" +
              keep + "\"}}");
    std::string out = call->request.preserve_thinking ? "all:" : "";
    for (const auto& message : call->request.conversation.messages) out += message.reasoning;
    return out;
  };
  EXPECT_EQ(kept("all"), "all:12");
  EXPECT_EQ(kept("none"), "");
  EXPECT_EQ(kept("after_last_user"), "2");
  EXPECT_EQ(kept("after_last_non_tool_call_assistant"), "12");
}

TEST(OpenAiChat, NarrowsTheCallsToThoseAllowed) {
  const auto call =
      parse(with(R"("tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g"}}],
      "tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"g"}}]}})"));
  ASSERT_TRUE(call.ok()) << call.error().message;
  EXPECT_EQ(call->request.tool_choice, llm::ToolChoice::kRequired);
  EXPECT_EQ(call->request.conversation.tools.size(), 2u);  // the prompt stays as it is
  EXPECT_EQ(call->request.allowed_tools, std::vector<std::string>{"g"});
}

TEST(OpenAiChat, TakesMoonshotsBuiltinFunctions) {
  const auto call = parse(R"({"messages":[{"role":"user","content":"x"},
      {"role":"assistant","content":"","tool_calls":[{"id":"$web_search:0","type":"builtin_function","function":{"name":"$web_search","arguments":"{}"}}]},
      {"role":"tool","tool_call_id":"$web_search:0","name":"$web_search","content":"{}"}],
      "tools":[{"type":"builtin_function","function":{"name":"$web_search"}}]})");
  ASSERT_TRUE(call.ok()) << call.error().message;
  EXPECT_EQ(call->request.conversation.tools[0].name, "$web_search");
  EXPECT_EQ(call->request.conversation.messages[2].content, "{}");
}

std::string declares(const std::string& tools) { return R"({"role":"system","content":"","tools":)" + tools + "}"; }
std::string function(const std::string& name) { return R"({"type":"function","function":{"name":")" + name + "\"}}"; }

TEST(OpenAiChat, SystemMessagesDeclareTools) {
  const auto call = parse(R"({"tools":[)" + function("f") + R"(],"tool_choice":"required","messages":[)" +
                          declares("[" + function("g") + "," + function("h") + "]") +
                          R"(,{"role":"user","content":"x"},{"role":"system","tools":[)" + function("i") + "]}]}");
  ASSERT_TRUE(call.ok()) << call.error().message;
  std::string names;
  for (const text::Tool& tool : call->request.conversation.tools) names += tool.name;
  EXPECT_EQ(names, "fghi");
  EXPECT_EQ(call->request.conversation.messages.size(), 1u);
  const std::string user = R"(,{"role":"user","content":"x"}]})";
  const std::pair<std::string, std::string> bad[] = {
      {R"({"messages":[{"role":"user","content":"","tools":[]})" + user, "messages[0].tools"},
      {R"({"messages":[{"role":"assistant","content":"a","tools":[)" + function("f") + "]}" + user,
       "messages[0].tools"},
      {R"({"messages":[{"role":"system","content":"a","tools":[)" + function("f") + "]}" + user, "messages[0].content"},
      {R"({"messages":[)" + declares("{}") + user, "messages[0].tools"},
      {R"({"messages":[)" + declares("[null]") + user, "messages[0].tools[0]"},
      {R"({"messages":[)" + declares(R"([{"type":"bogus","function":{"name":"x"}}])") + user,
       "messages[0].tools[0].type"},
      {R"({"messages":[)" + declares("[" + function("1bad") + "]") + user, "messages[0].tools"},
      {R"({"messages":[)" + declares("[" + function("bad@name") + "]") + user, "messages[0].tools[0].function.name"},
      {R"({"messages":[)" + declares("[" + function(std::string(257, 'a')) + "]") + user,
       "messages[0].tools[0].function.name"},
      {R"({"messages":[)" + declares("[" + function("f") + "," + function("f") + "]") + user,
       "messages[0].tools[1].function.name"},
      {R"({"messages":[)" + declares("[" + function("f") + "]") + "," + declares("[" + function("f") + "]") + user,
       "messages[1].tools"},
      {R"({"tools":[)" + function("f") + R"(],"messages":[)" + declares("[" + function("f") + "]") + user,
       "messages[0].tools"},
      {R"({"messages":[)" + declares("[" + function("f") + "]") + "]}", "messages"},
  };
  for (const auto& [body, field] : bad) {
    const auto refused = parse(body);
    ASSERT_FALSE(refused.ok()) << body.substr(0, 300);
    EXPECT_EQ(refused.error().field, field) << body.substr(0, 300) << "\n" << refused.error().message;
  }
}

// The cases of Moonshot's vendor verifier, tests/params.
TEST(OpenAiChat, HoldsToMoonshotsParametersWhenAsked) {
  ApiLimits strict;
  strict.strict_moonshot = true;
  const auto status = [&](const std::string& members) {
    return parse_chat(*parse_body(with(members), strict), strict).ok();
  };
  for (const char* good :
       {R"("n":1)", R"("temperature":0.6)", R"("temperature":0.0)", R"("temperature":1.0)", R"("top_p":0.95)",
        R"("presence_penalty":0,"frequency_penalty":0)", R"("thinking":{"type":"disabled"})"}) {
    EXPECT_TRUE(status(good)) << good;
  }
  for (const char* bad : {R"("n":2)", R"("temperature":1.1)", R"("temperature":2.0)", R"("temperature":-0.1)",
                          R"("top_p":0.8)", R"("presence_penalty":0.5)", R"("frequency_penalty":0.5)"}) {
    EXPECT_FALSE(status(bad)) << bad;
    if (std::string_view(bad).find("-0.1") == std::string_view::npos) {
      EXPECT_TRUE(parse(with(bad)).ok()) << bad;
    }
  }
}

struct Bad {
  std::string body;
  const char* field;
};

TEST(OpenAiChat, NamesTheOffendingField) {
  const Bad cases[] = {
      {"{}", "messages"},
      {R"({"messages":null})", "messages"},
      {R"({"messages":"hi"})", "messages"},
      {R"({"messages":[]})", "messages"},
      {R"({"messages":["hi"]})", "messages[0]"},
      {R"({"messages":[{"content":"x"}]})", "messages[0].role"},
      {R"({"messages":[{"role":"king","content":"x"}]})", "messages[0].role"},
      {R"({"messages":[{"role":5,"content":"x"}]})", "messages[0].role"},
      {R"({"messages":[{"role":"user"}]})", "messages[0].content"},
      {R"({"messages":[{"role":"user","content":5}]})", "messages[0].content"},
      {R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x/"}}]}]})",
       "messages[0].content[0].type"},
      {R"({"messages":[{"role":"user","content":[{"type":"text"}]}]})", "messages[0].content[0].text"},
      {R"({"messages":[{"role":"user","content":["x"]}]})", "messages[0].content[0]"},
      {R"({"messages":[{"role":"assistant"}]})", "messages[0].content"},
      {R"({"messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function"}]}]})",
       "messages[0].tool_calls[0].function"},
      {R"({"messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":{}}}]}]})",
       "messages[0].tool_calls[0].function.arguments"},
      {R"({"messages":[{"role":"tool","content":"x"}]})", "messages[0].tool_call_id"},
      {R"({"messages":[{"role":"tool","content":"x","tool_call_id":"nope"}]})", "messages[0].tool_call_id"},
      {R"({"messages":[{"role":"user","content":"x","partial":true}]})", "messages[0].partial"},
      {R"({"messages":[{"role":"assistant","content":"x","partial":true},{"role":"user","content":"x"}]})",
       "messages[0].partial"},
      {with(R"("model":5)"), "model"},
      {with(R"("temperature":"5")"), "temperature"},
      {with(R"("temperature":2.5)"), "temperature"},
      {with(R"("temperature":-0.1)"), "temperature"},
      {with(R"("temperature":1e308)"), "temperature"},
      {with(R"("top_p":1.5)"), "top_p"},
      {with(R"("min_p":-1)"), "min_p"},
      {with(R"("top_k":-5)"), "top_k"},
      {with(R"("top_k":2147483648)"), "top_k"},
      {with(R"("top_k":1.5)"), "top_k"},
      {with(R"("n":0)"), "n"},
      {with(R"("n":1000000000)"), "n"},
      {with(R"("n":true)"), "n"},
      {with(R"("max_tokens":0)"), "max_tokens"},
      {with(R"("max_tokens":-1)"), "max_tokens"},
      {with(R"("max_tokens":9223372036854775808)"), "max_tokens"},
      {with(R"("max_completion_tokens":"9")"), "max_completion_tokens"},
      {with(R"("seed":1.5)"), "seed"},
      {with(R"("stop":"")"), "stop"},
      {with(R"("stop":[1])"), "stop[0]"},
      {with(R"("stop":{})"), "stop"},
      {with(R"("stop":")" + std::string(5000, 'x') + "\""), "stop"},
      {with(R"("top_logprobs":2)"), "top_logprobs"},
      {with(R"("logprobs":true,"top_logprobs":1000000)"), "top_logprobs"},
      {with(R"("logit_bias":{"x":1})"), "logit_bias"},
      {with(R"("logit_bias":{"-1":1})"), "logit_bias"},
      {with(R"("logit_bias":{"1":101})"), "logit_bias"},
      {with(R"("logit_bias":[])"), "logit_bias"},
      {with(R"("stream":"yes")"), "stream"},
      {with(R"("stream_options":{"include_usage":true})"), "stream_options"},
      {with(R"("stream":true,"stream_options":{"include_usage":1})"), "stream_options.include_usage"},
      {with(R"("tools":{})"), "tools"},
      {with(R"("tools":[{"type":"custom","custom":{"name":"f"}}])"), "tools[0].type"},
      {with(R"("tools":[{"type":"function","function":{"name":"$web_search"}}])"), "tools[0].function.name"},
      {with(R"("tools":[{"type":"builtin_function","function":{"name":"$"}}])"), "tools[0].function.name"},
      {with(R"("tools":[{"type":"function"}])"), "tools[0].function"},
      {with(R"("tools":[{"type":"function","function":{"name":"a:b"}}])"), "tools[0].function.name"},
      {with(R"("tools":[{"type":"function","function":{"name":""}}])"), "tools[0].function.name"},
      {with(R"("tools":[{"type":"function","function":{"name":"f","parameters":[]}}])"),
       "tools[0].function.parameters"},
      {with(R"("tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"f"}}])"),
       "tools[1].function.name"},
      {with(R"("tool_choice":"required")"), "tool_choice"},
      {with(R"("tool_choice":"maybe")"), "tool_choice"},
      {with(R"("tool_choice":5)"), "tool_choice"},
      {with(R"("tool_choice":{"type":"function","function":{"name":"f"}})"), "tool_choice.function.name"},
      {with(R"("response_format":{})"), "response_format.type"},
      {with(R"("response_format":{"type":"xml"})"), "response_format.type"},
      {with(R"("response_format":{"type":"json_schema"})"), "response_format.json_schema"},
      {with(R"("response_format":{"type":"json_schema","json_schema":{"schema":{}}})"),
       "response_format.json_schema.name"},
      {with(R"("response_format":{"type":"json_schema","json_schema":{"name":"a b","schema":{}}})"),
       "response_format.json_schema.name"},
      {with(R"("response_format":{"type":"json_schema","json_schema":{"name":"n"}})"),
       "response_format.json_schema.schema"},
      {with(R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":[]}})"),
       "response_format.json_schema.schema"},
      {with(R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{},"strict":"yes"}})"),
       "response_format.json_schema.strict"},
      {with(R"("functions":[])"), "functions"},
      {with(R"("thinking":{"type":"odd"})"), "thinking.type"},
      {with(R"("thinking":true)"), "thinking"},
      {with(R"("thinking":{"type":"enabled","keep":"some"})"), "thinking.keep"},
      {with(R"("thinking":{"effort":"odd"})"), "thinking.effort"},
      {with(R"("thinking":{"budget_tokens":-1})"), "thinking.budget_tokens"},
      {with(R"("thinking_token_budget":1.5)"), "thinking_token_budget"},
      {with(R"("thinking_budget":"9")"), "thinking_budget"},
      {with(R"("chat_template_kwargs":{"thinking_budget":-1})"), "chat_template_kwargs.thinking_budget"},
      {with(R"("chat_template_kwargs":{"thinking":"false"})"), "chat_template_kwargs.thinking"},
      {with(R"("reasoning_effort":"odd")"), "reasoning_effort"},
      {with(
           R"("tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"none","tools":[{"type":"function","function":{"name":"f"}}]}})"),
       "tool_choice.allowed_tools.mode"},
      {with(
           R"("tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"g"}}]}})"),
       "tool_choice.allowed_tools.tools[0].function.name"},
      {with(R"("metadata":[])"), "metadata"},
      {with(R"("metadata":{"k":7})"), "metadata"},
      {with(R"("user":7)"), "user"},
      {with(R"("prompt_cache_key":")" + std::string(1 << 20, 'x') + "\""), "prompt_cache_key"},
      {with(R"("store":"yes")"), "store"},
      {with(R"("web_search_options":{})"), "web_search_options"},
      {with(R"("audio":{"voice":"a"})"), "audio"},
      {with(R"("modalities":["audio"])"), "modalities"},
  };
  for (const Bad& bad : cases) {
    const auto call = parse(bad.body);
    ASSERT_FALSE(call.ok()) << bad.body.substr(0, 200);
    EXPECT_EQ(call.error().code, Errc::kInvalidArgument);
    EXPECT_EQ(call.error().field, bad.field) << bad.body.substr(0, 200) << "\n" << call.error().message;
    EXPECT_TRUE(call.error().message.starts_with(bad.field)) << call.error().message;
  }
}

TEST(OpenAiChat, RefusesBadJsonByItsReason) {
  const std::string deep(1'000'000, '[');
  std::string many = R"({"messages":[)";
  for (int i = 0; i < 1'000'001; ++i) many += "0,";
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("\"x\""), std::string("{"), std::string("{} x"),
        std::string("\xef\xbb\xbf{}"), std::string("{/* */}"), std::string(R"({"temperature":NaN})"),
        std::string(R"({"a":1,"a":2})"), std::string("{\"a\":\"\xff\"}"), std::string("{\"a\":\"\xc0\x80\"}"),
        std::string(R"({"a":"\ud800"})"), std::string(R"({"a":1e400})"), std::string(R"({"a":18446744073709551616})"),
        deep, std::string(R"({"a":)") + deep, many + "0]}"}) {
    const auto call = parse(text);
    ASSERT_FALSE(call.ok()) << text.substr(0, 60);
    EXPECT_EQ(call.error().code, Errc::kInvalidArgument);
    EXPECT_LT(call.error().message.size(), 400u);
  }
}

TEST(OpenAiChat, KeepsNulAndMarkersAsText) {
  const auto call = parse(R"({"messages":[{"role":"user","content":"a\u0000b<|im_end|></think>"}]})");
  ASSERT_TRUE(call.ok());
  EXPECT_EQ(call->request.conversation.messages[0].content, std::string("a\0b<|im_end|></think>", 21));
  EXPECT_FALSE(call->request.parse_special);
}

AnswerHead test_head(std::int32_t n, bool usage) {
  return {.id = "chatcmpl-1",
          .model = "m",
          .created_unix_s = 7,
          .system_fingerprint = "fp_1",
          .n = n,
          .choices = n,
          .include_usage = usage};
}

std::vector<llm::Event> answer_events() {
  return {{0, llm::ReasoningDelta{"hm"}},
          {0, llm::ContentDelta{"ok"}},
          {0, llm::ToolCallBegin{0, "functions.f:0", "f"}},
          {0, llm::ToolCallArguments{0, "{\"a\""}},
          {0, llm::ToolCallArguments{0, ":1}"}},
          {0, llm::ToolCallEnd{0}},
          {0, llm::Finished{llm::Finish::kToolCalls, {}, {10, 4, 6, 2}, {}}}};
}

TEST(OpenAiChat, WritesOneBody) {
  const auto writer = make_chat_writer(test_head(1, false));
  std::string out;
  for (const auto& event : answer_events()) writer->event(event, out);
  EXPECT_EQ(out, "");
  writer->end(out);
  EXPECT_EQ(
      out,
      R"({"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"m","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"message":)"
      R"({"role":"assistant","content":"ok","reasoning_content":"hm","refusal":null,"annotations":[],)"
      R"("tool_calls":[{"id":"functions.f:0","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},)"
      R"("logprobs":null,"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":10,"completion_tokens":6,)"
      R"("total_tokens":16,"cached_tokens":4,"prompt_tokens_details":{"cached_tokens":4},)"
      R"("completion_tokens_details":{"reasoning_tokens":2}}})");
}

TEST(OpenAiChat, WritesAStream) {
  const auto writer = make_chat_stream_writer(test_head(1, true));
  std::string out;
  for (const auto& event : answer_events()) writer->event(event, out);
  writer->end(out);
  const std::string head =
      R"(data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","service_tier":"default","system_fingerprint":"fp_1","choices":[)";
  const std::string usage = R"({"prompt_tokens":10,"completion_tokens":6,"total_tokens":16,"cached_tokens":4,)"
                            R"("prompt_tokens_details":{"cached_tokens":4},)"
                            R"("completion_tokens_details":{"reasoning_tokens":2}})";
  const auto chunk = [&](const std::string& delta) {
    return head + R"({"index":0,"delta":)" + delta +
           R"(,"logprobs":null,"finish_reason":null}],"usage":null})"
           "\n\n";
  };
  EXPECT_EQ(out, chunk(R"({"role":"assistant","content":"","refusal":null})") + chunk(R"({"reasoning_content":"hm"})") +
                     chunk(R"({"content":"ok"})") +
                     chunk(R"({"tool_calls":[{"index":0,"id":"functions.f:0","type":"function",)"
                           R"("function":{"name":"f","arguments":""}}]})") +
                     chunk(R"({"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]})") +
                     chunk(R"({"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]})") + head +
                     R"({"index":0,"delta":{},"logprobs":null,"finish_reason":"tool_calls","usage":)" + usage +
                     R"(}],"usage":null})"
                     "\n\n" +
                     head + R"(],"usage":)" + usage + "}\n\ndata: [DONE]\n\n");
}

TEST(OpenAiChat, WritesLogprobsWithTheirBytes) {
  const llm::Logprob token{.bytes = "\xe4\xb8", .token = 5, .logprob = -0.1f, .top = {{"x", -0.1f}, {"y", -1e30f}}};
  const std::string expected =
      R"({"content":[{"token":"�","logprob":-0.1,"bytes":[228,184],"top_logprobs":[{"token":"x","logprob":-0.1,)"
      R"("bytes":[120]},{"token":"y","logprob":-9999.0,"bytes":[121]}]}],"refusal":null})";
  for (const bool stream : {false, true}) {
    const auto writer = stream ? make_chat_stream_writer(test_head(1, false)) : make_chat_writer(test_head(1, false));
    std::string out;
    writer->event({0, llm::LogprobDelta{{token}, false}}, out);
    writer->event({0, llm::ContentDelta{"a"}}, out);
    writer->event({0, llm::Finished{}}, out);
    writer->end(out);
    EXPECT_NE(out.find(R"("logprobs":)" + expected), std::string::npos) << out;
  }
}

TEST(OpenAiChat, CountsTheSharedPromptOnce) {
  const auto writer = make_chat_writer(test_head(2, false));
  std::string out;
  for (std::int32_t i = 0; i < 2; ++i) {
    writer->event({i, llm::ContentDelta{std::string(1, static_cast<char>('a' + i))}}, out);
    writer->event({i, llm::Finished{llm::Finish::kLength, {}, {10, 0, 3, 0}, {}}}, out);
  }
  writer->end(out);
  EXPECT_NE(out.find(R"("prompt_tokens":10,"completion_tokens":6)"), std::string::npos) << out;
  EXPECT_NE(out.find(R"("content":"b")"), std::string::npos);
  EXPECT_NE(out.find(R"("finish_reason":"length")"), std::string::npos);
}

// A feature that is missing stays missing: a 5xx would make clients send the request again.
TEST(OpenAiErrors, WhatIsUnsupportedIsNotRetried) { EXPECT_EQ(http_status(Errc::kUnsupported), 400); }

TEST(OpenAiErrors, WritesEachKind) {
  EXPECT_EQ(openai_error_response(field_error("messages[2].content", "a string is needed")).body,
            R"({"error":{"message":"messages[2].content: a string is needed","type":"invalid_request_error",)"
            R"("param":"messages[2].content","code":"invalid_value"}})");
  const Response hidden = openai_error_response({Errc::kIo, "/secret/path: read failed"});
  EXPECT_EQ(hidden.status, 500);
  EXPECT_EQ(hidden.body.find("secret"), std::string::npos);
  const Response busy = openai_error_response({Errc::kRateLimited, "the queue is full"});
  EXPECT_EQ(busy.status, 429);
  ASSERT_EQ(busy.headers.size(), 1u);
  EXPECT_EQ(busy.headers[0].first, "Retry-After");
  for (int code = 0; code <= static_cast<int>(Errc::kInternal); ++code) {
    const int status = http_status(static_cast<Errc>(code));
    EXPECT_TRUE(status >= 400 && status < 600);
    EXPECT_STRNE(status_phrase(status), "Unknown");
  }
}

TEST(ChatRequest, PicturesOfToolsAndOfBeforeAreNoted) {
  const std::string image = R"({"type":"image_url","image_url":{"url":"http://x/"}})";
  const std::string before =
      R"({"messages":[{"role":"user","content":[{"type":"text","text":"look "},)" + image +
      R"(]},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]},)";
  const auto call = parse(before + R"({"role":"tool","tool_call_id":"c","content":[)" + image + "]}]}");
  ASSERT_TRUE(call.ok()) << call.error().message;
  const auto& messages = call->request.conversation.messages;
  EXPECT_EQ(messages[0].content, "look [image omitted: this model reads text only]");
  EXPECT_EQ(messages[2].content, "[image omitted: this model reads text only]");
  const auto now = parse(before + R"({"role":"user","content":[)" + image + "]}]}");
  ASSERT_FALSE(now.ok());
  EXPECT_EQ(now.error().field, "messages[2].content[0].type");
}

}  // namespace
}  // namespace baltoro::server
