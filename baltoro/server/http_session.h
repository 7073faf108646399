// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "baltoro/server/http.h"
#include "baltoro/server/http_parser.h"
#include "baltoro/server/http_server.h"

namespace baltoro::server {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

inline constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

inline std::chrono::steady_clock::duration seconds(double count) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::duration<double>(count));
}

class HttpSession;

// What the sessions of one server share. I/O thread only, but for the atomics and what the mutex guards.
struct HttpShared {
  HttpShared(HttpServerOptions chosen, Handler& answerer) : options(std::move(chosen)), handler(answerer) {}
  HttpServerOptions options;
  Handler& handler;
  asio::io_context io;
  // For Handler::handle. Not an asio::thread_pool: that one waits for ever where a further thread cannot be had.
  asio::io_context work;
  asio::executor_work_guard<asio::io_context::executor_type> more_work{work.get_executor()};
  std::unordered_set<HttpSession*> sessions;
  std::size_t buffered_bytes = 0, refusals = 0;
  const std::uint64_t run_number = (std::uint64_t{std::random_device{}()} << 32) | std::random_device{}();
  std::uint64_t requests = 0;
  bool draining = false;
  std::mutex mutex;
  std::condition_variable closed;  // connections became 0
};

// One connection: reads a request, polls its reply out, again. Lives as long as its coroutines and callbacks.
class HttpSession final : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(tcp::socket socket, HttpShared& shared);
  ~HttpSession();
  HttpSession(const HttpSession&) = delete;
  HttpSession& operator=(const HttpSession&) = delete;

  asio::awaitable<void> run();

  // Drain: an idle connection ends now, a busy one after its request.
  void drain();
  void stop_reply();
  // Everything ends, now.
  void abort();

 private:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;
  static constexpr std::size_t kReadBytes = 16 << 10;
  enum class Read : unsigned char { kBytes, kEnd, kTimeout };
  struct Outcome {
    int status = 499;
    bool again = false;
  };
  struct InFlight;
  struct Job;

  // The socket: each read and write has its deadline.
  void notify();
  void arm(Time when);
  void disarm();
  asio::awaitable<Read> read_some(Time until);
  asio::awaitable<bool> write(std::string_view bytes);
  void cut_slow_reader();
  asio::awaitable<bool> wait_wake(Time until);
  asio::awaitable<void> part();

  // Requests.
  asio::awaitable<bool> one_request();
  asio::awaitable<void> read_head(HttpParser::State& state);
  asio::awaitable<bool> serve(HttpParser::State state);
  asio::awaitable<bool> refuse(int status, std::string_view message);
  asio::awaitable<bool> refuse_failure();
  asio::awaitable<bool> read_body();
  void account(std::size_t bytes);

  // Answers: http_answer.cc.
  void start_handler();
  static std::unique_ptr<Reply> run_handler(Job& job) noexcept;
  static void hand_back(const std::shared_ptr<Job>& job) noexcept;
  asio::awaitable<bool> answer();
  asio::awaitable<Outcome> poll_out(bool keep_alive);
  asio::awaitable<Outcome> send_whole(const Response& response, bool keep_alive);
  asio::awaitable<bool> respond(Response response, bool keep);
  void finish(int status, LogFields fields);
  static asio::awaitable<void> watch(std::shared_ptr<HttpSession> self, std::uint64_t number);

  HttpShared& shared_;
  tcp::socket socket_;
  asio::steady_timer deadline_, wake_;
  HttpParser parser_;
  std::array<char, kReadBytes> input_;
  std::string_view received_;
  std::string peer_;
  Request head_;  // of the request being answered, without headers and body
  std::unique_ptr<Reply> reply_;
  Time started_{}, next_probe_{};
  std::size_t sent_ = 0, accounted_ = 0;
  std::uint64_t operation_ = 0, watch_number_ = 0, watching_ = 0;
  int refusal_ = 0;
  bool served_ = false, timed_out_ = false, woken_ = false, handled_ = false, idle_ = false, gone_ = false,
       half_closed_ = false;
};

}  // namespace baltoro::server
