// SPDX-License-Identifier: Apache-2.0
// Any bytes as the body of a Responses request: an error that can be sent, or a request within every limit. What
// parses is stored, named again by a second request, and played back through the writer, whose output must be JSON.
#include <cstdint>
#include <string_view>

#include "baltoro/base/check.h"
#include "baltoro/base/utf8.h"
#include "baltoro/server/field_reader.h"
#include "baltoro/server/openai_errors.h"
#include "baltoro/server/responses_service.h"

namespace {

using namespace baltoro;
using namespace baltoro::server;

void check_error(const Error& error) {
  BALTORO_CHECK(!error.message.empty() && error.message.size() < 2000, "an error says something short");
  const Response response = openai_error_response(error);
  BALTORO_CHECK(response.status >= 400 && response.status < 500, "a bad request is the client's fault");
  BALTORO_CHECK(json::parse(response.body).ok(), "an error is JSON");
}

void check_request(const llm::ChatRequest& request) {
  BALTORO_CHECK(request.limits.n == 1, "one answer");
  BALTORO_CHECK(!request.conversation.messages.empty(), "messages are there");
  for (const text::Message& message : request.conversation.messages) {
    BALTORO_CHECK(utf8_valid(message.content) && utf8_valid(message.reasoning), "texts are UTF-8");
    BALTORO_CHECK(message.tool_calls.empty() || message.role == text::Role::kAssistant, "assistants call");
  }
}

void play_back(const llm::ChatRequest& request, AnswerWriter& writer, bool stream) {
  std::string out;
  std::int32_t index = 0;
  for (const text::Message& message : request.conversation.messages) {
    writer.event({0, llm::ReasoningDelta{message.reasoning}}, out);
    writer.event({0, llm::ContentDelta{message.content}}, out);
    for (const text::ToolCall& call : message.tool_calls) {
      writer.event({0, llm::ToolCallBegin{index, call.id, call.name}}, out);
      writer.event({0, llm::ToolCallArguments{index++, call.arguments}}, out);
    }
  }
  writer.event({0, llm::Finished{}}, out);
  writer.end(out);
  if (!stream) BALTORO_CHECK(json::parse(out).ok(), "the answer is JSON");
  for (std::string_view rest = out; stream && !rest.empty();) {
    const std::size_t data = rest.find("\ndata: "), end = rest.find("\n\n");
    BALTORO_CHECK(rest.starts_with("event: response.") && data < end && end != rest.npos, "an event");
    BALTORO_CHECK(json::parse(rest.substr(data + 7, end - data - 7)).ok(), "an event is JSON");
    rest.remove_prefix(end + 2);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ApiLimits limits;
  const auto body = parse_body({reinterpret_cast<const char*>(data), size}, limits);
  if (!body.ok()) {
    check_error(body.error());
    return 0;
  }
  ResponsesService service({.limits = limits, .store = {}, .seal = Seal(Seal::Key{}), .now_unix_s = [] { return 1; }});
  auto call = service.prepare(*body, "ann", "resp_1", "m");
  if (!call.ok()) {
    check_error(call.error());
    return 0;
  }
  check_request(call->request);
  play_back(call->request, *call->writer, call->stream);
  if (service.store().responses() == 0) return 0;
  BALTORO_CHECK(json::parse(*service.get("ann", "resp_1", "")).ok(), "what is stored is JSON");
  BALTORO_CHECK(json::parse(*service.input_items("ann", "resp_1", "limit=100&order=asc")).ok(), "and what came too");
  BALTORO_CHECK(!service.get("bob", "resp_1", "").ok(), "another's response is not seen");
  const auto next =
      service.prepare(*json::parse(R"({"previous_response_id":"resp_1","input":"on"})"), "ann", "resp_2", "m");
  BALTORO_CHECK(next.ok(), "a stored conversation goes on");
  return 0;
}
