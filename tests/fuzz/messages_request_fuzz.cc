// SPDX-License-Identifier: Apache-2.0
// Any bytes as the body of a Messages request: an error that can be sent, or a request within every limit. What the
// assistant says in a request that parses is also played back through both writers, and what they write is read again.
#include <cstdint>
#include <string_view>

#include "baltoro/base/check.h"
#include "baltoro/base/utf8.h"
#include "baltoro/server/anthropic_errors.h"
#include "baltoro/server/anthropic_messages.h"

namespace {

using namespace baltoro;
using namespace baltoro::server;

const ThinkingSigner& signer() {
  static const ThinkingSigner kSigner("a key for fuzzing");
  return kSigner;
}

Result<MessagesCall> parse(const json::Value& body, const ApiLimits& limits, bool counting) {
  return parse_messages(body, {.limits = limits, .signer = signer(), .family = "k2-instruct", .counting = counting});
}

void check_error(const Error& error) {
  BALTORO_CHECK(!error.message.empty() && error.message.size() < 2000, "an error says something short");
  const Response response = anthropic_error_response(error, "req-1");
  BALTORO_CHECK(response.status >= 400 && response.status < 500, "a bad request is the client's fault");
  BALTORO_CHECK(json::parse(response.body).ok(), "an error is JSON");
}

void check_call(const MessagesCall& call, const ApiLimits& limits) {
  const llm::ChatRequest& request = call.request;
  BALTORO_CHECK(request.limits.n == 1, "one answer");
  BALTORO_CHECK(!request.limits.max_tokens || *request.limits.max_tokens >= 1, "max_tokens in its range");
  BALTORO_CHECK(request.limits.stop.size() <= limits.max_stops, "stops in their limit");
  BALTORO_CHECK(request.conversation.tools.size() <= limits.max_tools, "tools in their limit");
  const auto temperature = request.sampling.temperature.value_or(1);
  BALTORO_CHECK(temperature >= 0 && temperature <= 1, "temperature in its range");
  std::size_t open = 0;
  for (const text::Message& message : request.conversation.messages) {
    BALTORO_CHECK(utf8_valid(message.content) && utf8_valid(message.reasoning), "texts are UTF-8");
    open += message.tool_calls.size();
    if (message.role != text::Role::kTool) continue;
    BALTORO_CHECK(message.tool_call_id && message.name && open > 0, "a result has its call");
    --open;
  }
}

// Every event is a name and JSON of that type.
void check_stream(std::string_view out) {
  while (!out.empty()) {
    BALTORO_CHECK(out.starts_with("event: "), "an event line");
    const std::size_t line = out.find("\ndata: "), end = out.find("\n\n");
    BALTORO_CHECK(line != std::string_view::npos && end != std::string_view::npos && line < end, "an event ends");
    const auto body = json::parse(out.substr(line + 7, end - line - 7));
    BALTORO_CHECK(body.ok() && body->find("type")->as_string() == out.substr(7, line - 7), "an event is JSON");
    out.remove_prefix(end + 2);
  }
}

// An answer of ours is a history that this server takes.
void check_read_again(std::string_view answer, const ApiLimits& limits) {
  const auto message = json::parse(answer);
  BALTORO_CHECK(message.ok(), "the answer is JSON");
  json::Value body;
  body.set("model", "m");
  json::Array results;
  for (const json::Value& block : message->find("content")->as_array()) {
    if (block.find("type")->as_string() != "tool_use") continue;
    results.push_back(json::Object{{"type", "tool_result"}, {"tool_use_id", *block.find("id")}});
  }
  results.push_back(json::Object{{"type", "text"}, {"text", "go on"}});
  const json::Object said{{"role", "assistant"}, {"content", *message->find("content")}};
  body.set("messages", json::Array{said, json::Object{{"role", "user"}, {"content", std::move(results)}}});
  const auto again = parse(body, limits, true);
  if (!again.ok()) BALTORO_CHECK(again.error().field.ends_with(".name"), "what we write, we read");
}

void play_back(const llm::ChatRequest& request, const ApiLimits& limits) {
  const MessageHead head{.id = "msg_0a",
                         .call_id = "0a",
                         .model = "m",
                         .show_thinking = request.parallel_tool_calls,
                         .max_tokens = 10,
                         .request_id = "req-0a",
                         .signer = &signer()};
  const auto whole = make_message_writer(head), stream = make_message_stream_writer(head);
  std::string body, events;
  const auto play = [&](const llm::Event& event) {
    whole->event(event, body);
    stream->event(event, events);
  };
  std::int32_t index = 0;
  for (const text::Message& message : request.conversation.messages) {
    if (!message.reasoning.empty()) play({0, llm::ReasoningDelta{message.reasoning}});
    if (!message.content.empty()) play({0, llm::ContentDelta{message.content}});
    for (const text::ToolCall& call : message.tool_calls) {
      play({0, llm::ToolCallBegin{index, call.id, call.name}});
      play({0, llm::ToolCallArguments{index, call.arguments}});
      play({0, llm::ToolCallEnd{index++}});
    }
  }
  play({0, llm::Finished{}});
  whole->end(body);
  stream->end(events);
  check_stream(events);
  check_read_again(body, limits);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ApiLimits limits;
  const auto body = parse_body({reinterpret_cast<const char*>(data), size}, limits);
  if (!body.ok()) {
    check_error(body.error());
    return 0;
  }
  for (const bool counting : {false, true}) {
    const auto call = parse(*body, limits, counting);
    if (!call.ok()) {
      check_error(call.error());
      continue;
    }
    check_call(*call, limits);
    play_back(call->request, limits);
  }
  return 0;
}
