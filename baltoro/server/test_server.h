// SPDX-License-Identifier: Apache-2.0
// Tests only: a whole server on the loopback with a scripted backend behind it, and requests as raw bytes.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "baltoro/llm/scripted.h"
#include "baltoro/server/server.h"
#include "baltoro/server/test_connection.h"

namespace baltoro::server {

class ServerTest : public ::testing::Test {
 protected:
  using ChatAuthor = Result<std::vector<llm::Script>> (*)(const llm::ChatRequest&);
  using CompletionAuthor = Result<std::vector<llm::Script>> (*)(const llm::CompletionRequest&);

  explicit ServerTest(ChatAuthor author, CompletionAuthor completion_author = nullptr)
      : backend_({.chat = author, .complete = completion_author}) {}

  void start(ServerOptions options = {}) {
    options.api.log = [this](std::string_view line) {
      const std::lock_guard lock(mutex_);
      log_.emplace_back(line);
    };
    auto server = Server::start(std::move(options), backend());
    ASSERT_TRUE(server.ok()) << server.error().message;
    server_ = *std::move(server);
  }
  virtual llm::Backend& backend() { return backend_; }

  static std::string post(const std::string& path, const std::string& body, const std::string& fields = {}) {
    return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + fields +
           "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  static std::string get(const std::string& path, const std::string& fields = {}) {
    return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n";
  }
  static std::string chat_body(const std::string& text, const std::string& members = {}) {
    return R"({"messages":[{"role":"user","content":")" + text + "\"}]" + members + "}";
  }
  static std::string chat(const std::string& text, const std::string& members = {}, const std::string& fields = {}) {
    return post("/v1/chat/completions", chat_body(text, members), fields);
  }

  std::unique_ptr<TestConnection> connect() { return std::make_unique<TestConnection>(server_->port()); }
  // Sends one request on a connection of its own and returns the whole answer.
  std::string exchange(const std::string& bytes) {
    const auto connection = connect();
    connection->send(bytes);
    return whole_answer(*connection);
  }
  static std::string whole_answer(TestConnection& connection) {
    std::string answer = connection.read_answer();
    if (has(answer, "Transfer-Encoding: chunked")) answer += connection.read_until("\r\n0\r\n\r\n");
    return answer;
  }
  static int status_of(const std::string& answer) {
    return answer.starts_with("HTTP/1.1 ") ? std::stoi(answer.substr(9, 3)) : 0;
  }
  static std::string body_of(const std::string& answer) {
    const std::size_t end = answer.find("\r\n\r\n");
    return end == std::string::npos ? std::string() : answer.substr(end + 4);
  }
  static bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

  double backend_metric(const std::string& name) {
    for (const auto& [key, value] : backend_.metrics()) {
      if (key == name) return value;
    }
    return -1;
  }
  // Looks so often that it takes that long; a machine that stands still does not shorten it.
  template <typename Condition>
  static bool soon(const Condition& condition, double seconds = 5) {
    for (int looks = static_cast<int>(seconds / 0.002); looks > 0; --looks) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
  }
  bool wait_for(const std::string& name, double value, double seconds = 5) {
    return soon([&] { return backend_metric(name) == value; }, seconds);
  }
  std::vector<std::string> log() {
    const std::lock_guard lock(mutex_);
    return log_;
  }

  std::mutex mutex_;
  std::vector<std::string> log_;
  llm::ScriptedBackend backend_;
  std::unique_ptr<Server> server_;
};

}  // namespace baltoro::server
