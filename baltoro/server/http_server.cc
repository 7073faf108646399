// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/http_server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <unordered_set>
#include <vector>

#include "baltoro/base/quiet_thread.h"
#include "baltoro/server/http_message.h"

namespace baltoro::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using boost::system::error_code;

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t kReadBytes = 16 << 10;
constexpr std::size_t kWriteBytes = 64 << 10;  // one write, which has write_seconds to get away
constexpr std::size_t kMaxRefusals = 64;       // connections over the limit that still get their 503
constexpr auto kPollPause = std::chrono::milliseconds(200);
constexpr auto kProbePause = std::chrono::seconds(1);  // between interim answers to a half-closed client

Clock::duration seconds(double count) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(count));
}

class Session;

// What the sessions of one server share. I/O thread only, but for the atomics and what the mutex guards.
struct Shared {
  Shared(HttpServerOptions chosen, Handler& answerer) : options(std::move(chosen)), handler(answerer) {}
  HttpServerOptions options;
  Handler& handler;
  asio::io_context io;
  // For Handler::handle. Not an asio::thread_pool: that one waits for ever where a further thread cannot be had.
  asio::io_context work;
  asio::executor_work_guard<asio::io_context::executor_type> more_work{work.get_executor()};
  std::unordered_set<Session*> sessions;
  std::size_t buffered_bytes = 0, refusals = 0;
  const std::uint64_t run_number = (std::uint64_t{std::random_device{}()} << 32) | std::random_device{}();
  std::uint64_t requests = 0;
  bool draining = false;
  std::mutex mutex;
  std::condition_variable closed;  // connections became 0
};

// One connection: reads a request, polls its reply out, again. Lives as long as its coroutines and callbacks.
class Session final : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, Shared& shared)
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

  ~Session() {
    account(0);
    shared_.sessions.erase(this);
    const std::lock_guard lock(shared_.mutex);
    if (--shared_.handler.counters().connections == 0) shared_.closed.notify_all();
  }

  asio::awaitable<void> run() {
    bool again = true;
    while (again) again = co_await one_request();
    co_await part();
  }

  // Drain: an idle connection ends now, a busy one after its request.
  void drain() {
    if (idle_) abort();
  }
  void stop_reply() {
    if (reply_) reply_->stop();
    notify();
  }
  // Everything ends, now.
  void abort() {
    gone_ = true;
    error_code ignored;
    socket_.close(ignored);
    notify();
  }

 private:
  using Time = Clock::time_point;
  enum class Read : unsigned char { kBytes, kEnd, kTimeout };
  struct InFlight {
    explicit InFlight(Shared& shared) : count(shared.handler.counters().requests_in_flight) { ++count; }
    ~InFlight() { --count; }
    InFlight(const InFlight&) = delete;
    InFlight& operator=(const InFlight&) = delete;
    std::atomic<std::int64_t>& count;
  };

  void notify() {
    woken_ = true;
    wake_.cancel();
  }

  // Arms the deadline of the one operation that follows; a late expiry of an earlier one is told apart by its number.
  void arm(Time when) {
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
  void disarm() {
    ++operation_;
    deadline_.cancel();
  }

  asio::awaitable<Read> read_some(Time until) {
    arm(until);
    auto [code, count] = co_await socket_.async_read_some(asio::buffer(input_), kTuple);
    disarm();
    received_ = std::string_view(input_.data(), count);
    if (timed_out_) co_return Read::kTimeout;
    co_return code ? Read::kEnd : Read::kBytes;
  }

  // False: the client is gone or took nothing for write_seconds.
  asio::awaitable<bool> write(std::string_view bytes) {
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
  void cut_slow_reader() {
    ++shared_.handler.counters().slow_readers;
    error_code ignored;
    socket_.set_option(asio::socket_base::linger(true, 0), ignored);
    abort();
  }

  // Waits for notify() or the time; true: notified.
  asio::awaitable<bool> wait_wake(Time until) {
    if (!woken_) {
      wake_.expires_at(until);
      auto [code] = co_await wake_.async_wait(kTuple);
      (void)code;
    }
    co_return std::exchange(woken_, false);
  }

  asio::awaitable<bool> one_request() {
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
  asio::awaitable<void> read_head(HttpParser::State& state) {
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
  asio::awaitable<bool> serve(HttpParser::State state) {
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

  asio::awaitable<bool> refuse(int status, std::string_view message) {
    co_return co_await respond(shared_.handler.protocol_error(head_, status, message), false);
  }
  asio::awaitable<bool> refuse_failure() {
    const HttpParser::Failure failure = parser_.failure();
    co_return co_await refuse(failure.status, failure.message);
  }

  // Reads the rest of the body within body_seconds and the shared memory bound; answers what goes wrong itself.
  asio::awaitable<bool> read_body() {
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
  void account(std::size_t bytes) {
    shared_.buffered_bytes += bytes - accounted_;
    accounted_ = bytes;
  }

  void start_handler() {
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

  // A request on its way to the handler and back.
  struct Job {
    Job(std::shared_ptr<Session> owner, Request what, std::function<void()> waker)
        : session(std::move(owner)), request(std::move(what)), wake(std::move(waker)) {}
    std::shared_ptr<Session> session;  // let go on the I/O thread only
    Request request;
    std::function<void()> wake;
    std::unique_ptr<Reply> reply = nullptr;  // null: there was no memory even for an error
  };

  static std::unique_ptr<Reply> run_handler(Job& job) noexcept {
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
  static void hand_back(const std::shared_ptr<Job>& job) noexcept {
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

  asio::awaitable<bool> answer() {
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

  struct Outcome {
    int status = 499;
    bool again = false;
  };

  // Polls the reply until it is over or the client is gone.
  asio::awaitable<Outcome> poll_out(bool keep_alive) {
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

  asio::awaitable<Outcome> send_whole(const Response& response, bool keep_alive) {
    const bool keep = keep_alive && !shared_.draining;
    const std::string bytes = whole_response(response, head_, keep);
    const bool sent = co_await write(bytes);
    co_return sent ? Outcome{response.status, keep} : Outcome{};
  }

  // A response without a handler: an early refusal.
  asio::awaitable<bool> respond(Response response, bool keep) {
    const std::string bytes = whole_response(response, head_, keep);
    const bool sent = co_await write(bytes);
    finish(response.status, {});
    co_return sent&& keep;
  }

  void finish(int status, LogFields fields) {
    const double took = std::chrono::duration<double>(Clock::now() - started_).count();
    shared_.handler.ended(head_, {.status = status, .bytes_sent = sent_, .seconds = took, .fields = std::move(fields)});
  }

  // Runs beside answer(): sets half_closed_ on the client's FIN, gone_ on a reset, and wakes the answer.
  static asio::awaitable<void> watch(std::shared_ptr<Session> self, std::uint64_t number) {
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

  // Closes so that the last answer arrives: a close with unread input would reset the connection.
  asio::awaitable<void> part() {
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

  Shared& shared_;
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

// Tells a client over the connection limit so.
asio::awaitable<void> turn_away(tcp::socket socket, Shared& shared) {
  asio::steady_timer timer(shared.io);
  timer.expires_after(std::chrono::seconds(1));
  timer.async_wait([&socket](error_code code) {
    error_code ignored;
    if (!code) socket.cancel(ignored);
  });
  Response response = shared.handler.protocol_error({}, 503, "too many connections; try again later");
  const std::string bytes = whole_response(response, {}, false);
  auto [code, count] = co_await asio::async_write(socket, asio::buffer(bytes), kTuple);
  error_code ignored;
  socket.shutdown(tcp::socket::shutdown_send, ignored);
  std::array<char, 1024> sink;
  while (!code) {
    auto [ended, got] = co_await socket.async_read_some(asio::buffer(sink), kTuple);
    code = ended;
  }
  timer.cancel();
  --shared.refusals;
}

// Out of memory ends this connection; the others go on, and so does accepting.
void start_session(tcp::socket socket, Shared& shared) {
  try {
    auto session = std::make_shared<Session>(std::move(socket), shared);
    asio::co_spawn(shared.io, session->run(), [session](const std::exception_ptr& thrown) {
      if (thrown) session->abort();
    });
  } catch (const std::bad_alloc&) {
    ++shared.handler.counters().connections_refused;
  }
}

// A descriptor kept for the moment when there is none left: given up, it lets a client in to be told so, who would else
// wait unanswered.
class SpareDescriptor {
 public:
  SpareDescriptor() { open(); }
  ~SpareDescriptor() { close(); }
  SpareDescriptor(const SpareDescriptor&) = delete;
  SpareDescriptor& operator=(const SpareDescriptor&) = delete;

  // Turns those away that wait at the listening socket, some at most. How many.
  std::int64_t turn_away(int listening, const std::string& answer) {
    std::int64_t count = 0;
    for (bool more = true; more && count < 64 && fd_ >= 0; count += more ? 1 : 0) {
      close();
      const int client = ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      more = client >= 0;
      if (more) {
        (void)!::send(client, answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        ::shutdown(client, SHUT_WR);
        ::close(client);
      }
      open();
    }
    return count;
  }

 private:
  void open() { fd_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  int fd_ = -1;
};

asio::awaitable<void> accept_all(tcp::acceptor& acceptor, Shared& shared) {
  asio::steady_timer pause(shared.io);
  SpareDescriptor spare;
  while (acceptor.is_open()) {
    auto [code, socket] = co_await acceptor.async_accept(kTuple);
    if (!acceptor.is_open()) co_return;
    if (code) {  // out of descriptors, or the client left already
      if (code == asio::error::no_descriptors) {
        const Response full = shared.handler.protocol_error({}, 503, "too many connections; try again later");
        shared.handler.counters().connections_refused +=
            spare.turn_away(acceptor.native_handle(), whole_response(full, {}, false));
      }
      pause.expires_after(std::chrono::milliseconds(100));
      auto [waited] = co_await pause.async_wait(kTuple);
      (void)waited;
    } else if (shared.handler.counters().connections >= static_cast<std::int64_t>(shared.options.max_connections)) {
      ++shared.handler.counters().connections_refused;
      if (shared.refusals >= kMaxRefusals) continue;  // closed by its destructor
      ++shared.refusals;
      asio::co_spawn(shared.io, turn_away(std::move(socket), shared), asio::detached);
    } else {
      start_session(std::move(socket), shared);
    }
  }
}

}  // namespace

struct HttpServer::Impl {
  Impl(HttpServerOptions options, Handler& handler) : shared(std::move(options), handler), acceptor(shared.io) {}

  Status open() {
    error_code code;
    const auto& options = shared.options;
    tcp::resolver resolver(shared.io);
    const auto found = resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, code);
    if (code || found.empty()) {
      return Error{Errc::kIo, "[server] cannot resolve the host \"" + options.host + "\": " + code.message()};
    }
    const tcp::endpoint endpoint = found.begin()->endpoint();
    acceptor.open(endpoint.protocol(), code);
    if (!code) acceptor.set_option(tcp::acceptor::reuse_address(true), code);
    if (!code) acceptor.bind(endpoint, code);
    if (!code) acceptor.listen(asio::socket_base::max_listen_connections, code);
    if (code) {
      return Error{Errc::kIo, "[server] cannot listen on " + options.host + ":" + std::to_string(options.port) + ": " +
                                  code.message()};
    }
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY) {
      const std::size_t room = files.rlim_cur > 160 ? files.rlim_cur - 128 : 32;
      shared.options.max_connections = std::min(shared.options.max_connections, room);
    }
    asio::co_spawn(shared.io, accept_all(acceptor, shared), asio::detached);
    port = acceptor.local_endpoint(code).port();
    for (int i = 0; i < std::max(1, shared.options.worker_threads); ++i) {
      BALTORO_TRY(std::thread worker, start_quiet_thread([this] { run(shared.work); }));
      workers.push_back(std::move(worker));
    }
    BALTORO_TRY(thread, start_quiet_thread([this] { run(shared.io); }));
    return {};
  }

  void end_workers() {
    shared.more_work.reset();
    for (std::thread& worker : workers) worker.join();
    workers.clear();
  }

  // A callback that runs out of memory loses its own work only.
  static void run(asio::io_context& context) {
    while (!context.stopped()) {
      try {
        context.run();
      } catch (const std::exception& thrown) {
        std::fprintf(stderr, "[server] %s\n", thrown.what());
      }
    }
  }

  // Runs on the I/O thread.
  template <typename Action>
  void for_sessions(Action action) {
    asio::post(shared.io, [this, action] {
      const std::vector<Session*> now(shared.sessions.begin(), shared.sessions.end());
      for (Session* session : now) action(*session);
    });
  }

  void drain() {
    asio::post(shared.io, [this] {
      shared.draining = true;
      error_code ignored;
      acceptor.close(ignored);
    });
    for_sessions([](Session& session) { session.drain(); });
  }

  bool wait_closed(Clock::duration time) {
    std::unique_lock lock(shared.mutex);
    return shared.closed.wait_for(lock, time, [&] { return shared.handler.counters().connections == 0; });
  }

  ~Impl() {
    if (!thread.joinable()) {
      end_workers();
      return;
    }
    drain();
    end_workers();
    for_sessions([](Session& session) { session.abort(); });
    while (!wait_closed(std::chrono::milliseconds(100))) for_sessions([](Session& session) { session.abort(); });
    shared.io.stop();
    thread.join();
  }

  Shared shared;
  tcp::acceptor acceptor;
  std::uint16_t port = 0;
  std::vector<std::thread> workers;
  std::thread thread;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

Result<std::unique_ptr<HttpServer>> HttpServer::listen(HttpServerOptions options, Handler& handler) {
  auto impl = std::make_unique<Impl>(std::move(options), handler);
  BALTORO_TRY_STATUS(impl->open());
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

std::uint16_t HttpServer::port() const { return impl_->port; }
void HttpServer::drain() { impl_->drain(); }
void HttpServer::stop_replies() {
  impl_->for_sessions([](Session& session) { session.stop_reply(); });
}
bool HttpServer::wait_closed(double time) { return impl_->wait_closed(seconds(time)); }

}  // namespace baltoro::server
