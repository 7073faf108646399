// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/llm/llm.h"
#include "baltoro/server/api.h"
#include "baltoro/server/http_server.h"
#include "baltoro/server/watchdog.h"

namespace baltoro::server {

struct ServerOptions {
  HttpServerOptions http;
  ApiOptions api;              // allowed_hosts empty and http.host a loopback address: the loopback names
  Watchdog::Options watchdog;  // its limit 0: none
};

// A backend behind HTTP: the api on an HttpServer.
class Server {
 public:
  // Binds and answers from then on. `backend` must outlive this.
  static Result<std::unique_ptr<Server>> start(ServerOptions options, llm::Backend& backend);
  ~Server();  // ends at once: what runs is cancelled
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint16_t port() const;

  // Stops accepting, lets running requests end up to the deadline, then ends the rest with an error they can read.
  // Blocks until that is done.
  void drain(double seconds);
  // Ends a drain under way in another thread now, as its deadline would.
  void hurry();

 private:
  Server(ServerOptions options, llm::Backend& backend);
  llm::Backend& backend_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<Watchdog> watchdog_;
};

// "127.0.0.1", "localhost", "::1", ...
bool is_loopback(const std::string& host);

}  // namespace baltoro::server
