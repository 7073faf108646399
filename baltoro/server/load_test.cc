// SPDX-License-Identifier: Apache-2.0
// Keys with limits, progress, traces and repetition at the server's surface: raw sockets in front of a scripted
// backend.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "baltoro/base/json.h"
#include "baltoro/server/prometheus_check.h"
#include "baltoro/server/test_server.h"

namespace baltoro::server {
namespace {

Result<std::vector<llm::Script>> author(const llm::ChatRequest& request) {
  const std::string& text = request.conversation.messages.back().content;
  llm::Script script;
  if (text == "slow") {
    for (int i = 0; i < 1000; ++i) llm::append(script, llm::script_content("word ", 0.005));
  } else if (text == "long prompt") {
    for (std::int64_t done = 100; done <= 400; done += 100)
      script.push_back({0.01, llm::PrefillProgress{.tokens_done = done, .tokens_total = 400}});
    llm::append(script, llm::script_content("read"));
  } else if (text == "loop") {
    llm::append(script, llm::script_content("again"));
    llm::Finished end;
    end.reason = llm::Finish::kRepetition;
    script.push_back({0, end});
  } else if (text == "handling") {
    const llm::Handling& h = request.handling;
    llm::append(script, llm::script_content(std::to_string(h.priority) + "/" +
                                            std::to_string(static_cast<int>(h.timeout_seconds.value_or(-1))) + "/" +
                                            std::to_string(h.max_identical_calls) + "/" + h.trace_id));
  } else {
    llm::append(script, llm::script_content(text));
  }
  return std::vector<llm::Script>{script};
}

class LoadTest : public ServerTest {
 protected:
  LoadTest() : ServerTest(author) {}

  void start(ServerOptions options = {}) {
    options.api.log_format = LogFormat::kJson;
    ServerTest::start(std::move(options));
  }
  bool quiet() { return wait_for("requests_running", 0); }
};

ServerOptions with_limits(KeyLimits limits) {
  ServerOptions options;
  options.api.keys = KeySet::of({{.name = "limited", .digest = key_digest("k1"), .limits = limits},
                                 {.name = "free", .digest = key_digest("k2"), .limits = {}}});
  return options;
}
const std::string kLimited = "Authorization: Bearer k1\r\n", kFree = "Authorization: Bearer k2\r\n";

TEST_F(LoadTest, RequestsPerMinute) {
  start(with_limits({.requests_per_minute = 2}));
  const std::string first = exchange(chat("x", {}, kLimited));
  EXPECT_EQ(status_of(first), 200);
  EXPECT_TRUE(has(first, "X-RateLimit-Limit: 2\r\nX-RateLimit-Remaining: 1\r\nX-RateLimit-Reset: 30\r\n")) << first;
  EXPECT_TRUE(has(exchange(chat("x", R"(,"stream":true)", kLimited)), "X-RateLimit-Remaining: 0\r\n"));
  const std::string third = exchange(chat("x", {}, kLimited));
  EXPECT_EQ(status_of(third), 429);
  EXPECT_TRUE(has(third, R"("type":"rate_limit_reached_error")")) << third;
  EXPECT_TRUE(has(third, "current: 2, limit: 2")) << third;
  EXPECT_TRUE(has(third, "Retry-After: 30\r\n") || has(third, "Retry-After: 29\r\n")) << third;
  EXPECT_TRUE(has(third, "X-RateLimit-Limit: 2\r\n"));
  EXPECT_EQ(status_of(exchange(chat("x", {}, kFree))), 200);
}

TEST_F(LoadTest, ConcurrencyIsGivenBackHoweverARequestEnds) {
  start(with_limits({.max_concurrent = 1}));
  for (int round = 0; round < 3; ++round) {
    TestConnection busy(server_->port());
    busy.send(chat("slow", R"(,"stream":true)", kLimited));
    busy.read_until("word");
    const std::string refused = exchange(chat("x", {}, kLimited));
    EXPECT_EQ(status_of(refused), 429);
    EXPECT_TRUE(has(refused, "concurrent requests (current: 1, limit: 1)")) << refused;
    busy.reset();
    ASSERT_TRUE(quiet());
    int status = 429;
    for (int i = 0; i < 100 && status == 429; ++i) status = status_of(exchange(chat("x", {}, kLimited)));
    EXPECT_EQ(status, 200);
  }
  EXPECT_EQ(status_of(exchange(chat("x", R"(,"temperature":-1)", kLimited))), 400);
  EXPECT_EQ(status_of(exchange(chat("x", {}, kLimited))), 200);  // a bad request holds nothing
}

TEST_F(LoadTest, TokensAreChargedUpFrontAndABudgetEnds) {
  start(with_limits({.tokens_total = 100}));
  const std::string large = exchange(chat("x", R"(,"max_tokens":100)", kLimited));
  EXPECT_EQ(status_of(large), 429);
  EXPECT_TRUE(has(large, R"("type":"exceeded_current_quota_error")")) << large;
  EXPECT_TRUE(has(large, "current: 0, limit: 100, this request: up to 101")) << large;
  EXPECT_TRUE(has(large, "X-Should-Retry: false\r\n"));
  EXPECT_FALSE(has(large, "Retry-After"));
  for (int i = 0; i < 4; ++i)  // a prompt of 10 bytes and an answer of one word: 11 of up to 30
    EXPECT_EQ(status_of(exchange(chat("0123456789", R"(,"max_tokens":20)", kLimited))), 200);
  EXPECT_TRUE(has(exchange(chat("0123456789", R"(,"max_tokens":60)", kLimited)), "current: 44, limit: 100"));
}

// Notes for whom prompts are counted and answered.
class Scopes final : public llm::Backend {
 public:
  explicit Scopes(llm::Backend& inner) : inner_(inner) {}
  Result<std::unique_ptr<llm::Ticket>> chat(llm::ChatRequest request, llm::EventSink sink) override {
    answered.push_back(request.cache_scope.tenant + "/" + request.cache_scope.salt);
    return inner_.chat(std::move(request), std::move(sink));
  }
  Result<std::unique_ptr<llm::Ticket>> complete(llm::CompletionRequest request, llm::EventSink sink) override {
    return inner_.complete(std::move(request), std::move(sink));
  }
  Result<std::vector<std::int32_t>> tokenize(const std::string& text, bool special) override {
    return inner_.tokenize(text, special);
  }
  Result<std::int64_t> count_tokens(const llm::ChatRequest& request) override {
    counted.push_back(request.cache_scope.tenant + "/" + request.cache_scope.salt);
    return inner_.count_tokens(request);
  }
  llm::ModelInfo model() const override { return inner_.model(); }
  llm::BackendMetrics metrics() const override { return inner_.metrics(); }
  void drain(double seconds) override { inner_.drain(seconds); }
  std::vector<std::string> answered, counted;

 private:
  llm::Backend& inner_;
};

// Earlier answers as they were sampled may be longer than their text: both see the same ones.
TEST_F(LoadTest, APromptIsCountedForWhomItIsAnswered) {
  Scopes scopes(backend_);
  auto server = Server::start(with_limits({.tokens_total = 1000}), scopes);
  ASSERT_TRUE(server.ok()) << server.error().message;
  server_ = *std::move(server);
  const std::string body = R"({"input":"x","cache_salt":"s","truncation":"auto","max_output_tokens":5})";
  EXPECT_EQ(status_of(exchange(chat("x", R"(,"max_tokens":5,"cache_salt":"s")", kLimited))), 200);
  EXPECT_EQ(status_of(exchange("POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
                               kLimited + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body)),
            200);
  server_ = nullptr;
  ASSERT_EQ(scopes.answered.size(), 2u);
  ASSERT_EQ(scopes.counted.size(), 3u);  // the second also to see whether it fits
  EXPECT_TRUE(scopes.answered[0].ends_with("/s") && scopes.answered[0] != "/s") << scopes.answered[0];
  for (const std::string& scope : scopes.answered) EXPECT_EQ(scope, scopes.answered[0]);
  for (const std::string& scope : scopes.counted) EXPECT_EQ(scope, scopes.answered[0]);
}

TEST_F(LoadTest, AKeysPriorityAndTheServersDefaultsReachTheBackend) {
  ServerOptions options = with_limits({.priority = 7});
  options.api.call.handling.timeout_seconds = 99;
  options.api.call.handling.max_identical_calls = 5;
  start(std::move(options));
  const std::string trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
  EXPECT_TRUE(has(exchange(chat("handling", {}, kLimited + trace)), "7/99/5/0af7651916cd43dd8448eb211c80319c"));
  EXPECT_TRUE(
      has(exchange(chat("handling", R"(,"priority":-1,"timeout":3,"max_identical_calls":0)", kLimited)), "\"7/3/0/"));
  EXPECT_TRUE(has(exchange(chat("handling", R"(,"priority":9)", kLimited)), "\"9/99/5/"));
  EXPECT_TRUE(has(exchange(chat("handling", R"(,"priority":-9)", kFree)), "\"0/99/5/"));
  EXPECT_TRUE(has(exchange(chat("handling", {}, kFree + "X-Priority: 4\r\n")), "\"4/99/5/"));
  const std::string bad = exchange(chat("x", R"(,"priority":5000)", kFree));
  EXPECT_EQ(status_of(bad), 400);
  EXPECT_TRUE(has(bad, R"("param":"priority")")) << bad;
}

TEST_F(LoadTest, ProgressIsAComment) {
  start();
  const std::string plain = exchange(chat("long prompt", R"(,"stream":true)"));
  EXPECT_FALSE(has(plain, "prefill")) << plain;
  const std::string told = exchange(chat("long prompt", R"(,"stream":true,"prefill_progress":true)"));
  EXPECT_TRUE(has(told, ": prefill 400/400")) << told;
  EXPECT_LT(told.find(": prefill"), told.find("data: "));
  EXPECT_TRUE(has(told, "read"));
  const std::string whole = exchange(chat("long prompt", R"(,"prefill_progress":true)"));
  EXPECT_EQ(status_of(whole), 200);
  EXPECT_FALSE(has(whole, ": prefill"));
}

TEST_F(LoadTest, RepetitionIsAFinishReason) {
  start();
  EXPECT_TRUE(has(exchange(chat("loop")), R"("finish_reason":"repetition")"));
  EXPECT_TRUE(has(exchange(chat("loop", R"(,"stream":true)")), R"("finish_reason":"repetition")"));
}

TEST_F(LoadTest, TracesAndTheJsonLogGoTogether) {
  start();
  const std::string sent = "0af7651916cd43dd8448eb211c80319c";
  const std::string answer =
      exchange(chat("private words", {}, "traceparent: 00-" + sent + "-b7ad6b7169203331-01\r\n"));
  EXPECT_TRUE(has(answer, "X-Trace-Id: " + sent + "\r\n")) << answer;
  EXPECT_TRUE(has(answer, "traceresponse: 00-" + sent + "-"));
  EXPECT_TRUE(has(exchange(chat("x", {}, "traceparent: rubbish\r\n")), "X-Trace-Id: "));
  EXPECT_EQ(status_of(exchange("GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")), 200);
  EXPECT_EQ(status_of(exchange("GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")), 200);
  const std::vector<std::string> lines = log();
  ASSERT_GE(lines.size(), 3u);
  const auto first = json::parse(lines[0]);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->find("trace_id")->as_string(), sent);
  EXPECT_EQ(first->find("endpoint")->as_string(), "chat_completions");
  EXPECT_EQ(first->find("finish")->as_string(), "stop");
  EXPECT_FALSE(has(lines[0], "private"));
  const std::string metrics = exchange("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const MetricsText read = PrometheusCheck::check(metrics.substr(metrics.find("\r\n\r\n") + 4));
  EXPECT_EQ(read.error, "");
}

}  // namespace
}  // namespace baltoro::server
