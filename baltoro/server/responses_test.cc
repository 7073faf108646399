// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/responses.h"

#include <gtest/gtest.h>

#include "baltoro/server/openai_errors.h"

namespace baltoro::server {
namespace {

Remembered nothing() {
  return {.conversation = [](const std::string&) -> Result<json::Array> {
            return Error{Errc::kNotFound, "not found", "previous_response_id"};
          },
          .item = [](const std::string&) -> Result<json::Value> { return Error{Errc::kNotFound, "no item"}; },
          .open = [](std::string_view) { return std::nullopt; }};
}

Result<ResponsesCall> parse(const std::string& text, const Remembered& remembered = nothing()) {
  auto body = parse_body(text, {});
  if (!body.ok()) return body.error();
  return parse_responses(*body, {}, remembered);
}

// A request with these members beside a good input.
std::string with(const std::string& members) { return R"({"input":"hi",)" + members + "}"; }

// A request with one item after a good one.
std::string item(const std::string& text) { return R"({"input":[{"role":"user","content":"hi"},)" + text + "]}"; }

TEST(Responses, ReadsWhatCodexSends) {
  const auto call =
      parse(R"({
    "model": "m", "stream": true, "store": false, "include": ["reasoning.encrypted_content"],
    "instructions": "be brief", "prompt_cache_key": "k", "client_metadata": {"a": "b"},
    "reasoning": {"effort": "none", "summary": "auto"}, "tool_choice": "auto", "parallel_tool_calls": false,
    "input": [
      {"type": "message", "id": "msg_1", "role": "developer", "content": [{"type": "input_text", "text": "you are"}]},
      {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "list "}, {"type": "input_text", "text": "files"}]},
      {"type": "reasoning", "id": "rs_1", "summary": [], "content": null, "encrypted_content": "SEALED"},
      {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
      {"type": "function_call", "id": "fc_1", "name": "exec", "arguments": "{\"cmd\":\"ls\"}", "call_id": "functions.exec:0"},
      {"type": "function_call", "name": "exec", "arguments": "{}", "call_id": "functions.exec:1"},
      {"type": "function_call_output", "call_id": "functions.exec:0", "output": "a"},
      {"type": "function_call_output", "call_id": "functions.exec:1", "output": [{"type": "input_text", "text": "b"}]},
      {"type": "web_search_call", "id": "ws_1", "status": "completed"},
      {"role": "assistant", "content": "done"}],
    "tools": [{"type": "function", "name": "exec", "description": "d", "strict": false, "parameters": {"type": "object"}},
              {"type": "web_search", "external_web_access": true},
              {"type": "namespace", "name": "n", "tools": []}, {"type": "custom", "name": "patch"}]})",
            {.conversation = nothing().conversation, .item = nothing().item, .open = [](std::string_view sealed) {
               return std::optional<std::string>(sealed == "SEALED" ? "look first" : "?");
             }});
  ASSERT_TRUE(call.ok()) << call.error().message;
  EXPECT_TRUE(call->stream);
  EXPECT_FALSE(call->store);
  EXPECT_TRUE(call->seal_reasoning);
  EXPECT_EQ(call->request.thinking, false);
  EXPECT_FALSE(call->request.parallel_tool_calls);
  const auto& messages = call->request.conversation.messages;
  ASSERT_EQ(messages.size(), 7u);
  EXPECT_EQ(messages[0].content, "be brief");
  EXPECT_EQ(messages[1].role, text::Role::kSystem);
  EXPECT_EQ(messages[2].content, "list files");
  EXPECT_EQ(messages[3].role, text::Role::kAssistant);
  EXPECT_EQ(messages[3].reasoning, "look first");
  EXPECT_EQ(messages[3].content, "I look.");
  ASSERT_EQ(messages[3].tool_calls.size(), 2u);
  EXPECT_EQ(messages[3].tool_calls[0].id, "functions.exec:0");
  EXPECT_EQ(messages[3].tool_calls[0].arguments, R"({"cmd":"ls"})");
  EXPECT_EQ(messages[4].tool_call_id, "functions.exec:0");
  EXPECT_EQ(messages[5].content, "b");
  EXPECT_EQ(messages[6].content, "done");
  ASSERT_EQ(call->request.conversation.tools.size(), 1u);
  EXPECT_EQ(json::dump(call->request.conversation.tools[0].declaration),
            R"({"type":"function","function":{"name":"exec","description":"d","parameters":{"type":"object"},)"
            R"("strict":false}})");
}

TEST(Responses, ReadsEverySetting) {
  const auto call =
      parse(with(R"("temperature":0.5,"top_p":0.9,"max_output_tokens":7,"top_logprobs":2,"truncation":"auto",
      "metadata":{"a":"b"},"user":"u","service_tier":"flex","stream_options":{"include_obfuscation":false},
      "text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"},"strict":true},"verbosity":"low"},
      "tools":[{"type":"function","name":"f","parameters":null},{"type":"function","name":"g"}],
      "tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"g"}]})"));
  ASSERT_TRUE(call.ok()) << call.error().message;
  const llm::ChatRequest& request = call->request;
  EXPECT_TRUE(call->store);
  EXPECT_TRUE(call->truncate);
  EXPECT_EQ(request.limits.max_tokens, 7);
  EXPECT_TRUE(request.limits.logprobs);
  EXPECT_EQ(request.limits.top_logprobs, 2);
  EXPECT_EQ(request.response_format.kind, llm::AnswerFormat::kJsonSchema);
  EXPECT_EQ(request.response_format.name, "n");
  EXPECT_TRUE(request.response_format.strict);
  EXPECT_EQ(request.tool_choice, llm::ToolChoice::kRequired);
  EXPECT_EQ(request.conversation.tools.size(), 2u);
  EXPECT_EQ(request.allowed_tools, std::vector<std::string>{"g"});
  const auto named =
      parse(with(R"("tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"function","name":"f"})"));
  EXPECT_EQ(named->request.tool_choice, llm::ToolChoice::kNamed);
  EXPECT_EQ(named->request.tool_choice_name, "f");
}

TEST(Responses, ReasoningWithoutItsSealIsReadFromItsContent) {
  const auto call = parse(item(R"({"type":"reasoning","id":"r","summary":[],"encrypted_content":"foreign",
      "content":[{"type":"reasoning_text","text":"plain"}]},{"type":"function_call","call_id":"c","name":"f","arguments":""})"));
  ASSERT_TRUE(call.ok()) << call.error().message;
  EXPECT_EQ(call->request.conversation.messages.back().reasoning, "plain");
  EXPECT_EQ(call->unreadable_reasoning, 0);
  const auto lost = parse(item(R"({"type":"reasoning","id":"r","summary":[],"encrypted_content":"foreign"})"));
  EXPECT_EQ(lost->unreadable_reasoning, 1);
  EXPECT_EQ(lost->request.conversation.messages.size(), 1u);
}

TEST(Responses, GoesOnFromWhatIsRemembered) {
  Remembered remembered = nothing();
  remembered.conversation = [](const std::string& id) -> Result<json::Array> {
    if (id != "resp_1") return nothing().conversation(id);
    return json::parse(R"([{"type":"message","role":"user","content":"a"},
                           {"type":"function_call","call_id":"c","name":"f","arguments":"{}"}])")
        ->as_array();
  };
  remembered.item = [](const std::string& id) -> Result<json::Value> {
    if (id != "msg_x") return nothing().item(id);
    return *json::parse(R"({"type":"message","id":"msg_x","role":"user","content":"kept"})");
  };
  const auto call = parse(R"({"previous_response_id":"resp_1","input":[
      {"type":"function_call_output","call_id":"c","output":"1"},{"id":"msg_x"},{"type":"item_reference","id":"msg_x"}]})",
                          remembered);
  ASSERT_TRUE(call.ok()) << call.error().message;
  ASSERT_EQ(call->request.conversation.messages.size(), 5u);
  EXPECT_EQ(call->request.conversation.messages[4].content, "kept");
  EXPECT_EQ(call->previous_response_id, "resp_1");
  EXPECT_EQ(call->input.size(), 3u);
  const auto lost = parse(R"({"previous_response_id":"resp_2","input":"x"})", remembered);
  ASSERT_FALSE(lost.ok());
  EXPECT_EQ(lost.error().code, Errc::kNotFound);
  EXPECT_NE(openai_error_response(lost.error()).body.find(R"("code":"previous_response_not_found")"),
            std::string::npos);
}

TEST(Responses, PicturesOfToolsAndOfBeforeAreNoted) {
  const auto call = parse(R"({"input":[
      {"role":"user","content":[{"type":"input_text","text":"look: "},{"type":"input_image","image_url":"http://x/"}]},
      {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},
      {"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"data:"},
                                                             {"type":"input_file","file_data":"x"}]}]})");
  ASSERT_TRUE(call.ok()) << call.error().message;
  const auto& messages = call->request.conversation.messages;
  EXPECT_EQ(messages[0].content, "look: [image omitted: this model reads text only]");
  EXPECT_EQ(messages[2].content,
            "[image omitted: this model reads text only][file omitted: this model reads text only]");
}

struct Bad {
  std::string body;
  const char* field;
};

TEST(Responses, NamesTheOffendingField) {
  const Bad cases[] = {
      {"{}", "input"},
      {R"({"input":5})", "input"},
      {R"({"input":[]})", "input"},
      {R"({"input":[5]})", "input[0]"},
      {item("[]"), "input[1]"},
      {item(R"({"type":5})"), "input[1].type"},
      {item(R"({"type":"compaction","encrypted_content":"x"})"), "input[1].type"},
      {item(R"({"type":"computer_call_output"})"), "input[1].type"},
      {item(R"({"type":"message","role":"king","content":"x"})"), "input[1].role"},
      {item(R"({"type":"message","role":"tool","content":"x"})"), "input[1].role"},
      {item(R"({"type":"message","content":"x"})"), "input[1].role"},
      {item(R"({"role":"user"})"), "input[1].content"},
      {item(R"({"role":"user","content":[{"type":"input_image","image_url":"http://x/"}]})"),
       "input[1].content[0].type"},
      {item(R"({"role":"user","content":[{"type":"input_text"}]})"), "input[1].content[0].text"},
      {item(R"({"type":"function_call","name":"f","arguments":"{}"})"), "input[1].call_id"},
      {item(R"({"type":"function_call","call_id":"c","arguments":"{}"})"), "input[1].name"},
      {item(R"({"type":"function_call","call_id":"c","name":"f","arguments":{}})"), "input[1].arguments"},
      {item(R"({"type":"function_call_output","call_id":"nope","output":"x"})"), "input[1].call_id"},
      {item(R"({"type":"function_call_output","output":"x"})"), "input[1].call_id"},
      {item(R"({"type":"item_reference","id":"msg_9"})"), "input[1].id"},
      {item(R"({"type":"item_reference"})"), "input[1].id"},
      {item(R"({"type":"reasoning","encrypted_content":7})"), "input[1].encrypted_content"},
      {with(R"("background":true)"), "background"},
      {with(R"("conversation":"conv_1")"), "conversation"},
      {with(R"("prompt":{"id":"p"})"), "prompt"},
      {with(R"("context_management":[{"type":"compaction"}])"), "context_management"},
      {with(R"("max_output_tokens":0)"), "max_output_tokens"},
      {with(R"("max_output_tokens":9223372036854775808)"), "max_output_tokens"},
      {with(R"("temperature":1e308)"), "temperature"},
      {with(R"("n":2)"), "n"},
      {with(R"("stream":"yes")"), "stream"},
      {with(R"("store":1)"), "store"},
      {with(R"("truncation":"some")"), "truncation"},
      {with(R"("include":[1])"), "include[0]"},
      {with(R"("include":"x")"), "include"},
      {with(R"("reasoning":{"effort":"odd"})"), "reasoning.effort"},
      {with(R"("reasoning":{"summary":"odd"})"), "reasoning.summary"},
      {with(R"("reasoning":"high")"), "reasoning"},
      {with(R"("text":{"format":{"type":"xml"}})"), "text.format.type"},
      {with(R"("text":{"format":{"type":"json_schema","schema":{}}})"), "text.format.name"},
      {with(R"("text":{"format":{"type":"json_schema","name":"n"}})"), "text.format.schema"},
      {with(R"("text":{"format":{"type":"json_schema","name":"n","schema":[]}})"), "text.format.schema"},
      {with(R"("text":{"format":{}})"), "text.format.type"},
      {with(R"("metadata":{"a":1})"), "metadata"},
      {with(R"("metadata":{"a":")" + std::string(513, 'x') + "\"}"), "metadata"},
      {with(R"("user":")" + std::string(1 << 20, 'x') + "\""), "user"},
      {with(R"("tools":[{"name":"f"}])"), "tools[0].type"},
      {with(R"("tools":[{"type":"function"}])"), "tools[0].name"},
      {with(R"("tools":[{"type":"function","name":"a b"}])"), "tools[0].name"},
      {with(R"("tools":[{"type":"function","name":"f","parameters":"x"}])"), "tools[0].parameters"},
      {with(R"("tools":[{"type":"function","name":"f"},{"type":"function","name":"f"}])"), "tools[1].name"},
      {with(R"("tool_choice":"required")"), "tool_choice"},
      {with(R"("tools":[{"type":"web_search"}],"tool_choice":"required")"), "tool_choice"},
      {with(R"("tool_choice":{"type":"function","name":"f"})"), "tool_choice.name"},
      {with(R"("tool_choice":{"type":"web_search"})"), "tool_choice.type"},
      {with(R"("tool_choice":{"type":"allowed_tools","mode":"auto","tools":[]})"), "tool_choice.tools"},
      {with(R"("top_logprobs":21)"), "top_logprobs"},
      {with(R"("previous_response_id":5)"), "previous_response_id"},
  };
  for (const Bad& bad : cases) {
    const auto call = parse(bad.body);
    ASSERT_FALSE(call.ok()) << bad.body.substr(0, 200);
    EXPECT_EQ(call.error().code, Errc::kInvalidArgument);
    EXPECT_EQ(call.error().field, bad.field) << bad.body.substr(0, 200) << "\n" << call.error().message;
  }
}

TEST(Responses, AReferenceThatRefersToAReferenceEnds) {
  Remembered remembered = nothing();
  remembered.item = [](const std::string&) { return *json::parse(R"({"type":"item_reference","id":"x"})"); };
  const auto call = parse(item(R"({"type":"item_reference","id":"x"})"), remembered);
  ASSERT_FALSE(call.ok());
  EXPECT_EQ(call.error().field, "input[1].type");
}

ResponsesHead test_head(bool stream) {
  json::Object echo{{"tools", json::Array{}}};
  return {.id = "resp_1",
          .model = "m",
          .created_unix_s = 7,
          .echo = echo,
          .stream = stream,
          .seal = nullptr,
          .now_unix_s = [] { return std::int64_t{9}; },
          .on_complete = nullptr};
}

std::string answer(ResponsesHead head, const std::vector<llm::Event>& events) {
  const auto writer = make_responses_writer(std::move(head));
  std::string out;
  for (const llm::Event& event : events) writer->event(event, out);
  writer->end(out);
  return out;
}

std::vector<llm::Event> all_kinds(llm::Finish finish = llm::Finish::kToolCalls) {
  return {{0, llm::PrefillProgress{1, 2}},
          {0, llm::ReasoningDelta{"h"}},
          {0, llm::ReasoningDelta{"m"}},
          {0, llm::ContentDelta{"ok"}},
          {0, llm::ToolCallBegin{0, "functions.f:0", "f"}},
          {0, llm::ToolCallArguments{0, "{\"a\""}},
          {0, llm::ToolCallArguments{0, ":1}"}},
          {0, llm::ToolCallEnd{0}},
          {0, llm::ToolCallBegin{1, "functions.g:1", "g"}},
          {0, llm::ToolCallArguments{1, "{}"}},
          {0, llm::ToolCallEnd{1}},
          {0, llm::Finished{finish, {}, {10, 4, 6, 2}, {}}}};
}

const std::string kOutput =
    R"([{"id":"rs_1_0","type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":"hm"}],)"
    R"("encrypted_content":null,"status":"completed"},{"id":"msg_1_1","type":"message","role":"assistant",)"
    R"("content":[{"type":"output_text","text":"ok","annotations":[],"logprobs":[]}],"status":"completed"},)"
    R"({"id":"fc_1_2","type":"function_call","call_id":"functions.f:0","name":"f","arguments":"{\"a\":1}",)"
    R"("status":"completed"},{"id":"fc_1_3","type":"function_call","call_id":"functions.g:1","name":"g",)"
    R"("arguments":"{}","status":"completed"}])";
const std::string kUsage = R"({"input_tokens":10,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":0},)"
                           R"("output_tokens":6,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":16})";

TEST(Responses, WritesOneBody) {
  EXPECT_EQ(answer(test_head(false), all_kinds()),
            R"({"id":"resp_1","object":"response","created_at":7,"status":"completed","background":false,)"
            R"("completed_at":9,"error":null,"incomplete_details":null,"model":"m","output":)" +
                kOutput + R"(,"usage":)" + kUsage + R"(,"tools":[]})");
}

// "TYPE rest" for each event of a stream, and checks what all of them must have.
std::vector<json::Value> events_of(const std::string& stream) {
  std::vector<json::Value> out;
  std::string_view rest = stream;
  while (!rest.empty()) {
    const std::size_t end = rest.find("\n\n");
    const std::string_view one = rest.substr(0, end);
    rest.remove_prefix(end + 2);
    const std::size_t line = one.find('\n');
    const auto event = json::parse(one.substr(line + 7));
    EXPECT_TRUE(event.ok()) << one;
    EXPECT_EQ(one.substr(0, line), "event: " + event->find("type")->as_string());
    EXPECT_EQ(event->find("sequence_number")->as_int(), static_cast<std::int64_t>(out.size()));
    out.push_back(*event);
  }
  return out;
}

TEST(Responses, WritesTheEventsInOrder) {
  const std::string stream = answer(test_head(true), all_kinds());
  std::string types;
  for (const json::Value& event : events_of(stream)) types += event.find("type")->as_string().substr(9) + "\n";
  EXPECT_EQ(types,
            "created\nin_progress\n"
            "output_item.added\ncontent_part.added\nreasoning_text.delta\nreasoning_text.delta\nreasoning_text.done\n"
            "content_part.done\noutput_item.done\n"
            "output_item.added\ncontent_part.added\noutput_text.delta\noutput_text.done\ncontent_part.done\n"
            "output_item.done\n"
            "output_item.added\nfunction_call_arguments.delta\nfunction_call_arguments.delta\n"
            "function_call_arguments.done\noutput_item.done\n"
            "output_item.added\nfunction_call_arguments.delta\nfunction_call_arguments.done\noutput_item.done\n"
            "completed\n");
  const auto events = events_of(stream);
  EXPECT_EQ(json::dump(*events.back().find("response")->find("output")), kOutput);
  EXPECT_EQ(json::dump(*events.back().find("response")->find("usage")), kUsage);
  EXPECT_EQ(json::dump(events[4]), R"({"type":"response.reasoning_text.delta","sequence_number":4,"item_id":"rs_1_0",)"
                                   R"("output_index":0,"content_index":0,"delta":"h"})");
  EXPECT_EQ(json::dump(events[9]),
            R"({"type":"response.output_item.added","sequence_number":9,"output_index":1,"item":{"id":"msg_1_1",)"
            R"("type":"message","role":"assistant","content":[],"status":"in_progress"}})");
  EXPECT_EQ(json::dump(events[11]), R"({"type":"response.output_text.delta","sequence_number":11,"item_id":"msg_1_1",)"
                                    R"("output_index":1,"content_index":0,"delta":"ok","logprobs":[]})");
  EXPECT_EQ(json::dump(events[18]),
            R"({"type":"response.function_call_arguments.done","sequence_number":18,"item_id":"fc_1_2",)"
            R"("output_index":2,"name":"f","arguments":"{\"a\":1}"})");
  EXPECT_EQ(events[0].find("response")->find("status")->as_string(), "in_progress");
  EXPECT_EQ(events[0].find("response")->find("usage"), nullptr);
}

TEST(Responses, WhatWasCutIsIncompleteAndSaysWhy) {
  for (const auto& [finish, why] :
       {std::pair(llm::Finish::kLength, "max_output_tokens"), std::pair(llm::Finish::kRepetition, "repetition")}) {
    const std::vector<llm::Event> cut{{0, llm::ContentDelta{"half"}}, {0, llm::Finished{finish, {}, {1, 0, 1, 0}, {}}}};
    const auto events = events_of(answer(test_head(true), cut));
    EXPECT_EQ(events.back().find("type")->as_string(), "response.incomplete");
    const json::Value& response = *events.back().find("response");
    EXPECT_EQ(response.find("status")->as_string(), "incomplete");
    EXPECT_EQ(response.find("incomplete_details")->find("reason")->as_string(), why);
    EXPECT_EQ(response.find("output")->as_array()[0].find("status")->as_string(), "incomplete");
    EXPECT_TRUE(response.find("completed_at")->is_null());
    EXPECT_EQ(json::dump(*json::parse(answer(test_head(false), cut))), json::dump(response));
  }
}

TEST(Responses, AnAnswerOfNothingIsAnEmptyMessage) {
  const auto body = json::parse(answer(test_head(false), {{0, llm::Finished{}}}));
  EXPECT_EQ(body->find("output")->as_array()[0].find("content")->as_array()[0].find("text")->as_string(), "");
}

TEST(Responses, SealsReasoningAndTellsWhoStores) {
  ResponsesHead head = test_head(false);
  head.seal = [](std::string_view text) { return "sealed:" + std::string(text); };
  std::string kept;
  std::size_t items = 0;
  head.on_complete = [&](const std::string& response, const json::Array& output) {
    kept = response;
    items = output.size();
  };
  const std::string body = answer(std::move(head), all_kinds());
  EXPECT_NE(body.find(R"("encrypted_content":"sealed:hm")"), std::string::npos);
  EXPECT_EQ(kept, body);
  EXPECT_EQ(items, 4u);
}

TEST(Responses, KeepsLogprobsOfTheAnswersTextOnly) {
  const auto token = [](const char* bytes) {
    return llm::LogprobDelta{{{.bytes = bytes, .token = 1, .logprob = -0.5f, .top = {}}}, false};
  };
  const auto events = events_of(answer(test_head(true), {{0, token("think")},
                                                         {0, llm::ReasoningDelta{"think"}},
                                                         {0, token("say")},
                                                         {0, llm::ContentDelta{"say"}},
                                                         {0, llm::Finished{}}}));
  const auto& content = events.back().find("response")->find("output")->as_array()[1].find("content")->as_array()[0];
  EXPECT_EQ(json::dump(*content.find("logprobs")),
            R"([{"token":"say","logprob":-0.5,"bytes":[115,97,121],"top_logprobs":[]}])");
}

TEST(Responses, AFailureEndsTheStreamWithWhatWasWritten) {
  const auto writer = make_responses_writer(test_head(true));
  std::string out;
  writer->event({0, llm::ContentDelta{"ok"}}, out);
  writer->failed({Errc::kIo, "/secret/path"}, out);
  const auto events = events_of(out);
  EXPECT_EQ(events.back().find("type")->as_string(), "response.failed");
  const json::Value& response = *events.back().find("response");
  EXPECT_EQ(response.find("status")->as_string(), "failed");
  EXPECT_EQ(response.find("error")->find("code")->as_string(), "server_error");
  EXPECT_EQ(response.find("output")->as_array().size(), 1u);
  EXPECT_EQ(out.find("secret"), std::string::npos);
}

TEST(Responses, SilenceBeforeTheFirstItemIsProgress) {
  const auto writer = make_responses_writer(test_head(true));
  std::string out;
  writer->keep_alive(out);
  writer->keep_alive(out);
  const auto events = events_of(out);
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[0].find("type")->as_string(), "response.created");
  EXPECT_EQ(events[3].find("type")->as_string(), "response.in_progress");
  out.clear();
  writer->event({0, llm::ContentDelta{"x"}}, out);
  out.clear();
  writer->keep_alive(out);
  EXPECT_EQ(out, ": keep-alive\n\n");
}

TEST(Responses, AnItemsIdNamesItsResponse) {
  EXPECT_EQ(response_of_item("msg_0a1b_2"), "resp_0a1b");
  EXPECT_EQ(response_of_item("item_0a1b_in12"), "resp_0a1b");
  for (const char* other : {"", "_", "msg", "msg_1", "x_"}) EXPECT_EQ(response_of_item(other), "");
}

}  // namespace
}  // namespace baltoro::server
