// SPDX-License-Identifier: Apache-2.0
// The routes of Anthropic's clients on a whole server: raw sockets in front, a scripted backend behind.
#include <gtest/gtest.h>

#include <memory>

#include "baltoro/base/json.h"
#include "baltoro/server/test_server.h"

namespace baltoro::server {
namespace {

// What to answer is the last message: "busy" and "broken" refusals, "fail" an error after words, "wait" nothing for a
// while, "tool" a thought and a call, "whose" the tenant; else its echo.
Result<std::vector<llm::Script>> author(const llm::ChatRequest& request) {
  const std::string& text = request.conversation.messages.back().content;
  llm::Script script;
  if (text == "busy") return Error{Errc::kOverloaded, "the queue is full"};
  if (text == "broken") return Error{Errc::kInternal, "secret internals"};
  if (text == "wait") {
    llm::append(script, llm::script_content("late", 0.5));
  } else if (text == "fail") {
    llm::append(script, llm::script_content("two words"));
    script.push_back({0, llm::Finished{llm::Finish::kError, {}, {}, {Errc::kResourceExhausted, "no memory"}}});
  } else if (text == "progress") {
    llm::Finished end;
    end.reason = llm::Finish::kRepetition;
    script.push_back({0, llm::PrefillProgress{.tokens_done = 300, .tokens_total = 400, .tokens_cached = 300}});
    llm::append(script, llm::script_content("read", 0.05));
    script.push_back({0, end});
  } else if (text == "whose") {
    llm::append(script, llm::script_content("of " + request.cache_scope.tenant));
  } else if (text == "tool") {
    llm::append(script, llm::script_reasoning("let me see"));
    llm::append(script, llm::script_tool_call(0, "functions.f:0", "f", R"({"a":1})"));
  } else {
    llm::append(script, llm::script_content(text));
  }
  return std::vector<llm::Script>{script};
}

class AnthropicApiTest : public ServerTest {
 protected:
  AnthropicApiTest() : ServerTest(author) {}

  struct Answer {
    int status = 0;
    std::string head, body;
    std::string type() const {  // of the error
      const auto parsed = json::parse(body);
      const json::Value* error = parsed.ok() ? parsed->find("error") : nullptr;
      const json::Value* type = error == nullptr ? nullptr : error->find("type");
      return type == nullptr ? "none: " + body : type->as_string();
    }
  };

  Answer exchange(const std::string& bytes, bool cut = false) {
    const auto connection = connect();
    connection->send(bytes);
    if (cut) connection->shutdown_send();
    const std::string text = whole_answer(*connection);
    return {.status = status_of(text), .head = text.substr(0, text.find("\r\n\r\n")), .body = body_of(text)};
  }
  static std::string message_body(const std::string& text, const std::string& members = {}) {
    return chat_body(text, R"(,"model":"scripted","max_tokens":100)" + members);
  }
};

TEST_F(AnthropicApiTest, AnswersOnEveryPathOfAnthropicsClients) {
  start();
  for (const char* path : {"/v1/messages", "/v1/messages?beta=true", "/anthropic/v1/messages"}) {
    const Answer answer = exchange(post(path, message_body("hello")));
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_NE(answer.body.find(R"("content":[{"type":"text","text":"hello"}])"), std::string::npos) << answer.body;
    EXPECT_NE(answer.head.find("\r\nRequest-Id: req-"), std::string::npos) << answer.head;
  }
  for (const char* path : {"/v1/messages/count_tokens", "/anthropic/v1/messages/count_tokens?beta=true"}) {
    EXPECT_EQ(exchange(post(path, R"({"model":"scripted","messages":[{"role":"user","content":"12345"}]})")).body,
              R"({"input_tokens":5})");
  }
}

TEST_F(AnthropicApiTest, StreamsEvents) {
  start();
  const Answer answer = exchange(post("/v1/messages", message_body("tool", R"(,"stream":true)")));
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.head.find("Content-Type: text/event-stream"), std::string::npos);
  std::size_t at = 0;
  for (const char* event :
       {"message_start", "ping", "content_block_start", "thinking_delta", "signature_delta", "content_block_stop",
        "toolu_", "input_json_delta", "content_block_stop", "message_delta", "message_stop"}) {
    at = answer.body.find(event, at);
    ASSERT_NE(at, std::string::npos) << event << "\n" << answer.body;
  }
}

TEST_F(AnthropicApiTest, AStreamBeginsWithWhatIsKnownOfItsPromptAndEndsWithWhy) {
  start();
  const Answer answer = exchange(post("/v1/messages", message_body("progress", R"(,"stream":true)")));
  const std::size_t begun = answer.body.find("message_start"), text = answer.body.find("content_block_start");
  ASSERT_NE(text, std::string::npos) << answer.body;
  const std::string head = answer.body.substr(begun, text - begun);
  EXPECT_NE(head.find(R"("input_tokens":100,"cache_creation_input_tokens":0,"cache_read_input_tokens":300)"),
            std::string::npos)
      << head;
  const std::string end = answer.body.substr(answer.body.find("message_delta"));
  EXPECT_NE(end.find(R"("stop_reason":"end_turn","stop_sequence":null,"stop_details":{"type":"repetition")"),
            std::string::npos)
      << end;
}

// Claude Code asks for Anthropic's models by name.
TEST_F(AnthropicApiTest, TheModelMayHaveOtherNames) {
  ServerOptions options;
  options.api.model_aliases = {"kimi", "claude-*"};
  start(std::move(options));
  const auto ask = [&](const std::string& model) {
    const std::string body = R"({"max_tokens":9,"messages":[{"role":"user","content":"x"}],"model":")" + model + "\"}";
    return exchange(post("/v1/messages", body));
  };
  for (const char* name : {"scripted", "kimi", "claude-sonnet-5", "claude-"}) {
    const Answer answer = ask(name);
    EXPECT_EQ(answer.status, 200) << name;
    EXPECT_NE(answer.body.find(R"("model":"scripted")"), std::string::npos) << answer.body;
  }
  for (const char* name : {"kimi2", "claude", "*", "gpt"}) EXPECT_EQ(ask(name).type(), "not_found_error") << name;
  EXPECT_EQ(exchange(get("/v1/models/claude-sonnet-5")).status, 200);
}

TEST_F(AnthropicApiTest, ListsModelsInTheShapeThatTheClientKnows) {
  start();
  const std::string version = "anthropic-version: 2023-06-01\r\n";
  EXPECT_NE(exchange(get("/v1/models")).body.find(R"("object":"list")"), std::string::npos);
  EXPECT_NE(exchange(get("/v1/models?limit=5", version)).body.find(R"("has_more":false)"), std::string::npos);
  EXPECT_NE(exchange(get("/anthropic/v1/models")).body.find(R"("has_more":false)"), std::string::npos);
  EXPECT_NE(exchange(get("/v1/models/scripted", version)).body.find(R"("display_name":"scripted")"), std::string::npos);
  EXPECT_NE(exchange(get("/anthropic/v1/models/scripted")).body.find(R"("type":"model")"), std::string::npos);
  EXPECT_EQ(exchange(get("/v1/models/other", version)).type(), "not_found_error");
}

TEST_F(AnthropicApiTest, TakesKeysInEitherHeader) {
  ServerOptions options;
  options.api.keys = KeySet::of(plain_keys({"k1"}));
  start(std::move(options));
  const auto status = [&](const std::string& fields) {
    return exchange(post("/v1/messages", message_body("x"), fields)).status;
  };
  EXPECT_EQ(status("x-api-key: k1\r\n"), 200);
  EXPECT_EQ(status("Authorization: Bearer k1\r\n"), 200);
  EXPECT_EQ(status("x-api-key: k2\r\n"), 401);
  EXPECT_EQ(status("x-api-key: k2\r\nAuthorization: Bearer k1\r\n"), 401);
  EXPECT_EQ(status("Authorization: Bearer k\r\n"), 401);
  EXPECT_EQ(status(""), 401);
  EXPECT_EQ(exchange(post("/v1/messages", message_body("x"))).type(), "authentication_error");
  EXPECT_EQ(exchange(post("/v1/messages/count_tokens", message_body("x"))).status, 401);
  EXPECT_EQ(exchange(post("/anthropic/v1/messages", message_body("x"))).status, 401);
  EXPECT_EQ(exchange(get("/v1/models", "x-api-key: k1\r\n")).status, 200);
}

TEST_F(AnthropicApiTest, AKeyIsOneTenantInEitherHeader) {
  ServerOptions options;
  options.api.keys = KeySet::of(plain_keys({"k1", "k2"}));
  start(std::move(options));
  const auto content = [&](const std::string& fields) {
    const Answer answer = exchange(post("/v1/messages", message_body("whose"), fields));
    const auto body = json::parse(answer.body);
    return body.ok() && answer.status == 200 ? json::dump(*body->find("content")) : "failed: " + answer.body;
  };
  EXPECT_EQ(content("x-api-key: k1\r\n"), content("Authorization: Bearer k1\r\n"));
  EXPECT_NE(content("x-api-key: k1\r\n"), content("x-api-key: k2\r\n"));
  EXPECT_EQ(content("x-api-key: k1\r\n").find("failed"), std::string::npos);
}

TEST_F(AnthropicApiTest, FailsInAnthropicsShape) {
  ServerOptions options;
  options.http.parser.max_body_bytes = 2000;
  start(std::move(options));
  const auto fails = [&](const std::string& bytes, int status, const std::string& type, bool cut = false) {
    const Answer answer = exchange(bytes, cut);
    EXPECT_EQ(answer.status, status) << bytes << "\n" << answer.body;
    EXPECT_EQ(answer.type(), type) << bytes;
    const auto body = json::parse(answer.body);
    if (!body.ok() || body->find("request_id") == nullptr) return ADD_FAILURE() << answer.body;
    EXPECT_NE(answer.head.find("Request-Id: " + body->find("request_id")->as_string() + "\r\n"), std::string::npos);
  };
  const auto sent = [](const std::string& body) { return post("/v1/messages", body); };
  fails(sent("{"), 400, "invalid_request_error");
  fails(sent("[]"), 400, "invalid_request_error");
  fails(sent(""), 400, "invalid_request_error");
  fails(sent(std::string("{\"a\":\"\xff\"}")), 400, "invalid_request_error");
  fails(sent(R"({"model":"scripted","model":"x"})"), 400, "invalid_request_error");
  fails(sent(R"({"model":"other","max_tokens":5,"messages":[{"role":"user","content":"x"}]})"), 404, "not_found_error");
  fails(sent(message_body("busy")), 529, "overloaded_error");
  fails(sent(message_body("broken")), 500, "api_error");
  fails(sent(message_body("fail")), 529, "overloaded_error");
  fails(sent(message_body(std::string(3000, 'x'))), 413, "request_too_large");
  fails(post("/v1/messages", message_body("x"), "Content-Encoding: gzip\r\n"), 415, "invalid_request_error");
  fails(get("/v1/messages"), 405, "invalid_request_error");
  fails(post("/v1/messages/batches", "{}"), 404, "not_found_error");
  fails(post("/v1/complete", "{}", "anthropic-version: 2023-06-01\r\n"), 404, "not_found_error");
  fails(post("/v1/messages", "{}", "Transfer-Encoding: chunked\r\n"), 400, "invalid_request_error");
  fails("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{", 400, "invalid_request_error",
        true);
  EXPECT_EQ(exchange(sent(message_body("broken"))).body.find("secret"), std::string::npos);
  // The others keep theirs.
  EXPECT_NE(exchange(post("/v1/chat/completions", "{")).body.find("\"param\""), std::string::npos);
  EXPECT_EQ(exchange(post("/v1/complete", "{}")).body.find("request_id"), std::string::npos);
  EXPECT_EQ(exchange(post("/anthropic/v1/chat/completions", "{}")).status, 404);
}

TEST_F(AnthropicApiTest, AnErrorInsideAStreamIsAnEvent) {
  start();
  const Answer answer = exchange(post("/v1/messages", message_body("fail", R"(,"stream":true)")));
  EXPECT_EQ(answer.status, 200);
  EXPECT_NE(answer.body.find("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\""),
            std::string::npos)
      << answer.body;
  EXPECT_EQ(answer.body.find("message_stop"), std::string::npos);
}

TEST_F(AnthropicApiTest, KeepsAWaitingStreamAlive) {
  ServerOptions options;
  options.http.keep_alive_seconds = 0.1;
  start(std::move(options));
  const Answer answer = exchange(post("/v1/messages", message_body("wait", R"(,"stream":true)")));
  EXPECT_NE(answer.body.find(": keep-alive\n\n"), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find("message_stop"), std::string::npos) << answer.body;
}

}  // namespace
}  // namespace baltoro::server
