// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "baltoro/server/anthropic_errors.h"
#include "baltoro/server/anthropic_messages.h"

namespace baltoro::server {
namespace {

const ThinkingSigner& signer() {
  static const ThinkingSigner kSigner(SealKey(SealKey::Bytes{7}));
  return kSigner;
}

Result<MessagesCall> parse(const std::string& text, std::string_view family = "k2-thinking", bool counting = false,
                           std::string_view betas = {}) {
  static const ApiLimits kLimits;
  auto body = parse_body(text, kLimits);
  if (!body.ok()) return body.error();
  return parse_messages(
      *body, {.limits = kLimits, .signer = signer(), .family = family, .betas = betas, .counting = counting});
}

// A request with these members beside a model, a limit and one good message.
std::string with(const std::string& members) {
  return R"({"model":"m","max_tokens":100,"messages":[{"role":"user","content":"hi"}],)" + members + "}";
}
std::string with_messages(const std::string& messages) {
  return R"({"model":"m","max_tokens":100,"messages":[)" + messages + "]}";
}

// The conversation on one line: role{reasoning}content(name arguments id)=id for results, * for what is continued.
std::string shown(const Result<MessagesCall>& call) {
  if (!call.ok()) return "error: " + call.error().message;
  std::string out;
  for (const text::Message& message : call->request.conversation.messages) {
    if (!out.empty()) out += " | ";
    out += std::string(1, text::role_name(message.role)[0]) + ":";
    if (!message.reasoning.empty()) out += "{" + message.reasoning + "}";
    out += message.content;
    for (const text::ToolCall& tool : message.tool_calls) {
      out += "(" + tool.name + " " + tool.arguments + " " + tool.id + ")";
    }
    if (message.tool_call_id) out += "=" + *message.tool_call_id + " of " + message.name.value_or("");
    if (message.partial) out += "*";
  }
  return out;
}

TEST(AnthropicRequest, ReadsAFullRequest) {
  const auto call = parse(R"({
    "model": "m", "max_tokens": 32000, "stream": true, "unknown": {"a": [1]},
    "system": [{"type": "text", "text": "be", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "brief"}],
    "messages": [
      {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
      {"role": "system", "content": "note"},
      {"role": "assistant", "content": "It"}],
    "tools": [{"name": "sum", "description": "adds", "strict": true, "input_schema": {"type": "object"},
               "cache_control": {"type": "ephemeral"}, "eager_input_streaming": true}],
    "tool_choice": {"type": "tool", "name": "sum", "disable_parallel_tool_use": true},
    "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop_sequences": ["x", "y"],
    "thinking": {"type": "enabled", "budget_tokens": 2048, "display": "omitted"},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}, {"type": "other_1"}]},
    "metadata": {"user_id": "{\"a\":1}"}, "service_tier": "auto", "container": null})");
  ASSERT_TRUE(call.ok()) << call.error().message;
  const llm::ChatRequest& request = call->request;
  EXPECT_EQ(shown(call), "s:be\nbrief | u:a\nb | s:note | a:It*");
  EXPECT_EQ(call->model, "m");
  EXPECT_TRUE(call->stream);
  EXPECT_FALSE(call->show_thinking);
  EXPECT_TRUE(call->context_management);
  EXPECT_EQ(call->max_tokens, 32000);
  EXPECT_EQ(request.limits.max_tokens, 32000);
  EXPECT_EQ(request.limits.stop, (std::vector<std::string>{"x", "y"}));
  ASSERT_EQ(request.conversation.tools.size(), 1u);
  EXPECT_TRUE(request.conversation.tools[0].strict);
  EXPECT_EQ(json::dump(request.conversation.tools[0].declaration),
            R"({"type":"function","function":{"name":"sum","description":"adds","parameters":{"type":"object"},)"
            R"("strict":true}})");
  EXPECT_EQ(request.tool_choice, llm::ToolChoice::kNamed);
  EXPECT_EQ(request.tool_choice_name, "sum");
  EXPECT_FALSE(request.parallel_tool_calls);
  EXPECT_FLOAT_EQ(*request.sampling.temperature, 0.5F);
  EXPECT_FLOAT_EQ(*request.sampling.top_p, 0.9F);
  EXPECT_EQ(request.sampling.top_k, 40);
  EXPECT_EQ(request.thinking, true);
  EXPECT_EQ(request.thinking_budget, 2048);
  EXPECT_TRUE(request.preserve_thinking);
  EXPECT_EQ(request.response_format.kind, llm::AnswerFormat::kJsonSchema);
  EXPECT_TRUE(request.response_format.strict);
  EXPECT_EQ(json::dump(request.response_format.schema), R"({"type":"object"})");
}

TEST(AnthropicRequest, ReadsWhatClaudeCodeSends) {
  const std::string signature = signer().sign("list it");
  const auto call = parse(R"({"model":"m","max_tokens":32000,"stream":true,
    "system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2"},
              {"type":"text","text":"You are a CLI","cache_control":{"type":"ephemeral"}}],
    "messages":[
      {"role":"user","content":[{"type":"text","text":"<system-reminder>r</system-reminder>"},
                                {"type":"text","text":"ls","cache_control":{"type":"ephemeral"}}]},
      {"role":"system","content":"mode: auto"},
      {"role":"assistant","content":[{"type":"thinking","thinking":"list it","signature":")" +
                          signature + R"("},
        {"type":"text","text":"I look."},
        {"type":"tool_use","id":"toolu_00ff_3","name":"Bash","input":{"command":"ls","n":1},"caller":{"type":"direct"}}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_00ff_3","is_error":false,
        "content":[{"type":"text","text":"a.txt"}],"cache_control":{"type":"ephemeral"}},
        {"type":"text","text":"go on"}]}],
    "tools":[{"name":"Bash","input_schema":{"type":"object","$schema":"x"}}],
    "thinking":{"type":"adaptive"},"output_config":{"effort":"high"},
    "context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},"metadata":{"user_id":"u"}})");
  EXPECT_EQ(shown(call),
            "s:x-anthropic-billing-header: cc_version=2\nYou are a CLI | u:<system-reminder>r</system-reminder>\nls | "
            "s:mode: auto | a:{list it}I look.(Bash {\"command\":\"ls\",\"n\":1} functions.Bash:3) | "
            "t:a.txt=functions.Bash:3 of Bash | u:go on");
  EXPECT_EQ(call->request.thinking, true);
  EXPECT_FALSE(call->request.thinking_budget.has_value());
}

TEST(AnthropicRequest, TakesNullAsAbsent) {
  const auto call = parse(with(R"("system":null,"tools":null,"tool_choice":null,"thinking":null,"temperature":null,
      "stop_sequences":null,"stream":null,"metadata":null,"output_config":null,"context_management":null,"thread":null)"));
  ASSERT_TRUE(call.ok()) << call.error().message;
  EXPECT_FALSE(call->request.thinking.has_value());
  EXPECT_FALSE(call->request.sampling.temperature.has_value());
}

TEST(AnthropicRequest, InstructTemperatureIsScaled) {
  EXPECT_FLOAT_EQ(*parse(with(R"("temperature":1)"), "k2-instruct")->request.sampling.temperature, 0.6F);
  EXPECT_FLOAT_EQ(*parse(with(R"("temperature":0)"), "k2-instruct")->request.sampling.temperature, 0.0F);
  EXPECT_FLOAT_EQ(*parse(with(R"("temperature":1)"), "k2-thinking")->request.sampling.temperature, 1.0F);
  EXPECT_FLOAT_EQ(*parse(with(R"("temperature":1)"), "k2.5")->request.sampling.temperature, 1.0F);
}

TEST(AnthropicRequest, ReadsEveryKindOfThinking) {
  EXPECT_EQ(parse(with(R"("thinking":{"type":"disabled"})"))->request.thinking, false);
  EXPECT_EQ(parse(with(R"("thinking":{"type":"adaptive","display":"summarized"})"))->request.thinking, true);
  EXPECT_EQ(parse(with(R"("thinking":{"type":"between_tools"})"))->request.thinking, false);
  const auto after = parse(with_messages(R"({"role":"user","content":"q"},
      {"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}],"thinking":{"type":"between_tools"},"x":[)"));
  ASSERT_TRUE(after.ok()) << after.error().message;
  EXPECT_EQ(after->request.thinking, true);
  const std::string large = with(R"("thinking":{"type":"enabled","budget_tokens":5000})");
  EXPECT_FALSE(parse(large).ok());
  EXPECT_TRUE(parse(large, "k2.5", false, "a,interleaved-thinking-2025-05-14").ok());
}

TEST(AnthropicRequest, CountsWithoutALimitAndWarmsTheCache) {
  const std::string bare = R"({"model":"m","messages":[{"role":"user","content":"hi"}]})";
  EXPECT_TRUE(parse(bare, "k2.5", true).ok());
  EXPECT_EQ(parse(bare).error().field, "max_tokens");
  const auto warm = parse(R"({"model":"m","max_tokens":0,"messages":[{"role":"user","content":"hi"}]})");
  ASSERT_TRUE(warm.ok()) << warm.error().message;
  EXPECT_TRUE(warm->only_cache);
  EXPECT_EQ(warm->request.limits.max_tokens, 1);
}

TEST(AnthropicRequest, TurnsAreJoinedAndResultsGoFirst) {
  EXPECT_EQ(shown(parse(with_messages(R"({"role":"user","content":"q"},
      {"role":"assistant","content":[{"type":"text","text":"one "},{"type":"tool_use","id":"x1","name":"f","input":{}}]},
      {"role":"assistant","content":[{"type":"text","text":"two"},{"type":"tool_use","id":"x2","name":"g","input":{"a":1}}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"x2","content":"r2"}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"x1","content":"no","is_error":true},
                                {"type":"text","text":"so?"}]})"))),
            "u:q | a:one two(f {} x1)(g {\"a\":1} x2) | t:r2=x2 of g | t:Error: no=x1 of f | u:so?");
}

TEST(AnthropicRequest, TheLastAssistantMessageIsContinued) {
  EXPECT_EQ(shown(parse(with_messages(R"({"role":"user","content":"q"},{"role":"assistant","content":"{\"a\":"})"))),
            "u:q | a:{\"a\":*");
  EXPECT_EQ(shown(parse(with_messages(R"({"role":"user","content":"q"},{"role":"assistant","content":""})"))), "u:q");
}

TEST(AnthropicRequest, SystemMessagesThatWereForOneTurnGo) {
  const std::string messages = R"({"role":"user","content":"q"},
      {"role":"system","content":[{"type":"text","text":"now"}],"clear_at":"next_user_message"})";
  EXPECT_EQ(shown(parse(with_messages(messages))), "u:q | s:now");
  EXPECT_EQ(shown(parse(with_messages(messages + R"(,{"role":"user","content":"r"})"))), "u:q | u:r");
}

TEST(AnthropicRequest, TextInsideDocumentsIsRead) {
  EXPECT_EQ(shown(parse(with_messages(R"({"role":"user","content":[
      {"type":"document","title":"T","source":{"type":"text","media_type":"text/plain","data":"body"}},
      {"type":"document","source":{"type":"content","content":[{"type":"text","text":"part"}]}},
      {"type":"search_result","title":"S","source":"http://s/","content":[{"type":"text","text":"hit"}]}]})"))),
            "u:T\nbody\npart\nS\nhttp://s/\nhit");
}

TEST(AnthropicRequest, WhatServerToolsDidIsHistory) {
  EXPECT_EQ(shown(parse(with_messages(R"({"role":"user","content":"q"},
      {"role":"assistant","content":[{"type":"server_tool_use","id":"srv1","name":"web_search","input":{"query":"x"}},
        {"type":"web_search_tool_result","tool_use_id":"srv1",
         "content":[{"type":"web_search_result","title":"T","encrypted_content":"AAAA"}]},
        {"type":"text","text":"found"}]},
      {"role":"user","content":"thanks"})"))),
            "u:q | a:(web_search {\"query\":\"x\"} srv1) | t:[{\"type\":\"web_search_result\",\"title\":\"T\"}]=srv1 "
            "of web_search | "
            "a:found | u:thanks");
}

TEST(AnthropicRequest, ThoughtsAreKnownAgain) {
  const auto with_thought = [](const std::string& block) {
    return parse(with_messages(R"({"role":"user","content":"q"},{"role":"assistant","content":[)" + block +
                               R"(,{"type":"text","text":"a"}]},{"role":"user","content":"r"})"));
  };
  const std::string signature = signer().sign("deep");
  const std::string sealed = signer().seal("hidden");
  const std::string other = ThinkingSigner(SealKey::random()).sign("deep");
  EXPECT_EQ(shown(with_thought(R"({"type":"thinking","thinking":"deep","signature":")" + signature + "\"}")),
            "u:q | a:{deep}a | u:r");
  EXPECT_EQ(shown(with_thought(R"({"type":"thinking","thinking":"","signature":")" + sealed + "\"}")),
            "u:q | a:{hidden}a | u:r");
  EXPECT_EQ(shown(with_thought(R"({"type":"redacted_thinking","data":")" + sealed + "\"}")), "u:q | a:{hidden}a | u:r");
  // Nobody can tell: another key's, another maker's, none.
  for (const std::string& foreign : {other, std::string("EqQBCgIYAhIM"), std::string()}) {
    EXPECT_EQ(shown(with_thought(R"({"type":"thinking","thinking":"deep","signature":")" + foreign + "\"}")),
              "u:q | a:{deep}a | u:r");
  }
  EXPECT_EQ(shown(with_thought(R"({"type":"thinking","thinking":"deep"})")), "u:q | a:{deep}a | u:r");
  EXPECT_EQ(shown(with_thought(R"({"type":"redacted_thinking","data":"EqQBCgIYAhIM"})")), "u:q | a:a | u:r");
  // This server's own, changed.
  const auto altered = with_thought(R"({"type":"thinking","thinking":"deep!","signature":")" + signature + "\"}");
  ASSERT_FALSE(altered.ok());
  EXPECT_EQ(anthropic_error(altered.error(), "req-1").find("error")->find("message")->as_string(),
            "messages.1.content.0: Invalid `signature` in `thinking` block");
  EXPECT_FALSE(with_thought(R"({"type":"thinking","thinking":"shown","signature":")" + sealed + "\"}").ok());
}

TEST(AnthropicRequest, AnthropicsToolsThatClientsRunAreDeclaredAndOthersLeftOut) {
  const auto call = parse(with(R"("tools":[{"type":"web_search_20260209","name":"web_search"},
      {"type":"bash_20250124","name":"bash"},{"type":"text_editor_20250728","name":"str_replace_based_edit_tool"},
      {"type":"memory_20250818","name":"memory"},{"type":"code_execution_20260521","name":"code_execution"},
      {"type":"bash_code_execution_20250825"},{"type":"mcp_toolset","mcp_server_name":"s"},{"type":"computer_20251124"},
      {"type":"custom","name":"own","input_schema":{}}],"tool_choice":{"type":"any"})"));
  ASSERT_TRUE(call.ok()) << call.error().message;
  std::string names;
  for (const text::Tool& tool : call->request.conversation.tools) {
    names += tool.name + " ";
    EXPECT_TRUE(tool.declaration.find("function")->find("parameters")->is_object());
  }
  EXPECT_EQ(names, "bash str_replace_based_edit_tool memory own ");
  EXPECT_EQ(call->request.tool_choice, llm::ToolChoice::kRequired);
  EXPECT_EQ(parse(with(R"("tools":[{"type":"web_search_20260209","name":"web_search"}],
      "tool_choice":{"type":"tool","name":"web_search"})"))
                .error()
                .field,
            "tool_choice.name");
}

TEST(AnthropicRequest, ArgumentsThatWereNoJsonComeBackAsTheyWere) {
  EXPECT_EQ(shown(parse(with_messages(R"({"role":"user","content":"q"},
      {"role":"assistant","content":[{"type":"tool_use","id":"toolu_0a_0","name":"f","input":{"INVALID_JSON":"{\"a\":"}}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_0a_0","content":"bad"}]})"))),
            "u:q | a:(f {\"a\": functions.f:0) | t:bad=functions.f:0 of f");
}

TEST(AnthropicRequest, ThreadsAreRefusedSoThatClientsSendEverything) {
  const auto call = parse(with(R"("thread":{"type":"create"})"));
  ASSERT_FALSE(call.ok());
  const Response response = anthropic_error_response(call.error(), "req-7");
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(
      response.body,
      R"({"type":"error","error":{"type":"invalid_request_error","message":"thread: threads are not offered here, )"
      R"(send the whole conversation","details":{"error_code":"thread_unsupported_request","unsupported":)"
      R"(["thread"]}},"request_id":"req-7"})");
}

struct Bad {
  std::string body;
  const char* field;
};

TEST(AnthropicRequest, NamesTheOffendingField) {
  const auto messages = [](const std::string& text) { return with_messages(text); };
  const std::string call = R"({"role":"user","content":"q"},{"role":"assistant","content":[{"type":"tool_use","id":"a",
      "name":"f","input":{}}]})";
  const Bad cases[] = {
      {"{}", "model"},
      {R"({"model":"","max_tokens":1,"messages":[]})", "model"},
      {R"({"model":5})", "model"},
      {R"({"model":"m","max_tokens":1})", "messages"},
      {R"({"model":"m","max_tokens":1,"messages":{}})", "messages"},
      {messages(""), "messages"},
      {messages("5"), "messages[0]"},
      {messages(R"({"content":"x"})"), "messages[0].role"},
      {messages(R"({"role":"tool","content":"x"})"), "messages[0].role"},
      {messages(R"({"role":"user"})"), "messages[0].content"},
      {messages(R"({"role":"user","content":5})"), "messages[0].content"},
      {messages(R"({"role":"user","content":""})"), "messages[0].content"},
      {messages(R"({"role":"user","content":[]})"), "messages[0].content"},
      {messages(R"({"role":"user","content":["x"]})"), "messages[0].content[0]"},
      {messages(R"({"role":"user","content":[{"text":"x"}]})"), "messages[0].content[0].type"},
      {messages(R"({"role":"user","content":[{"type":"text","text":7}]})"), "messages[0].content[0].text"},
      {messages(R"({"role":"user","content":[{"type":"image","source":{"type":"url","url":"http://x/"}}]})"),
       "messages[0].content[0].type"},
      {messages(R"({"role":"user","content":[{"type":"document","source":{"type":"url","url":"http://x/"}}]})"),
       "messages[0].content[0].source.type"},
      {messages(R"({"role":"user","content":[{"type":"tool_result","tool_use_id":"z"}]})"), "messages[0].content[0]"},
      {messages(R"({"role":"user","content":[{"type":"tool_use","id":"z","name":"f","input":{}}]})"),
       "messages[0].content[0].type"},
      {messages(R"({"role":"assistant","content":[{"type":"image"}]})"), "messages[0].content[0].type"},
      {messages(R"({"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":"{}"}]})"),
       "messages[0].content[0].input"},
      {messages(R"({"role":"assistant","content":[{"type":"tool_use","id":"","name":"f","input":{}}]})"),
       "messages[0].content[0].id"},
      {messages(R"({"role":"assistant","content":[{"type":"thinking","signature":"x"}]})"),
       "messages[0].content[0].thinking"},
      {messages(R"({"role":"assistant","content":[{"type":"web_search_tool_result","tool_use_id":"q"}]})"),
       "messages[0].content[0].tool_use_id"},
      {messages(call), "messages[1]"},
      {messages(call + R"(,{"role":"user","content":"no result"})"), "messages[2]"},
      {messages(call +
                R"(,{"role":"user","content":[{"type":"text","text":"x"},{"type":"tool_result","tool_use_id":"a"}]})"),
       "messages[2].content[1]"},
      {messages(call + R"(,{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"},
          {"type":"tool_result","tool_use_id":"a"}]})"),
       "messages[2].content[1]"},
      {messages(call + R"(,{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[
          {"type":"hologram"}]}]})"),
       "messages[2].content[0].content[0].type"},
      {messages(call + R"(,{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]},
          {"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]})"),
       "messages[3].content[0].id"},
      {R"({"model":"m","max_tokens":-1,"messages":[]})", "max_tokens"},
      {R"({"model":"m","max_tokens":1.5,"messages":[]})", "max_tokens"},
      {R"({"model":"m","max_tokens":18446744073709551615,"messages":[]})", "max_tokens"},
      {R"({"model":"m","max_tokens":0,"stream":true,"messages":[]})", "max_tokens"},
      {with(R"("system":5)"), "system"},
      {with(R"("system":[{"type":"image"}])"), "system[0].type"},
      {with(R"("stream":"yes")"), "stream"},
      {with(R"("temperature":1.5)"), "temperature"},
      {with(R"("temperature":"1")"), "temperature"},
      {with(R"("top_p":-0.1)"), "top_p"},
      {with(R"("top_k":-5)"), "top_k"},
      {with(R"("top_k":2147483648)"), "top_k"},
      {with(R"("stop_sequences":"x")"), "stop_sequences"},
      {with(R"("stop_sequences":[""])"), "stop_sequences[0]"},
      {with(R"("stop_sequences":[5])"), "stop_sequences[0]"},
      {with(R"("thinking":{"type":"odd"})"), "thinking.type"},
      {with(R"("thinking":{})"), "thinking.type"},
      {with(R"("thinking":{"type":"enabled"})"), "thinking.budget_tokens"},
      {with(R"("thinking":{"type":"enabled","budget_tokens":-1})"), "thinking.budget_tokens"},
      {with(R"("thinking":{"type":"enabled","budget_tokens":100})"), "thinking.budget_tokens"},
      {with(R"("thinking":{"type":"adaptive","display":"loud"})"), "thinking.display"},
      {with(R"("output_config":{"effort":"some"})"), "output_config.effort"},
      {with(R"("output_config":{"format":{"type":"xml"}})"), "output_config.format.type"},
      {with(R"("output_config":{"format":{"type":"json_schema"}})"), "output_config.format.schema"},
      {with(R"("metadata":{"user_id":5})"), "metadata.user_id"},
      {with(R"("context_management":{"edits":[{}]})"), "context_management.edits[0].type"},
      {with(R"("tools":[{"name":"f"}])"), "tools[0].input_schema"},
      {with(R"("tools":[{"input_schema":{}}])"), "tools[0].name"},
      {with(R"("tools":[{"name":"a b","input_schema":{}}])"), "tools[0].name"},
      {with(R"("tools":[{"name":"f","input_schema":{}},{"name":"f","input_schema":{}}])"), "tools[1].name"},
      {with(R"("tools":[{"name":"f","input_schema":[]}])"), "tools[0].input_schema"},
      {with(R"("tools":[{"name":"f","input_schema":{},"strict":"yes"}])"), "tools[0].strict"},
      {with(R"("tool_choice":"auto")"), "tool_choice"},
      {with(R"("tool_choice":{"type":"any"})"), "tool_choice.type"},
      {with(R"("tool_choice":{"type":"some"})"), "tool_choice.type"},
      {with(R"("tool_choice":{"type":"tool","name":"g"})"), "tool_choice.name"},
  };
  for (const Bad& bad : cases) {
    const auto call_read = parse(bad.body);
    ASSERT_FALSE(call_read.ok()) << bad.body;
    EXPECT_EQ(call_read.error().code, Errc::kInvalidArgument) << bad.body;
    EXPECT_EQ(call_read.error().field, bad.field) << bad.body << "\n" << call_read.error().message;
  }
}

// Refused for good, they would end a session: clients send them again with each request.
TEST(AnthropicRequest, PicturesOfToolsAndOfBeforeAreNoted) {
  const std::string image = R"({"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}})";
  const std::string pdf = R"({"type":"document","title":"T","source":{"type":"base64","data":"AA"}})";
  const std::string call = R"({"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]})";
  EXPECT_EQ(shown(parse(with_messages(R"({"role":"user","content":[{"type":"text","text":"look"},)" + image + "]}," +
                                      call + R"(,{"role":"user","content":[{"type":"tool_result","tool_use_id":"a",)" +
                                      R"("content":[)" + image + "," + pdf + R"(]},{"type":"text","text":"and?"}]})"))),
            "u:look\n[image omitted: this model reads text only] | a:(f {} a) | "
            "t:[image omitted: this model reads text only]\nT\n[document omitted: this model reads text only]=a of f | "
            "u:and?");
  const auto now = parse(
      with_messages(call + R"(,{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"},)" + image + "]}"));
  ASSERT_FALSE(now.ok());
  EXPECT_EQ(now.error().field, "messages[1].content[1].type");
}

}  // namespace
}  // namespace baltoro::server
