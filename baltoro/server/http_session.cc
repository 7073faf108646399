// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/http_session.h"

#include <boost/asio/write.hpp>

#include "baltoro/server/http_message.h"

namespace baltoro::server {
namespace {

constexpr std::size_t kWriteBytes = 64 << 10;  // one write, which has write_seconds to get away

}  // namespace

struct HttpSession::InFlight {
  explicit InFlight(HttpShared& shared) : count(shared.handler.counters().requests_in_flight) { ++count; }
  ~InFlight() { --count; }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;
  std::atomic<std::int64_t>& count;
};

HttpSession::HttpSession(tcp::socket socket, HttpShared& shared)
    : shared_(shared),
      socket_(std::move(socket)),
      deadline_(shared.io),
      wake_(shared.io),
      parser_(shared.options.parser) {
  error_code ignored;
  const auto remote = socket_.remote_endpoint(ignored);
  if (!ignored) peer_ = remote.address().to_string() + ":" + std::to_string(remote.port());
  socket_.set_option(tcp::no_delay(true), ignored);
  if (const int bytes = shared.options.send_buffer_bytes; bytes > 0) {
    socket_.set_option(asio::socket_base::send_buffer_size(bytes), ignored);
  }
  shared_.sessions.insert(this);
  ++shared_.handler.counters().connections_total;
  ++shared_.handler.counters().connections;
}

HttpSession::~HttpSession() {
  account(0);
  shared_.sessions.erase(this);
  const std::lock_guard lock(shared_.mutex);
  if (--shared_.handler.counters().connections == 0) shared_.closed.notify_all();
}

asio::awaitable<void> HttpSession::run() {
  bool again = true;
  while (again) again = co_await one_request();
  co_await part();
}

void HttpSession::drain() {
  if (idle_) abort();
}

void HttpSession::stop_reply() {
  if (reply_) reply_->stop();
  notify();
}

void HttpSession::abort() {
  gone_ = true;
  error_code ignored;
  socket_.close(ignored);
  notify();
}

void HttpSession::notify() {
  woken_ = true;
  wake_.cancel();
}

// Arms the deadline of the one operation that follows; a late expiry of an earlier one is told apart by its number.
void HttpSession::arm(Time when) {
  const std::uint64_t number = ++operation_;
  timed_out_ = false;
  deadline_.expires_at(when);
  deadline_.async_wait([weak = weak_from_this(), number](error_code code) {
    const auto self = weak.lock();
    if (code || !self || self->operation_ != number) return;
    self->timed_out_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
  });
}

void HttpSession::disarm() {
  ++operation_;
  deadline_.cancel();
}

asio::awaitable<HttpSession::Read> HttpSession::read_some(Time until) {
  arm(until);
  auto [code, count] = co_await socket_.async_read_some(asio::buffer(input_), kTuple);
  disarm();
  received_ = std::string_view(input_.data(), count);
  if (timed_out_) co_return Read::kTimeout;
  co_return code ? Read::kEnd : Read::kBytes;
}

// False: the client is gone or took nothing for write_seconds.
asio::awaitable<bool> HttpSession::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const std::string_view slice = bytes.substr(0, kWriteBytes);
    arm(Clock::now() + seconds(shared_.options.write_seconds));
    auto [code, count] = co_await asio::async_write(socket_, asio::buffer(slice), kTuple);
    disarm();
    sent_ += count;
    if (code && timed_out_) cut_slow_reader();
    if (code) co_return false;
    bytes.remove_prefix(slice.size());
  }
  co_return true;
}

// With a reset: else the system would keep what it still holds, megabytes, for as long as this client likes.
void HttpSession::cut_slow_reader() {
  ++shared_.handler.counters().slow_readers;
  error_code ignored;
  socket_.set_option(asio::socket_base::linger(true, 0), ignored);
  abort();
}

// Waits for notify() or the time; true: notified.
asio::awaitable<bool> HttpSession::wait_wake(Time until) {
  if (!woken_) {
    wake_.expires_at(until);
    auto [code] = co_await wake_.async_wait(kTuple);
    (void)code;
  }
  co_return std::exchange(woken_, false);
}

asio::awaitable<bool> HttpSession::one_request() {
  HttpParser::State state = parser_.feed({});
  co_await read_head(state);
  if (state == HttpParser::State::kIdle) co_return false;
  started_ = Clock::now();
  sent_ = 0;
  Request& request = parser_.request();
  request.peer = peer_;
  request.id = make_request_id(shared_.run_number, ++shared_.requests);
  request.trace = make_trace(request.header("traceparent"), shared_.run_number, shared_.requests);
  const InFlight counted(shared_);
  head_ = {.method = request.method,
           .path = request.path,
           .query = request.query,
           .minor_version = request.minor_version,
           .headers = {},
           .body = {},
           .peer = peer_,
           .id = request.id,
           .trace = request.trace};
  const bool again = co_await serve(state);
  parser_.next();
  served_ = true;
  co_return again;
}

// Reads until a head is whole or failed; kIdle: there is no request to answer.
asio::awaitable<void> HttpSession::read_head(HttpParser::State& state) {
  using enum HttpParser::State;
  const auto& options = shared_.options;
  Time until = Clock::now() + seconds(served_ ? options.idle_seconds : options.header_seconds);
  bool begun = false;
  while (state == kIdle || state == kHeader) {
    if (state == kIdle && shared_.draining) co_return;
    if (state == kHeader && !std::exchange(begun, true)) until = Clock::now() + seconds(options.header_seconds);
    idle_ = state == kIdle;
    const Read read = co_await read_some(until);
    idle_ = false;
    if (read == Read::kBytes) {
      state = parser_.feed(received_);
    } else if (state == kIdle) {
      co_return;
    } else {
      refusal_ = read == Read::kTimeout ? 408 : 400;
      co_return;
    }
  }
}

// From the head on. False: the connection must close.
asio::awaitable<bool> HttpSession::serve(HttpParser::State state) {
  if (refusal_ == 408) co_return co_await refuse(408, "the request head took too long");
  if (refusal_ == 400) co_return co_await refuse(400, "the connection ended inside the request head");
  if (state == HttpParser::State::kFailed) co_return co_await refuse_failure();
  if (auto rejection = shared_.handler.reject_early(parser_.request())) {
    const bool keep = state == HttpParser::State::kDone && parser_.keep_alive() && !shared_.draining;
    co_return co_await respond(*rejection, keep);
  }
  if (state == HttpParser::State::kBody) {
    const bool whole = co_await read_body();
    if (!whole) co_return false;
  }
  co_return co_await answer();
}

asio::awaitable<bool> HttpSession::refuse(int status, std::string_view message) {
  co_return co_await respond(shared_.handler.protocol_error(head_, status, message), false);
}

asio::awaitable<bool> HttpSession::refuse_failure() {
  const HttpParser::Failure failure = parser_.failure();
  co_return co_await refuse(failure.status, failure.message);
}

// Reads the rest of the body within body_seconds and the shared memory bound; answers what goes wrong itself.
asio::awaitable<bool> HttpSession::read_body() {
  using enum HttpParser::State;
  if (parser_.expects_continue() && !parser_.has_unread()) {
    const bool sent = co_await write("HTTP/1.1 100 Continue\r\n\r\n");
    if (!sent) co_return false;
  }
  const Time until = Clock::now() + seconds(shared_.options.body_seconds);
  HttpParser::State state = parser_.feed({});
  while (true) {
    account(parser_.request().body.size());
    if (state == kDone) co_return true;
    if (state == kFailed) {
      account(0);
      co_return co_await refuse_failure();
    }
    if (shared_.buffered_bytes > shared_.options.max_buffered_bytes) {
      account(0);
      co_return co_await refuse(503, "too many large requests at once; try again later");
    }
    const Read read = co_await read_some(until);
    if (read != Read::kBytes) {
      account(0);
      co_return co_await refuse(
          read == Read::kTimeout ? 408 : 400,
          read == Read::kTimeout ? "the request body took too long" : "the connection ended inside the request body");
    }
    state = parser_.feed(received_);
  }
}

// What this session holds of request bodies.
void HttpSession::account(std::size_t bytes) {
  shared_.buffered_bytes += bytes - accounted_;
  accounted_ = bytes;
}

// Closes so that the last answer arrives: a close with unread input would reset the connection.
asio::awaitable<void> HttpSession::part() {
  if (gone_) co_return;
  error_code code;
  socket_.shutdown(tcp::socket::shutdown_send, code);
  const Time until = Clock::now() + seconds(2);
  for (std::size_t total = 0; !code && total < (std::size_t{4} << 20); total += received_.size()) {
    const Read read = co_await read_some(until);
    if (read != Read::kBytes) break;
  }
  error_code ignored;
  socket_.close(ignored);
}

}  // namespace baltoro::server
