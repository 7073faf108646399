// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/server.h"

#include <utility>

namespace baltoro::server {

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" ||
         (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos);
}

Server::Server(ServerOptions options, llm::Backend& backend)
    : backend_(backend), api_(std::make_unique<Api>(std::move(options.api), backend)) {}

Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, llm::Backend& backend) {
  // A web page may make a browser send requests to the loopback address under a name of its own (DNS rebinding).
  auto& hosts = options.api.allowed_hosts;
  if (is_loopback(options.http.host)) {
    for (const std::string& name :
         {std::string("localhost"), std::string("127.0.0.1"), std::string("[::1]"), options.http.host}) {
      hosts.push_back(name);
    }
  }
  HttpServerOptions http = options.http;
  Watchdog::Options watchdog = std::move(options.watchdog);
  std::unique_ptr<Server> out(new Server(std::move(options), backend));
  BALTORO_TRY(out->http_, HttpServer::listen(std::move(http), *out->api_));
  if (watchdog.limit_seconds <= 0) return out;
  watchdog.stuck = [api = out->api_.get()](bool stuck) { api->set_stuck(stuck); };
  BALTORO_TRY(out->watchdog_,
              Watchdog::start(std::move(watchdog),
                              {{"the engine", [&backend] { return backend.busy_seconds(); }},
                               {"the reading of a request", [api = out->api_.get()] { return api->busy_seconds(); }}}));
  return out;
}

std::uint16_t Server::port() const { return http_->port(); }

void Server::hurry() { backend_.drain(0); }

void Server::drain(double seconds) {
  api_->set_draining();
  http_->drain();
  backend_.drain(seconds);
  // The last events are on their way out; a client that does not read them is dropped.
  for (int i = 0; i < 30 && !http_->wait_closed(0.1); ++i) http_->stop_replies();
}

}  // namespace baltoro::server
