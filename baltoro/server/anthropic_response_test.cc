// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "baltoro/server/anthropic_errors.h"
#include "baltoro/server/anthropic_messages.h"
#include "baltoro/server/anthropic_models.h"

namespace baltoro::server {
namespace {

const ThinkingSigner& signer() {
  static const ThinkingSigner kSigner(SealKey(SealKey::Bytes{7}));
  return kSigner;
}

MessageHead head() {
  return {.id = "msg_0a", .call_id = "0a", .model = "m", .max_tokens = 50, .request_id = "req-0a", .signer = &signer()};
}

llm::Finished finished(llm::Finish reason, std::optional<std::string> stop = {}) {
  return {.reason = reason,
          .stop_string = std::move(stop),
          .usage = {.tokens_prompt = 20, .tokens_cached = 16, .tokens_output = 7, .tokens_reasoning = 3},
          .error = {}};
}

using Bodies = std::vector<decltype(llm::Event::body)>;

const Bodies& everything() {
  static const Bodies kBodies = {llm::PrefillProgress{20, 20, 16},
                                 llm::ReasoningDelta{"let "},
                                 llm::ReasoningDelta{"me"},
                                 llm::ContentDelta{"I \"look\"."},
                                 llm::ToolCallBegin{0, "functions.get:4", "get"},
                                 llm::ToolCallArguments{0, "{\"key\":"},
                                 llm::ToolCallArguments{0, "\"a\"}"},
                                 llm::ToolCallEnd{0},
                                 llm::ToolCallBegin{1, "functions.stop:5", "stop"},
                                 llm::ToolCallEnd{1},
                                 finished(llm::Finish::kToolCalls)};
  return kBodies;
}

std::string write(std::unique_ptr<AnswerWriter> writer, const Bodies& bodies) {
  std::string out;
  for (const auto& body : bodies) writer->event({.choice = 0, .body = body}, out);
  writer->end(out);
  return out;
}
std::string whole(const Bodies& bodies, MessageHead with = head()) {
  return write(make_message_writer(std::move(with)), bodies);
}
std::string stream(const Bodies& bodies, MessageHead with = head()) {
  return write(make_message_stream_writer(std::move(with)), bodies);
}

TEST(AnthropicResponse, WritesAMessage) {
  EXPECT_EQ(whole(everything()),
            R"({"id":"msg_0a","type":"message","role":"assistant","model":"m","content":[)"
            R"({"type":"thinking","thinking":"let me","signature":")" +
                signer().sign("let me") +
                R"("},{"type":"text","text":"I \"look\"."},)"
                R"({"type":"tool_use","id":"toolu_0a_4","name":"get","input":{"key":"a"},"caller":{"type":"direct"}},)"
                R"({"type":"tool_use","id":"toolu_0a_5","name":"stop","input":{},"caller":{"type":"direct"}}],)"
                R"("stop_reason":"tool_use","stop_sequence":null,"stop_details":null,"container":null,)"
                R"("usage":{"input_tokens":4,"cache_creation_input_tokens":0,"cache_read_input_tokens":16,)"
                R"("output_tokens":7,"output_tokens_details":{"thinking_tokens":3},"server_tool_use":null,)"
                R"("cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},)"
                R"("service_tier":"standard","inference_geo":null}})");
}

TEST(AnthropicResponse, WritesAStream) {
  const auto event = [](const std::string& type, const std::string& rest) {
    return "event: " + type + "\ndata: {\"type\":\"" + type + "\"" + rest + "}\n\n";
  };
  const auto delta = [&](int index, const std::string& body) {
    return event("content_block_delta", ",\"index\":" + std::to_string(index) + ",\"delta\":{" + body + "}");
  };
  const auto begin = [&](int index, const std::string& body) {
    return event("content_block_start", ",\"index\":" + std::to_string(index) + ",\"content_block\":{" + body + "}");
  };
  const auto stop = [&](int index) { return event("content_block_stop", ",\"index\":" + std::to_string(index)); };
  EXPECT_EQ(
      stream(everything()),
      event(
          "message_start",
          R"(,"message":{"id":"msg_0a","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,)"
          R"("stop_sequence":null,"stop_details":null,"container":null,"usage":{"input_tokens":4,)"
          R"("cache_creation_input_tokens":0,"cache_read_input_tokens":16,"output_tokens":0,)"
          R"("output_tokens_details":{"thinking_tokens":0},"server_tool_use":null,)"
          R"("cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},)"
          R"("service_tier":"standard","inference_geo":null}})") +
          event("ping", "") + begin(0, R"("type":"thinking","thinking":"","signature":"")") +
          delta(0, R"("type":"thinking_delta","thinking":"let ")") +
          delta(0, R"("type":"thinking_delta","thinking":"me")") +
          delta(0, R"("type":"signature_delta","signature":")" + signer().sign("let me") + "\"") + stop(0) +
          begin(1, R"("type":"text","text":"")") + delta(1, R"("type":"text_delta","text":"I \"look\".")") + stop(1) +
          begin(2, R"("type":"tool_use","id":"toolu_0a_4","name":"get","input":{},"caller":{"type":"direct"})") +
          delta(2, R"("type":"input_json_delta","partial_json":"")") +
          delta(2, R"("type":"input_json_delta","partial_json":"{\"key\":")") +
          delta(2, R"("type":"input_json_delta","partial_json":"\"a\"}")") + stop(2) +
          begin(3, R"("type":"tool_use","id":"toolu_0a_5","name":"stop","input":{},"caller":{"type":"direct"})") +
          delta(3, R"("type":"input_json_delta","partial_json":"")") + stop(3) +
          event("message_delta",
                R"(,"delta":{"stop_reason":"tool_use","stop_sequence":null,"stop_details":null,"container":null},)"
                R"("usage":{"input_tokens":4,"cache_creation_input_tokens":0,"cache_read_input_tokens":16,)"
                R"("output_tokens":7,"output_tokens_details":{"thinking_tokens":3},"server_tool_use":null})") +
          event("message_stop", ""));
}

TEST(AnthropicResponse, ThoughtsThatAreNotShownTravelInTheirSignature) {
  MessageHead hidden = head();
  hidden.show_thinking = false;
  const Bodies bodies = {llm::ReasoningDelta{"secret"}, llm::ContentDelta{"a"}, finished(llm::Finish::kStop)};
  for (const std::string& out : {whole(bodies, hidden), stream(bodies, hidden)}) {
    EXPECT_EQ(out.find("secret"), std::string::npos);
    EXPECT_EQ(out.find("thinking_delta"), std::string::npos);
    EXPECT_NE(out.find("\"thinking\":\"\""), std::string::npos);
    const std::size_t at = out.find("\"signature\":\"QlR") + 13;  // the mark's first digits
    ASSERT_LT(at, out.size());
    EXPECT_EQ(signer().read(out.substr(at, out.find('"', at) - at), "").thinking, "secret");
  }
}

std::string reason(const llm::Finished& end) {
  const auto body = json::parse(whole({end}));
  const std::string out = body->find("stop_reason")->as_string();
  EXPECT_NE(stream({end}).find("\"stop_reason\":\"" + out + "\""), std::string::npos);
  return out;
}

TEST(AnthropicResponse, SaysWhyItStopped) {
  EXPECT_EQ(reason(finished(llm::Finish::kStop)), "end_turn");
  EXPECT_EQ(reason(finished(llm::Finish::kToolCalls)), "tool_use");
  EXPECT_EQ(reason(finished(llm::Finish::kStop, "END")), "stop_sequence");
  EXPECT_NE(whole({finished(llm::Finish::kStop, "END")}).find("\"stop_sequence\":\"END\""), std::string::npos);
  EXPECT_EQ(reason(finished(llm::Finish::kLength)), "model_context_window_exceeded");  // 7 of 50
  llm::Finished full = finished(llm::Finish::kLength);
  full.usage.tokens_output = 50;
  EXPECT_EQ(reason(full), "max_tokens");
  EXPECT_EQ(reason(finished(llm::Finish::kRepetition)), "end_turn");
  EXPECT_NE(whole({finished(llm::Finish::kRepetition)}).find("\"type\":\"repetition\""), std::string::npos);
}

TEST(AnthropicResponse, AWarmedCacheAnswersNothing) {
  MessageHead warm = head();
  warm.only_cache = true;
  const std::string out = whole({llm::ContentDelta{"x"}, finished(llm::Finish::kLength)}, warm);
  EXPECT_NE(out.find("\"content\":[]"), std::string::npos);
  EXPECT_NE(out.find("\"stop_reason\":\"max_tokens\""), std::string::npos);
  EXPECT_NE(out.find("\"output_tokens\":0"), std::string::npos);
}

TEST(AnthropicResponse, ArgumentsThatAreNoObjectAreShownAsTheyAre) {
  const std::string out = whole({llm::ToolCallBegin{0, "functions.f:0", "f"}, llm::ToolCallArguments{0, "{\"a\": "},
                                 llm::ToolCallEnd{0}, finished(llm::Finish::kLength)});
  EXPECT_NE(out.find(R"("input":{"INVALID_JSON":"{\"a\": "})"), std::string::npos);
}

TEST(AnthropicResponse, IdsOfCallsFitAnthropicsClientsAndAreUnique) {
  const std::string out =
      whole({llm::ToolCallBegin{0, "functions.f:0", "f"}, llm::ToolCallEnd{0},
             llm::ToolCallBegin{1, "functions.g:0", "g"}, llm::ToolCallEnd{1}, llm::ToolCallBegin{2, "call:x/1", "h"},
             llm::ToolCallEnd{2}, finished(llm::Finish::kToolCalls)});
  EXPECT_NE(out.find("\"toolu_0a_0\""), std::string::npos);
  EXPECT_NE(out.find("\"toolu_0a_0_1\""), std::string::npos);
  EXPECT_NE(out.find("\"toolu_0a_n2\""), std::string::npos);
}

TEST(AnthropicResponse, PingsOnlyOnceItHasBegun) {
  const auto writer = make_message_stream_writer(head());
  std::string out;
  writer->keep_alive(out);
  EXPECT_EQ(out, ": keep-alive\n\n");
  out.clear();
  writer->event({0, llm::PrefillProgress{4, 20}}, out);
  EXPECT_EQ(out, "");
  writer->keep_alive(out);
  EXPECT_TRUE(out.starts_with("event: message_start\n")) << out;
  EXPECT_TRUE(out.ends_with("event: ping\ndata: {\"type\":\"ping\"}\n\n")) << out;
  out.clear();
  writer->event({0, llm::ContentDelta{"x"}}, out);
  EXPECT_TRUE(out.starts_with("event: content_block_start\n")) << out;
}

TEST(AnthropicResponse, SaysThatNothingWasEdited) {
  MessageHead edited = head();
  edited.context_management = true;
  for (const std::string& out :
       {whole({finished(llm::Finish::kStop)}, edited), stream({finished(llm::Finish::kStop)}, edited)}) {
    EXPECT_NE(out.find(R"("context_management":{"applied_edits":[]})"), std::string::npos);
  }
}

TEST(AnthropicErrors, HaveTheirTypesAndStatuses) {
  struct Row {
    Errc code;
    int status;
    const char* type;
  };
  const Row rows[] = {{Errc::kInvalidArgument, 400, "invalid_request_error"},
                      {Errc::kUnsupported, 400, "invalid_request_error"},
                      {Errc::kUnauthenticated, 401, "authentication_error"},
                      {Errc::kPermissionDenied, 403, "permission_error"},
                      {Errc::kNotFound, 404, "not_found_error"},
                      {Errc::kTooLarge, 413, "request_too_large"},
                      {Errc::kRateLimited, 429, "rate_limit_error"},
                      {Errc::kQuotaExceeded, 429, "rate_limit_error"},
                      {Errc::kUnavailable, 503, "api_error"},
                      {Errc::kTimeout, 504, "timeout_error"},
                      {Errc::kOverloaded, 529, "overloaded_error"},
                      {Errc::kResourceExhausted, 529, "overloaded_error"},
                      {Errc::kInternal, 500, "api_error"}};
  for (const Row& row : rows) {
    const Response response = anthropic_error_response({row.code, "what happened"}, "req-1");
    EXPECT_EQ(response.status, row.status);
    const auto body = json::parse(response.body);
    ASSERT_TRUE(body.ok());
    EXPECT_EQ(body->find("type")->as_string(), "error");
    EXPECT_EQ(body->find("error")->find("type")->as_string(), row.type);
    EXPECT_EQ(body->find("request_id")->as_string(), "req-1");
    const bool hidden = row.status == 500;
    EXPECT_EQ(body->find("error")->find("message")->as_string() == "what happened", !hidden);
  }
  const std::string event = anthropic_error_event({Errc::kOverloaded, "busy"}, "req-1");
  EXPECT_EQ(event,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"},"
            "\"request_id\":\"req-1\"}\n\n");
}

TEST(AnthropicModels, AreListedInPages) {
  const llm::ModelInfo model{.id = "m", .family = "k2.5", .max_context_tokens = 4096, .created_unix_s = 1'700'000'000};
  const auto list = anthropic_models(model, "beta=true&limit=20");
  ASSERT_TRUE(list.ok());
  ASSERT_EQ(list->find("data")->as_array().size(), 1u);
  const json::Value& entry = list->find("data")->as_array()[0];
  EXPECT_EQ(entry.find("type")->as_string(), "model");
  EXPECT_EQ(entry.find("created_at")->as_string(), "2023-11-14T22:13:20Z");
  EXPECT_EQ(entry.find("max_input_tokens")->as_int(), 4096);
  EXPECT_EQ(list->find("last_id")->as_string(), "m");
  EXPECT_TRUE(anthropic_models(model, "after_id=m")->find("data")->as_array().empty());
  EXPECT_FALSE(anthropic_models(model, "limit=0").ok());
  EXPECT_FALSE(anthropic_models(model, "limit=99999999999999999999").ok());
}

}  // namespace
}  // namespace baltoro::server
