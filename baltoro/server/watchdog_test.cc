// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/watchdog.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "baltoro/server/test_server.h"

namespace baltoro::server {
namespace {

// "block": reading such a request does not end before the gate opens.
std::mutex gate;
std::condition_variable gate_moved;
bool gate_open = true;

void set_gate(bool open) {
  const std::lock_guard lock(gate);
  gate_open = open;
  gate_moved.notify_all();
}

Result<std::vector<llm::Script>> author(const llm::ChatRequest& request) {
  const std::string& text = request.conversation.messages.back().content;
  if (text == "block") {
    std::unique_lock lock(gate);
    gate_moved.wait(lock, [] { return gate_open; });
  }
  return std::vector<llm::Script>{llm::script_content(text)};
}

// A backend whose engine can be said to be stuck.
class Clocked final : public llm::Backend {
 public:
  explicit Clocked(llm::Backend& inner) : inner_(inner) {}
  Result<std::unique_ptr<llm::Ticket>> chat(llm::ChatRequest request, llm::EventSink sink) override {
    return inner_.chat(std::move(request), std::move(sink));
  }
  Result<std::unique_ptr<llm::Ticket>> complete(llm::CompletionRequest request, llm::EventSink sink) override {
    return inner_.complete(std::move(request), std::move(sink));
  }
  Result<std::vector<std::int32_t>> tokenize(const std::string& text, bool parse_special) override {
    return inner_.tokenize(text, parse_special);
  }
  Result<std::int64_t> count_tokens(const llm::ChatRequest& request) override { return inner_.count_tokens(request); }
  llm::ModelInfo model() const override { return inner_.model(); }
  llm::BackendMetrics metrics() const override { return inner_.metrics(); }
  void drain(double seconds) override { inner_.drain(seconds); }
  double busy_seconds() const override { return busy; }
  std::atomic<double> busy = 0;

 private:
  llm::Backend& inner_;
};

class WatchdogTest : public ServerTest {
 protected:
  WatchdogTest() : ServerTest(author), clocked_(backend_) {}
  ~WatchdogTest() override { server_.reset(); }
  llm::Backend& backend() override { return clocked_; }

  void start_watched(double limit) {
    ServerOptions options;
    options.watchdog.limit_seconds = limit;
    options.watchdog.look_seconds = 0.01;
    options.watchdog.notice = [this](std::string_view line) {
      const std::lock_guard lock(mutex_);
      notices_.emplace_back(line);
    };
    start(std::move(options));
  }
  std::vector<std::string> notices() {
    const std::lock_guard lock(mutex_);
    return notices_;
  }
  bool health_is(int status) {
    return soon([&] {
      return status_of(exchange(get("/health"))) == status && status_of(exchange(get("/health/live"))) == status;
    });
  }

  Clocked clocked_;
  std::vector<std::string> notices_;
};

TEST_F(WatchdogTest, AStuckEngineTurnsHealthRed) {
  start_watched(60);
  EXPECT_TRUE(health_is(200));
  clocked_.busy = 59;
  EXPECT_TRUE(health_is(200));
  clocked_.busy = 61;
  EXPECT_TRUE(health_is(503));
  EXPECT_TRUE(has(exchange(get("/health")), R"({"status":"stuck"})"));
  ASSERT_EQ(notices().size(), 1u);
  EXPECT_TRUE(notices()[0].starts_with("watchdog: the engine has been at one piece of work for 61 s; threads: "));
  EXPECT_TRUE(has(notices()[0], std::to_string(::getpid()) + " ")) << notices()[0];  // the first thread's
  clocked_.busy = 0;
  EXPECT_TRUE(health_is(200));
  ASSERT_EQ(notices().size(), 2u);
  EXPECT_EQ(notices()[1], "watchdog: the engine goes on");
}

TEST_F(WatchdogTest, AWorkerThatDoesNotComeBackToo) {
  start_watched(0.05);
  set_gate(false);
  const auto blocked = connect();
  blocked->send(chat("block"));
  EXPECT_TRUE(health_is(503));
  ASSERT_FALSE(notices().empty());
  EXPECT_TRUE(notices()[0].starts_with("watchdog: the reading of a request has been")) << notices()[0];
  set_gate(true);
  EXPECT_EQ(status_of(whole_answer(*blocked)), 200);
  EXPECT_TRUE(health_is(200));
}

}  // namespace
}  // namespace baltoro::server
