// SPDX-License-Identifier: Apache-2.0
// Any bytes as the body of a chat request: an error that can be sent, or a request within every limit. The text of a
// request that parses is also played back through both writers, whose output must be JSON.
#include <cstdint>
#include <string>
#include <string_view>

#include "baltoro/base/check.h"
#include "baltoro/server/field_reader.h"
#include "baltoro/server/openai_chat.h"
#include "baltoro/server/openai_errors.h"
#include "tests/fuzz/request_checks.h"

namespace {

using namespace baltoro;
using namespace baltoro::server;

void check_limits(const llm::ChatRequest& request, const ApiLimits& limits) {
  BALTORO_CHECK(request.limits.n >= 1 && request.limits.n <= limits.max_choices, "n in its range");
  BALTORO_CHECK(!request.limits.max_tokens || *request.limits.max_tokens >= 1, "max_tokens in its range");
  BALTORO_CHECK(request.limits.stop.size() <= limits.max_stops, "stops in their limit");
  for (const std::string& stop : request.limits.stop) BALTORO_CHECK(!stop.empty(), "no empty stop");
  BALTORO_CHECK(!request.conversation.messages.empty(), "messages are there");
  const auto temperature = request.sampling.temperature.value_or(1);
  BALTORO_CHECK(temperature >= 0 && temperature <= 2, "temperature in its range");
  check_texts(request.conversation);
  for (const text::Tool& tool : request.conversation.tools) {
    const auto again = json::parse(json::dump(tool.declaration));
    BALTORO_CHECK(again.ok() && *again == tool.declaration, "a declaration survives writing");
  }
}

void play_back(const llm::ChatRequest& request) {
  const AnswerHead head{.id = "chatcmpl-1", .model = "m", .created_unix_s = 1};
  const auto whole = make_chat_writer(head), stream = make_chat_stream_writer(head);
  std::string body, events;
  const auto play = [&](const llm::Event& event) {
    whole->event(event, body);
    stream->event(event, events);
    if (const auto* said = std::get_if<llm::ContentDelta>(&event.body)) {
      const llm::Event scored{0,
                              llm::LogprobDelta{{{.bytes = said->text, .token = 1, .logprob = -1, .top = {}}}, false}};
      whole->event(scored, body);
      stream->event(scored, events);
    }
  };
  play_conversation(request.conversation, play);
  whole->end(body);
  stream->end(events);
  BALTORO_CHECK(json::parse(body).ok(), "the answer is JSON");
  check_events(events, [](std::string_view name, std::string_view data) {
    BALTORO_CHECK(name.empty() && (data == "[DONE]" || json::parse(data).ok()), "an event is JSON");
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ApiLimits limits;
  const auto body = parse_body(fuzz_text(data, size), limits);
  if (!body.ok()) {
    check_request_error(body.error(), openai_error_response(body.error()));
    return 0;
  }
  const auto call = parse_chat(*body, limits);
  if (!call.ok()) {
    check_request_error(call.error(), openai_error_response(call.error()));
    return 0;
  }
  check_limits(call->request, limits);
  play_back(call->request);
  return 0;
}
