// SPDX-License-Identifier: Apache-2.0
// The whole server on the loopback, a scripted backend behind it, raw sockets in front.
#include "baltoro/server/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <thread>

#include "baltoro/base/json.h"
#include "baltoro/server/test_server.h"

namespace baltoro::server {
namespace {

using Clock = std::chrono::steady_clock;

// What to answer is the last message: "slow" 1000 words at 5 ms, "flood" 30 MB, "silence" nothing for a minute,
// "tool" a call, "fail" an error after two words, "fail first" an error at once, "busy" a refusal; else its echo.
Result<std::vector<llm::Script>> author(const llm::ChatRequest& request) {
  const std::string& text = request.conversation.messages.back().content;
  llm::Script script;
  const auto error = [](Errc code) {
    return llm::ScriptedStep{0, llm::Finished{llm::Finish::kError, {}, {}, {code, "the model failed"}}};
  };
  if (text == "slow") {
    for (int i = 0; i < 1000; ++i) llm::append(script, llm::script_content("word ", 0.005));
  } else if (text == "flood") {
    for (int i = 0; i < 3000; ++i) llm::append(script, llm::script_content(std::string(10'000, 'x'), 0.0002));
  } else if (text == "silence") {
    llm::append(script, llm::script_content("late", 60));
  } else if (text == "tool") {
    llm::append(script, llm::script_tool_call(0, "functions.f:0", "f", R"({"a":1})"));
  } else if (text == "fail") {
    llm::append(script, llm::script_content("two words"));
    script.push_back(error(Errc::kInternal));
  } else if (text == "fail first") {
    script.push_back(error(Errc::kResourceExhausted));
  } else if (text == "busy") {
    return Error{Errc::kOverloaded, "the queue is full"};
  } else {
    llm::append(script, llm::script_reasoning("let me see"));
    llm::append(script, llm::script_content(text));
  }
  return std::vector<llm::Script>{script};
}

Result<std::vector<llm::Script>> completion_author(const llm::CompletionRequest& request) {
  const auto* text = std::get_if<std::string>(&request.prompt);
  return std::vector<llm::Script>{llm::script_content(text == nullptr ? "ids" : *text)};
}

class HttpServerTest : public ServerTest {
 protected:
  HttpServerTest() : ServerTest(author, completion_author) {}

  // A request that stops in the middle: the sending half is closed behind it.
  std::string exchange_cut(const std::string& bytes) {
    const auto connection = connect();
    connection->send(bytes);
    connection->shutdown_send();
    return connection->read_all();
  }

  // The text of a chunked SSE answer, put together from its deltas; the whole must end with [DONE].
  static std::string streamed_text(const std::string& answer) {
    std::string out;
    bool done = false;
    std::size_t at = 0;
    while ((at = answer.find("data: ", at)) != std::string::npos) {
      at += 6;
      const std::string line = answer.substr(at, answer.find("\n\n", at) - at);
      done = line == "[DONE]";
      if (done) continue;
      const auto chunk = json::parse(line);
      if (!chunk.ok()) return "bad chunk: " + line;
      const json::Value* choices = chunk->find("choices");
      if (choices == nullptr || choices->as_array().empty()) continue;
      const json::Value* content = choices->as_array()[0].find("delta")->find("content");
      if (content != nullptr) out += content->as_string();
    }
    return done ? out : "no end: " + out;
  }
};

TEST_F(HttpServerTest, AnswersChatWhole) {
  start();
  const std::string answer = exchange(chat("hello there"));
  EXPECT_EQ(status_of(answer), 200) << answer;
  EXPECT_NE(answer.find(R"("content":"hello there","reasoning_content":"let me see")"), std::string::npos) << answer;
  EXPECT_NE(answer.find("X-Request-Id: req-"), std::string::npos);
  EXPECT_NE(answer.find(R"("id":"chatcmpl-)"), std::string::npos);
}

TEST_F(HttpServerTest, StreamsChat) {
  start();
  const std::string answer = exchange(chat("hello there", R"(,"stream":true)"));
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_NE(answer.find("Content-Type: text/event-stream"), std::string::npos);
  EXPECT_EQ(streamed_text(answer), "hello there");
  EXPECT_TRUE(answer.ends_with("0\r\n\r\n"));
}

TEST_F(HttpServerTest, StreamsToHttp10WithoutChunks) {
  start();
  const std::string body = chat_body("hello", R"(,"stream":true)");
  const auto connection = connect();
  connection->send("POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Length: " +
                   std::to_string(body.size()) + "\r\n\r\n" + body);
  const std::string answer = connection->read_all();
  EXPECT_EQ(answer.find("chunked"), std::string::npos);
  EXPECT_TRUE(answer.ends_with("data: [DONE]\n\n")) << answer;
}

TEST_F(HttpServerTest, AnswersToolCallsCompletionsAndModels) {
  start();
  EXPECT_NE(exchange(chat("tool")).find(R"("finish_reason":"tool_calls")"), std::string::npos);
  const std::string completion = exchange(post("/v1/completions", R"({"prompt":["a","b c"]})"));
  EXPECT_NE(completion.find(R"({"text":"b c","index":1)"), std::string::npos) << completion;
  EXPECT_NE(exchange(get("/v1/models")).find(R"("data":[{"id":"scripted","object":"model")"), std::string::npos);
  EXPECT_NE(exchange(get("/v1/models/script%65d")).find(R"({"id":"scripted")"), std::string::npos);
  EXPECT_EQ(status_of(exchange(get("/v1/models/other"))), 404);
  EXPECT_NE(exchange(post("/v1/tokenize", R"({"prompt":"ab"})")).find(R"("tokens":[97,98])"), std::string::npos);
  EXPECT_NE(exchange(post("/v1/tokenizers/estimate-token-count", chat_body("abc"))).find(R"("total_tokens":3)"),
            std::string::npos);
}

TEST_F(HttpServerTest, KeepsConnectionsAlive) {
  start();
  const auto connection = connect();
  for (int i = 0; i < 50; ++i) {
    connection->send(get("/health"));
    EXPECT_EQ(status_of(connection->read_answer()), 200);
    connection->send(chat("again", R"(,"stream":true)"));
    EXPECT_EQ(streamed_text(connection->read_until("0\r\n\r\n")), "again");
  }
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  start();
  const auto connection = connect();
  std::string all;
  for (int i = 0; i < 200; ++i) all += i % 2 == 0 ? get("/health") : chat("number " + std::to_string(i));
  std::thread sender([&] { connection->send(all); });
  for (int i = 0; i < 200; ++i) {
    const std::string answer = connection->read_answer();
    ASSERT_EQ(status_of(answer), 200) << i << "\n" << answer;
    if (i % 2 == 1) {
      EXPECT_NE(answer.find("number " + std::to_string(i) + "\""), std::string::npos);
    }
  }
  sender.join();
}

TEST_F(HttpServerTest, AnswersAHalfClosedClient) {
  start();
  for (const char* members : {"", R"(,"stream":true)"}) {
    const std::string answer = exchange_cut(chat("one two three", members));
    EXPECT_NE(answer.find("three"), std::string::npos) << answer;
  }
}

TEST_F(HttpServerTest, FreesTheWorkOfAClientThatHangsUp) {
  start();
  int cancelled = 0;
  for (const char* text : {"slow", "silence"}) {
    for (const char* members : {"", R"(,"stream":true)"}) {
      for (const bool reset : {false, true}) {
        const auto connection = connect();
        connection->send(chat(text, members));
        ASSERT_TRUE(wait_for("requests_running", 1));
        if (std::string_view(text) == "slow" && *members != 0) connection->read_until("word");
        const auto before = Clock::now();
        reset ? connection->reset() : connection->close();
        ASSERT_TRUE(wait_for("requests_running", 0)) << text << members << reset;
        EXPECT_LT(std::chrono::duration<double>(Clock::now() - before).count(), 1.0);
        EXPECT_EQ(backend_metric("requests_cancelled_total"), ++cancelled);
      }
    }
  }
}

TEST_F(HttpServerTest, NoticesAHangUpBehindAPipelinedRequest) {
  start();
  const auto connection = connect();
  connection->send(chat("silence") + get("/health"));
  ASSERT_TRUE(wait_for("requests_running", 1));
  connection->close();
  EXPECT_TRUE(wait_for("requests_running", 0));
}

TEST_F(HttpServerTest, KeepsConcurrentStreamsApart) {
  start();
  std::vector<std::thread> clients;
  std::vector<std::string> got(32), expected(32);
  for (std::size_t i = 0; i < 32; ++i) {
    for (int word = 0; word < 300; ++word) expected[i] += std::to_string(i) + ":" + std::to_string(word) + " ";
    clients.emplace_back([&, i] {
      const auto connection = connect();
      connection->send(chat(expected[i], R"(,"stream":true)"));
      got[i] = streamed_text(connection->read_until("0\r\n\r\n"));
    });
  }
  for (std::thread& client : clients) client.join();
  for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(got[i], expected[i]) << i;
}

TEST_F(HttpServerTest, CutsASlowReaderOffAndServesTheOthers) {
  ServerOptions options;
  options.http.write_seconds = 0.5;
  options.http.send_buffer_bytes = 16'384;
  start(std::move(options));
  TestConnection slow(server_->port(), 4096);
  slow.send(chat("flood", R"(,"stream":true)"));
  ASSERT_TRUE(wait_for("requests_running", 1));
  EXPECT_EQ(status_of(exchange(chat("me too"))), 200);
  EXPECT_TRUE(wait_for("requests_running", 0, 10));
  EXPECT_EQ(backend_metric("requests_cancelled_total"), 1);
}

TEST_F(HttpServerTest, ASlowReaderThatIsCutLeavesNothingWithTheSystem) {
  ServerOptions options;
  options.http.write_seconds = 0.5;
  start(std::move(options));
  TestConnection slow(server_->port(), 4096);
  slow.send(chat("flood", R"(,"stream":true)"));
  const auto end = Clock::now() + std::chrono::seconds(20);
  while (exchange(get("/metrics")).find("\nbaltoro_http_slow_readers_total 1\n") == std::string::npos) {
    ASSERT_LT(Clock::now(), end);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_LT(slow.read_all().size(), 100'000);  // what its own buffer held, not all that was sent
}

TEST_F(HttpServerTest, SendsKeepAliveCommentsInSilence) {
  ServerOptions options;
  options.http.keep_alive_seconds = 0.05;
  start(std::move(options));
  const auto connection = connect();
  connection->send(chat("silence", R"(,"stream":true)"));
  EXPECT_TRUE(connection->read_until(": keep-alive\n\n").ends_with(": keep-alive\n\n"));
}

TEST_F(HttpServerTest, EndsAnswersThatTakeTooLong) {
  ServerOptions options;
  options.api.max_answer_seconds = 0.2;
  options.http.keep_alive_seconds = 0.05;
  start(std::move(options));
  EXPECT_EQ(status_of(exchange(chat("silence"))), 408);
  const std::string stream = exchange(chat("slow", R"(,"stream":true)"));
  EXPECT_NE(stream.find(R"("code":"timeout")"), std::string::npos);
  EXPECT_TRUE(wait_for("requests_running", 0));
}

TEST_F(HttpServerTest, ReportsFailuresBeforeAndInsideAStream) {
  start();
  for (const char* members : {"", R"(,"stream":true)"}) {
    EXPECT_EQ(status_of(exchange(chat("busy", members))), 429);
    EXPECT_NE(exchange(chat("busy", members)).find("Retry-After: 1\r\n"), std::string::npos);
    EXPECT_EQ(status_of(exchange(chat("fail first", members))), 503);
  }
  EXPECT_EQ(status_of(exchange(chat("fail"))), 500);
  const std::string stream = exchange(chat("fail", R"(,"stream":true)"));
  EXPECT_EQ(status_of(stream), 200);
  EXPECT_NE(stream.find(R"(data: {"error":{"message":"the server failed to answer this request")"), std::string::npos);
  EXPECT_EQ(stream.find("[DONE]"), std::string::npos);
  EXPECT_TRUE(stream.ends_with("0\r\n\r\n"));
}

TEST_F(HttpServerTest, RefusesByRouteMethodTypeAndHost) {
  start();
  const std::string body = chat_body("x");
  EXPECT_EQ(status_of(exchange(get("/nowhere"))), 404);
  EXPECT_EQ(status_of(exchange(get("//v1/models"))), 404);
  EXPECT_EQ(status_of(exchange(get("/v1/../v1/models"))), 404);
  EXPECT_EQ(status_of(exchange(get("/v1/%6dodels"))), 404);
  EXPECT_EQ(status_of(exchange(get("http://localhost/health"))), 404);
  const std::string method = exchange(get("/v1/chat/completions"));
  EXPECT_EQ(status_of(method), 405);
  EXPECT_NE(method.find("Allow: POST\r\n"), std::string::npos);
  EXPECT_EQ(status_of(exchange("OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil\r\n\r\n")), 405);
  const std::string head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n";
  const std::string rest = "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  EXPECT_EQ(status_of(exchange(head + rest)), 200);
  EXPECT_EQ(status_of(exchange(head + "Content-Type: application/json; charset=UTF-8\r\n" + rest)), 200);
  EXPECT_EQ(status_of(exchange(head + "Content-Type: text/plain\r\n" + rest)), 415);
  EXPECT_EQ(status_of(exchange(head + "Content-Type: application/json; charset=utf-16\r\n" + rest)), 415);
  EXPECT_EQ(status_of(exchange(head + "Content-Encoding: gzip\r\n" + rest)), 415);
  EXPECT_EQ(status_of(exchange("GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n")), 403);
  EXPECT_EQ(status_of(exchange("GET /health HTTP/1.1\r\nHost: 127.0.0.1:99\r\n\r\n")), 200);
  EXPECT_EQ(status_of(exchange(chat("x", R"(,"model":"gpt-5")"))), 404);
}

TEST_F(HttpServerTest, AnswersBrokenHttpAndJsonAndGoesOn) {
  start();
  const std::string host = "Host: localhost\r\n";
  EXPECT_EQ(status_of(exchange("rubbish\r\n\r\n")), 400);
  EXPECT_EQ(status_of(exchange("POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n")), 400);
  EXPECT_EQ(status_of(exchange("POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: xchunked\r\n\r\n")), 400);
  EXPECT_EQ(status_of(exchange("GET /" + std::string(100'000, 'x') + " HTTP/1.1\r\n" + host + "\r\n")), 414);
  EXPECT_EQ(status_of(exchange("POST /v1/completions HTTP/1.1\r\n" + host + "Content-Length: 99999999999\r\n\r\n")),
            413);
  EXPECT_EQ(status_of(exchange_cut("POST /v1/completions HTTP/1.1\r\n" + host + "Content-Length: 100\r\n\r\n{\"pro")),
            400);
  EXPECT_EQ(status_of(exchange_cut("GET /health HTTP/1.1\r\nHost: loc")), 400);
  EXPECT_EQ(status_of(exchange(post("/v1/chat/completions", std::string(1'000'000, '[')))), 400);
  EXPECT_EQ(status_of(exchange(post("/v1/chat/completions", chat_body("\xff")))), 400);
  EXPECT_EQ(status_of(exchange(post("/v1/chat/completions", ""))), 400);
  EXPECT_EQ(status_of(exchange(post("/v1/chat/completions", chat_body("x") + "x"))), 400);
  EXPECT_EQ(status_of(exchange(chat("still here"))), 200);
}

TEST_F(HttpServerTest, TellsClientsToContinueOrNot) {
  start();
  const std::string body = chat_body("x");
  const auto head = [&](const std::string& path, std::size_t size) {
    return "POST " + path +
           " HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: " + std::to_string(size) +
           "\r\n\r\n";
  };
  const auto connection = connect();
  connection->send(head("/v1/chat/completions", body.size()));
  EXPECT_EQ(connection->read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  connection->send(body);
  EXPECT_EQ(status_of(connection->read_answer()), 200);
  EXPECT_EQ(status_of(exchange(head("/nowhere", 5))), 404);
  EXPECT_EQ(status_of(exchange(head("/v1/chat/completions", 1 << 30))), 413);
}

TEST_F(HttpServerTest, EndsSlowHeadsBodiesAndIdleConnections) {
  ServerOptions options;
  options.http.header_seconds = 0.3;
  options.http.body_seconds = 0.3;
  options.http.idle_seconds = 0.3;
  start(std::move(options));
  const auto drip = [&](const std::string& text, const std::string& repeated) {
    const auto connection = connect();
    connection->send(text);
    for (int i = 0; i < 12 && connection->send(repeated); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return status_of(connection->read_all());
  };
  EXPECT_EQ(drip("GET /health HTTP/1.1\r\n", "A"), 408);
  EXPECT_EQ(drip("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n", "x"), 408);
  const auto silent = connect();
  EXPECT_TRUE(silent->closed_within(2));
  const auto idle = connect();
  idle->send(get("/health"));
  EXPECT_EQ(status_of(idle->read_answer()), 200);
  EXPECT_TRUE(idle->closed_within(2));
}

TEST_F(HttpServerTest, RefusesConnectionsOverTheLimit) {
  ServerOptions options;
  options.http.max_connections = 3;
  start(std::move(options));
  std::vector<std::unique_ptr<TestConnection>> held;
  for (int i = 0; i < 3; ++i) {
    held.push_back(connect());
    held.back()->send(get("/health"));
    EXPECT_EQ(status_of(held.back()->read_answer()), 200);
  }
  EXPECT_EQ(status_of(exchange(get("/health"))), 503);
  held.clear();
  for (int i = 0; i < 100; ++i) {
    if (status_of(exchange(get("/health"))) == 200) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  FAIL() << "no room after the others left";
}

TEST_F(HttpServerTest, BoundsTheBodiesOfAllConnections) {
  ServerOptions options;
  options.http.max_buffered_bytes = 100'000;
  start(std::move(options));
  const auto holder = connect();
  holder->send("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90001\r\n\r\n" +
               std::string(90'000, ' '));
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(status_of(exchange(post("/v1/completions", std::string(50'000, ' ')))), 503);
  holder->close();
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(status_of(exchange(post("/v1/completions", std::string(50'000, ' ')))), 400);
}

TEST_F(HttpServerTest, NeedsAKeyEverywhereButForHealth) {
  ServerOptions options;
  options.api.keys = KeySet::of(plain_keys({"secret"}));
  start(std::move(options));
  const std::string key = "Authorization: Bearer secret\r\n";
  EXPECT_EQ(status_of(exchange(get("/health"))), 200);
  for (const char* path : {"/v1/models", "/v1/models/scripted", "/metrics", "/nowhere", "/v1/chat/completions",
                           "/v1/completions", "/v1/tokenize", "/v1/tokenizers/estimate-token-count"}) {
    EXPECT_EQ(status_of(exchange(get(path))), 401) << path;
    EXPECT_EQ(status_of(exchange(post(path, "{}"))), 401) << path;
    EXPECT_EQ(status_of(exchange(get(path, "Authorization: Bearer secre\r\n"))), 401) << path;
    EXPECT_EQ(status_of(exchange(get(path, "Authorization: Bearer secret2\r\n"))), 401) << path;
    EXPECT_NE(status_of(exchange(get(path, key))), 401) << path;
  }
  EXPECT_EQ(status_of(exchange(post("/v1/chat/completions", chat_body("x"), key))), 200);
  EXPECT_NE(exchange(get("/v1/models")).find("WWW-Authenticate: Bearer"), std::string::npos);
}

TEST_F(HttpServerTest, MeasuresAndLogsWithoutPrompts) {
  start();
  exchange(chat("private words"));
  exchange(get("/a\"b"));
  exchange("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n");
  const std::string metrics = exchange(get("/metrics"));
  for (const char* line :
       {"baltoro_http_requests_total{endpoint=\"chat_completions\",status=\"200\"} 1\n",
        "baltoro_http_requests_total{endpoint=\"other\",status=\"404\"} 1\n",
        "baltoro_api_tokens_total{kind=\"prompt\"} 13\n", "baltoro_api_tokens_total{kind=\"output\"} 5\n",
        "baltoro_api_first_token_seconds_count 1\n", "baltoro_api_generations 0\n",
        "# TYPE baltoro_requests_finished_total counter\n", "baltoro_requests_finished_total 1\n"}) {
    EXPECT_NE(metrics.find(line), std::string::npos) << line << metrics;
  }
  std::string all;
  for (const std::string& line : log()) all += line + "\n";
  EXPECT_EQ(all.find("private"), std::string::npos) << all;
  EXPECT_NE(all.find("\"POST /v1/chat/completions\" 200 "), std::string::npos) << all;
  EXPECT_NE(all.find("prompt_tokens=13 cached_tokens=0 output_tokens=5"), std::string::npos) << all;
  EXPECT_NE(all.find("/a\\x22b"), std::string::npos) << all;
}

TEST_F(HttpServerTest, DrainsRunningRequests) {
  start();
  const auto idle = connect();
  idle->send(get("/health"));
  idle->read_answer();
  std::string answer;
  const auto busy = connect();
  busy->send(chat("one two three four five six seven eight nine ten", R"(,"stream":true)"));
  busy->read_until("one");
  std::thread drain([&] { server_->drain(10); });
  EXPECT_TRUE(idle->closed_within(5));
  EXPECT_NE(busy->read_all().find("[DONE]"), std::string::npos);
  drain.join();
  EXPECT_FALSE(connect()->connected());
}

TEST_F(HttpServerTest, EndsWhatDoesNotFinishInTimeWithAnError) {
  start();
  const auto stream = connect(), whole = connect();
  stream->send(chat("slow", R"(,"stream":true)"));
  stream->read_until("word");
  whole->send(chat("silence"));
  ASSERT_TRUE(wait_for("requests_running", 2));
  const auto before = Clock::now();
  server_->drain(0.2);
  EXPECT_LT(std::chrono::duration<double>(Clock::now() - before).count(), 3.0);
  EXPECT_NE(stream->read_all().find(R"("code":"server_unavailable")"), std::string::npos);
  EXPECT_EQ(status_of(whole->read_all()), 503);
}

TEST_F(HttpServerTest, StopsAtOnceWhenDestroyed) {
  start();
  const auto stream = connect();
  stream->send(chat("slow", R"(,"stream":true)"));
  stream->read_until("word");
  server_.reset();
  EXPECT_TRUE(stream->closed_within(2));
  EXPECT_TRUE(wait_for("requests_running", 0));
}

TEST_F(HttpServerTest, SurvivesAStormOfResets) {
  start();
  for (int round = 0; round < 10; ++round) {
    std::vector<std::unique_ptr<TestConnection>> storm;
    for (int i = 0; i < 50; ++i) {
      storm.push_back(connect());
      storm.back()->send(chat(i % 2 == 0 ? "slow" : "silence", i % 3 == 0 ? "" : R"(,"stream":true)"));
    }
    for (const auto& connection : storm) connection->reset();
  }
  EXPECT_TRUE(wait_for("requests_running", 0, 10));
  EXPECT_EQ(status_of(exchange(chat("fine"))), 200);
}

TEST(HttpServer, SaysWhyItCannotListen) {
  llm::ScriptedBackend backend({.chat = author});
  const auto first = Server::start({}, backend);
  ASSERT_TRUE(first.ok());
  ServerOptions taken;
  taken.http.port = (*first.operator->())->port();
  const auto second = Server::start(taken, backend);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Errc::kIo);
  ServerOptions nowhere;
  nowhere.http.host = "no such host";
  EXPECT_FALSE(Server::start(nowhere, backend).ok());
}

// Where there is not even memory for an error, the connection ends and the server goes on.
TEST(HttpServer, AHandlerThatThrowsCostsItsRequest) {
  class Thrower final : public Handler {
   public:
    std::optional<Response> reject_early(const Request&) override { return {}; }
    std::unique_ptr<Reply> handle(Request request, std::function<void()>) override {
      if (request.path == "/logic") throw std::logic_error("a bug");
      if (request.path != "/fine") throw std::bad_alloc();
      return make_reply({.body = "fine"});
    }
    Response protocol_error(const Request& head, int status, std::string_view message) override {
      if (head.path == "/worse") throw std::bad_alloc();
      return {.status = status, .body = std::string(message)};
    }
    void ended(const Request&, const Ended& how) override { last_status = how.status; }
    std::atomic<int> last_status = 0;
  } handler;
  const auto server = *HttpServer::listen({}, handler);
  const auto answer = [&](const std::string& path) {
    TestConnection connection(server->port());
    connection.send("GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    return connection.read_all();
  };
  for (int round = 0; round < 4; ++round) {  // more often than there are workers
    EXPECT_TRUE(answer("/bad").starts_with("HTTP/1.1 503"));
    EXPECT_TRUE(answer("/logic").starts_with("HTTP/1.1 500"));
    EXPECT_EQ(answer("/worse"), "");
    EXPECT_EQ(handler.last_status, 503);
    EXPECT_TRUE(answer("/fine").ends_with("fine"));
  }
}

}  // namespace
}  // namespace baltoro::server
