// SPDX-License-Identifier: Apache-2.0
// A session's answers: from the handler, and out.
#include <poll.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <functional>
#include <new>
#include <optional>
#include <thread>

#include "baltoro/server/http_message.h"
#include "baltoro/server/http_session.h"

namespace baltoro::server {
namespace {

constexpr auto kPollPause = std::chrono::milliseconds(200);
constexpr auto kProbePause = std::chrono::seconds(1);  // between interim answers to a half-closed client

}  // namespace

// A request on its way to the handler and back.
struct HttpSession::Job {
  Job(std::shared_ptr<HttpSession> owner, Request what, std::function<void()> waker)
      : session(std::move(owner)), request(std::move(what)), wake(std::move(waker)) {}
  std::shared_ptr<HttpSession> session;  // let go on the I/O thread only
  Request request;
  std::function<void()> wake;
  std::unique_ptr<Reply> reply = nullptr;  // null: there was no memory even for an error
};

void HttpSession::start_handler() {
  reply_ = nullptr;
  woken_ = handled_ = false;
  auto wake = [weak = weak_from_this(), &io = shared_.io] {
    asio::post(io, [weak] {
      const auto self = weak.lock();
      if (!self) return;
      if (self->reply_) self->reply_->woken();
      self->notify();
    });
  };
  auto job = std::make_shared<Job>(shared_from_this(), std::move(parser_.request()), std::move(wake));
  asio::post(shared_.work, [job = std::move(job)] {
    job->reply = run_handler(*job);
    hand_back(job);
  });
}

std::unique_ptr<Reply> HttpSession::run_handler(Job& job) noexcept {
  Handler& handler = job.session->shared_.handler;
  const auto refusal = [&](int status, const char* message) -> std::unique_ptr<Reply> {
    try {
      return make_reply(handler.protocol_error(job.session->head_, status, message));
    } catch (...) {
      return nullptr;
    }
  };
  try {
    return handler.handle(std::move(job.request), std::move(job.wake));
  } catch (const std::bad_alloc&) {
    return refusal(503, "out of memory for this request");
  } catch (...) {
    return refusal(500, "internal error");
  }
}

// The session waits for this alone: where there is no memory to post it, it is tried until there is.
void HttpSession::hand_back(const std::shared_ptr<Job>& job) noexcept {
  auto& io = job->session->shared_.io;
  while (true) {
    try {
      return asio::post(io, [job] {
        const auto self = std::move(job->session);
        self->account(0);
        self->reply_ = std::move(job->reply);
        self->handled_ = true;
        self->notify();
      });
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

asio::awaitable<bool> HttpSession::answer() {
  const bool keep_alive = parser_.keep_alive();
  start_handler();
  watching_ = ++watch_number_;
  asio::co_spawn(shared_.io, watch(shared_from_this(), watching_), asio::detached);
  while (!handled_) (void)co_await wait_wake(Time::max());
  const Outcome outcome = reply_ ? co_await poll_out(keep_alive) : Outcome{.status = 503, .again = false};
  watching_ = 0;
  error_code ignored;
  socket_.cancel(ignored);
  finish(outcome.status, reply_ ? reply_->log_fields() : LogFields{});
  reply_.reset();
  co_return outcome.again && !shared_.draining;
}

// Polls the reply until it is over or the client is gone.
asio::awaitable<HttpSession::Outcome> HttpSession::poll_out(bool keep_alive) {
  std::optional<Response> head;
  std::string out, part;
  while (true) {
    bool over = false;
    if (!head && (head = reply_->head())) {
      if (!head->stream) co_return co_await send_whole(*head, keep_alive);
      out = stream_head(*head, head_, keep_alive && !shared_.draining);
    }
    if (gone_) co_return Outcome{};
    if (head) {
      over = reply_->pull(part);
      append_chunk(out, part, over, head_.minor_version);
      part.clear();
    }
    if (!out.empty()) {
      const bool sent = co_await write(out);
      if (!sent) co_return Outcome{};
      out.clear();
    }
    if (over) co_return Outcome{head->status, keep_alive && head_.minor_version >= 1};
    if (half_closed_ && !head && Clock::now() >= next_probe_) {
      next_probe_ = Clock::now() + kProbePause;
      const bool sent = co_await write("HTTP/1.1 100 Continue\r\n\r\n");
      if (!sent) co_return Outcome{};
    }
    const double patience =
        half_closed_ ? std::min(1.0, shared_.options.keep_alive_seconds) : shared_.options.keep_alive_seconds;
    const bool woken = co_await wait_wake(Clock::now() + seconds(patience));
    if (!woken) reply_->idle();
  }
}

asio::awaitable<HttpSession::Outcome> HttpSession::send_whole(const Response& response, bool keep_alive) {
  const bool keep = keep_alive && !shared_.draining;
  const std::string bytes = whole_response(response, head_, keep);
  const bool sent = co_await write(bytes);
  co_return sent ? Outcome{response.status, keep} : Outcome{};
}

// A response without a handler: an early refusal.
asio::awaitable<bool> HttpSession::respond(Response response, bool keep) {
  const std::string bytes = whole_response(response, head_, keep);
  const bool sent = co_await write(bytes);
  finish(response.status, {});
  co_return sent&& keep;
}

void HttpSession::finish(int status, LogFields fields) {
  const double took = std::chrono::duration<double>(Clock::now() - started_).count();
  shared_.handler.ended(head_, {.status = status, .bytes_sent = sent_, .seconds = took, .fields = std::move(fields)});
}

// Runs beside answer(): sets half_closed_ on the client's FIN, gone_ on a reset, and wakes the answer.
asio::awaitable<void> HttpSession::watch(std::shared_ptr<HttpSession> self, std::uint64_t number) {
  asio::steady_timer pause(self->shared_.io);
  while (self->watching_ == number && !self->gone_) {
    const auto what = self->half_closed_ ? tcp::socket::wait_error : tcp::socket::wait_read;
    auto [code] = co_await self->socket_.async_wait(what, kTuple);
    if (code || self->watching_ != number) co_return;
    pollfd state{self->socket_.native_handle(), POLLRDHUP, 0};
    if (::poll(&state, 1, 0) < 0) continue;
    if ((state.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0 ||
        ((state.revents & POLLRDHUP) != 0 && self->head_.minor_version == 0)) {
      self->gone_ = true;
      error_code ignored;
      self->socket_.cancel(ignored);
      self->notify();
    } else if ((state.revents & POLLRDHUP) != 0 && !self->half_closed_) {
      self->half_closed_ = true;
      if (self->reply_) self->reply_->idle();  // a stream writes something, which shows whether anyone reads
      self->notify();
    } else {  // the next request is here already: look again later
      pause.expires_after(kPollPause);
      auto [waited] = co_await pause.async_wait(kTuple);
      (void)waited;
    }
  }
}

}  // namespace baltoro::server
