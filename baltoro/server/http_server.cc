// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/http_server.h"

#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <cstdio>
#include <exception>
#include <thread>
#include <vector>

#include "baltoro/base/quiet_thread.h"
#include "baltoro/server/http_accept.h"
#include "baltoro/server/http_session.h"

namespace baltoro::server {

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
      const std::vector<HttpSession*> now(shared.sessions.begin(), shared.sessions.end());
      for (HttpSession* session : now) action(*session);
    });
  }

  void drain() {
    asio::post(shared.io, [this] {
      shared.draining = true;
      error_code ignored;
      acceptor.close(ignored);
    });
    for_sessions([](HttpSession& session) { session.drain(); });
  }

  bool wait_closed(std::chrono::steady_clock::duration time) {
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
    for_sessions([](HttpSession& session) { session.abort(); });
    while (!wait_closed(std::chrono::milliseconds(100))) for_sessions([](HttpSession& session) { session.abort(); });
    shared.io.stop();
    thread.join();
  }

  HttpShared shared;
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
  impl_->for_sessions([](HttpSession& session) { session.stop_reply(); });
}
bool HttpServer::wait_closed(double time) { return impl_->wait_closed(seconds(time)); }

}  // namespace baltoro::server
