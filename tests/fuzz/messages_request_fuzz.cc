// SPDX-License-Identifier: Apache-2.0
// Any bytes as the body of a Messages request: an error that can be sent, or a request within every limit. What the
// assistant says in a request that parses is also played back through both writers, and what they write is read again.
#include <cstdint>
#include <string_view>

#include "baltoro/base/check.h"
#include "baltoro/server/anthropic_errors.h"
#include "baltoro/server/anthropic_messages.h"
#include "tests/fuzz/request_checks.h"

namespace {

using namespace baltoro;
using namespace baltoro::server;

const ThinkingSigner& signer() {
  static const ThinkingSigner kSigner(SealKey(SealKey::Bytes{}));
  return kSigner;
}

Result<MessagesCall> parse(const json::Value& body, const ApiLimits& limits, bool counting) {
  return parse_messages(body, {.limits = limits, .signer = signer(), .family = "k2-instruct", .counting = counting});
}

void check_call(const MessagesCall& call, const ApiLimits& limits) {
  const llm::ChatRequest& request = call.request;
  BALTORO_CHECK(request.limits.n == 1, "one answer");
  BALTORO_CHECK(!request.limits.max_tokens || *request.limits.max_tokens >= 1, "max_tokens in its range");
  BALTORO_CHECK(request.limits.stop.size() <= limits.max_stops, "stops in their limit");
  BALTORO_CHECK(request.conversation.tools.size() <= limits.max_tools, "tools in their limit");
  const auto temperature = request.sampling.temperature.value_or(1);
  BALTORO_CHECK(temperature >= 0 && temperature <= 1, "temperature in its range");
  check_texts(request.conversation);
  std::size_t open = 0;
  for (const text::Message& message : request.conversation.messages) {
    open += message.tool_calls.size();
    if (message.role != text::Role::kTool) continue;
    BALTORO_CHECK(message.tool_call_id && message.name && open > 0, "a result has its call");
    --open;
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
  play_conversation(request.conversation, play);
  whole->end(body);
  stream->end(events);
  check_events(events, [](std::string_view name, std::string_view data) {
    const auto event = json::parse(data);
    BALTORO_CHECK(event.ok() && event->find("type")->as_string() == name, "an event is JSON of its type");
  });
  check_read_again(body, limits);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ApiLimits limits;
  const auto body = parse_body(fuzz_text(data, size), limits);
  if (!body.ok()) {
    check_request_error(body.error(), anthropic_error_response(body.error(), "req-1"));
    return 0;
  }
  for (const bool counting : {false, true}) {
    const auto call = parse(*body, limits, counting);
    if (!call.ok()) {
      check_request_error(call.error(), anthropic_error_response(call.error(), "req-1"));
      continue;
    }
    check_call(*call, limits);
    play_back(call->request, limits);
  }
  return 0;
}
