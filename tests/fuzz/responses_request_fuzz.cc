// SPDX-License-Identifier: Apache-2.0
// Any bytes as the body of a Responses request: an error that can be sent, or a request within every limit. What
// parses is stored, named again by a second request, and played back through the writer, whose output must be JSON.
#include <cstdint>
#include <string_view>

#include "baltoro/base/check.h"
#include "baltoro/server/field_reader.h"
#include "baltoro/server/openai_errors.h"
#include "baltoro/server/responses_service.h"
#include "tests/fuzz/request_checks.h"

namespace {

using namespace baltoro;
using namespace baltoro::server;

void check_request(const llm::ChatRequest& request) {
  BALTORO_CHECK(request.limits.n == 1, "one answer");
  BALTORO_CHECK(!request.conversation.messages.empty(), "messages are there");
  check_texts(request.conversation);
}

void play_back(const llm::ChatRequest& request, AnswerWriter& writer, bool stream) {
  std::string out;
  play_conversation(request.conversation, [&](const llm::Event& event) { writer.event(event, out); });
  writer.end(out);
  if (!stream) BALTORO_CHECK(json::parse(out).ok(), "the answer is JSON");
  if (!stream) return;
  check_events(out, [](std::string_view name, std::string_view data) {
    BALTORO_CHECK(name.starts_with("response.") && json::parse(data).ok(), "an event is JSON");
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
  ResponsesService service(
      {.limits = limits, .store = {}, .seal = Seal(SealKey(SealKey::Bytes{})), .now_unix_s = [] { return 1; }});
  auto call = service.prepare(*body, "ann", "resp_1", "m");
  if (!call.ok()) {
    check_request_error(call.error(), openai_error_response(call.error()));
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
