// SPDX-License-Identifier: Apache-2.0
// Memory that runs out at any point of a request costs that request: it gets 503 or its connection ends, and the next
// one is answered.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <thread>

#include "baltoro/llm/scripted.h"
#include "baltoro/server/api.h"
#include "baltoro/server/http_server.h"
#include "baltoro/server/test_connection.h"

namespace {

// Allocations of this thread until one fails, 0: none will.
thread_local std::int64_t until_failure = 0;

bool fails() { return until_failure > 0 && --until_failure == 0; }

}  // namespace

// Not inlined: g++ would take the malloc or free inside for a mismatched pair.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  void* memory = fails() ? nullptr : std::malloc(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return fails() ? nullptr : std::malloc(bytes);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace baltoro::server {
namespace {

struct Armed {
  explicit Armed(std::int64_t nth) { until_failure = nth; }
  ~Armed() { until_failure = 0; }
  Armed(const Armed&) = delete;
  Armed& operator=(const Armed&) = delete;
  static bool fired(std::int64_t nth) { return nth > 0 && until_failure == 0; }
};

// The whole answer to a request in one piece of its making: in handle(), or in a call of its Reply.
class FailingReply final : public Reply {
 public:
  FailingReply(std::unique_ptr<Reply> inner, std::int64_t nth, std::atomic<bool>* fired)
      : inner_(std::move(inner)), nth_(nth), fired_(fired) {}
  template <typename Body>
  auto run(const Body& body) {
    const Armed armed(nth_);
    struct Note {
      FailingReply& self;
      ~Note() {
        if (Armed::fired(self.nth_)) *self.fired_ = true;
        if (self.nth_ > 0) self.nth_ = until_failure;
      }
    } note{*this};
    return body();
  }

  std::optional<Response> head() override {
    return run([&] { return inner_->head(); });
  }
  bool pull(std::string& out) override {
    return run([&] { return inner_->pull(out); });
  }
  LogFields log_fields() const override { return inner_->log_fields(); }

 private:
  std::unique_ptr<Reply> inner_;
  std::int64_t nth_;
  std::atomic<bool>* fired_;
};

class FailingHandler final : public Handler {
 public:
  explicit FailingHandler(Api& api) : api_(api) {}
  std::optional<Response> reject_early(const Request& head) override { return api_.reject_early(head); }
  std::unique_ptr<Reply> handle(Request request, std::function<void()> wake) override {
    if (request.path == "/health") return api_.handle(std::move(request), std::move(wake));
    std::unique_ptr<Reply> reply;
    {
      const Armed armed(in_handle);
      struct Note {
        FailingHandler& self;
        ~Note() {
          if (Armed::fired(self.in_handle)) self.fired = true;
        }
      } note{*this};
      reply = api_.handle(std::move(request), std::move(wake));
    }
    return std::make_unique<FailingReply>(std::move(reply), in_reply, &fired);
  }
  Response protocol_error(const Request& head, int status, std::string_view message) override {
    return api_.protocol_error(head, status, message);
  }
  void ended(const Request& request, const Ended& how) override { api_.ended(request, how); }

  std::atomic<std::int64_t> in_handle = 0, in_reply = 0;
  std::atomic<bool> fired = false;

 private:
  Api& api_;
};

Result<std::vector<llm::Script>> author(const llm::ChatRequest&) {
  llm::Script script = llm::script_reasoning("let me think about this");
  llm::append(script, llm::script_content("some words of an answer"));
  llm::append(script, llm::script_tool_call(0, "functions.f:0", "f", R"({"a":1})"));
  return std::vector<llm::Script>{script};
}

class AllocationFailure : public ::testing::Test {
 protected:
  AllocationFailure() : backend_({.chat = author}), api_({}, backend_), handler_(api_) {
    http_ = *HttpServer::listen({}, handler_);
  }

  std::string exchange(const std::string& bytes) {
    TestConnection connection(http_->port());
    connection.send(bytes);
    return connection.read_all(5);
  }
  std::string chat(bool stream) {
    const std::string body =
        std::string(R"({"messages":[{"role":"user","content":"hello"}],"tools":[{"type":"function","function":)") +
        R"({"name":"f","parameters":{"type":"object","properties":{"a":{"type":"integer"}}}}}],"stop":["x","y"])" +
        (stream ? R"(,"stream":true})" : "}");
    return exchange(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: "
        "application/json\r\nContent-Length: " +
        std::to_string(body.size()) + "\r\n\r\n" + body);
  }
  bool alive() {
    return exchange("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 200");
  }
  bool quiet() {
    for (int i = 0; i < 2000; ++i) {
      if (backend_.metrics().front().second == 0) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }

  llm::ScriptedBackend backend_;
  Api api_;
  FailingHandler handler_;
  std::unique_ptr<HttpServer> http_;
};

TEST_F(AllocationFailure, AnyOneOfAHandlersAllocations) {
  for (const bool stream : {false, true}) {
    std::int64_t nth = 1, refused = 0;
    for (;; ++nth) {
      ASSERT_LT(nth, 20'000);
      handler_.fired = false;
      handler_.in_handle = nth;
      const std::string answer = chat(stream);
      const bool fired = handler_.fired;
      if (!fired) {
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
        break;
      }
      refused += answer.starts_with("HTTP/1.1 503") ? 1 : 0;
      ASSERT_TRUE(answer.starts_with("HTTP/1.1 503")) << nth << ": " << answer;
      ASSERT_TRUE(alive()) << nth;
      ASSERT_TRUE(quiet()) << nth;
    }
    EXPECT_GT(refused, 50);
    handler_.in_handle = 0;
  }
}

TEST_F(AllocationFailure, AnyOneOfAnAnswersAllocations) {
  for (const bool stream : {false, true}) {
    for (std::int64_t nth = 1;; nth += 1 + nth / 20) {
      ASSERT_LT(nth, 100'000);
      handler_.fired = false;
      handler_.in_reply = nth;
      const std::string answer = chat(stream);
      const bool fired = handler_.fired;
      ASSERT_TRUE(alive()) << nth;
      ASSERT_TRUE(quiet()) << nth;
      if (!fired) {
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
        break;
      }
      EXPECT_EQ(answer.find("[DONE]"), std::string::npos) << nth;  // a broken answer does not look whole
    }
    handler_.in_reply = 0;
  }
}

}  // namespace
}  // namespace baltoro::server
