// SPDX-License-Identifier: Apache-2.0
// HTTP as the rest of the server sees it: a request in, a reply that is polled out. No sockets here.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "baltoro/server/trace_context.h"

namespace baltoro::server {

using Headers = std::vector<std::pair<std::string, std::string>>;  // request names in lower case, in order of arrival

struct Request {
  std::string method;     // as sent: "GET", "POST", ...
  std::string path;       // the target up to '?', not decoded: routes match it byte for byte
  std::string query;      // after '?'
  int minor_version = 1;  // HTTP/1.0 or 1.1
  Headers headers;
  std::string body;
  std::string peer;    // "127.0.0.1:40312"
  std::string id;      // goes back as X-Request-Id and into the log
  TraceContext trace;  // goes back as traceresponse and X-Trace-Id and into the log

  // The first header of that lower-case name, or nullptr.
  const std::string* header(std::string_view name) const;
};

// A whole answer, or the head of a stream (then `body` is empty and the bytes come from Reply::pull).
struct Response {
  int status = 200;
  std::string content_type = "application/json";
  Headers headers = {};
  std::string body = {};
  bool stream = false;
};

// The standard phrase, "OK", "Not Found", ...
const char* status_phrase(int status);

using LogFields = std::vector<std::pair<std::string, std::variant<std::int64_t, double, std::string>>>;

// The answer to one request, perhaps still in the making. The connection polls it from its own thread and owns it:
// destruction means that everything was sent or that the client is gone, and must free the work at once.
class Reply {
 public:
  virtual ~Reply() = default;
  // The head once it is known; nullopt: not yet, ask again after the next wake. Called until it gives one.
  virtual std::optional<Response> head() = 0;
  // For stream heads: appends what is ready (maybe nothing). Returns true once nothing more will come.
  virtual bool pull(std::string& out) = 0;
  // Nothing happened for the keep-alive interval: a stream may start and send a comment.
  virtual void idle() {}
  // A wake came, perhaps while the connection is still busy writing: a chance to give up. Cheap.
  virtual void woken() {}
  // The server must stop: end soon, with an error if the answer is not complete.
  virtual void stop() {}
  // What the access log says after the standard fields, e.g. prompt_tokens, output_tokens, finish. No user text.
  virtual LogFields log_fields() const { return {}; }
  // Once it is over: whether it said all that it was to say.
  virtual bool whole() const { return true; }
};

// A reply that is complete from the start.
std::unique_ptr<Reply> make_reply(Response response);

// What the HTTP server counts, for the metrics.
struct HttpCounters {
  std::atomic<std::int64_t> connections = 0, requests_in_flight = 0;         // now
  std::atomic<std::int64_t> connections_total = 0, connections_refused = 0;  // ever; refused: over the limit
  std::atomic<std::int64_t> slow_readers = 0;  // ever: cut, for they left an answer unread
};

// What answers requests. Every method may be called from several threads at once.
class Handler {
 public:
  virtual ~Handler() = default;
  // Looks at the head of a request before its body is read (body and size not there yet): the rejection, if it is one.
  // Must not block: the I/O thread calls it.
  virtual std::optional<Response> reject_early(const Request& head) = 0;
  // Answers a whole request. Called on a worker thread; may take a while (it must not wait for a model's answer: that
  // is what the Reply is for). `wake` tells the connection to poll again; any thread, any number of times, until the
  // Reply is destroyed. Must not throw.
  virtual std::unique_ptr<Reply> handle(Request request, std::function<void()> wake) = 0;
  // The answer to what never became a request: bad syntax, timeouts, limits. `status` as decided by the HTTP layer;
  // `head` as far as it is known: never its headers, perhaps not its path.
  virtual Response protocol_error(const Request& head, int status, std::string_view message) = 0;
  // A request has ended: for the log and the metrics. `request` has no body any more; `status` 499: the client left.
  struct Ended {
    int status = 0;
    std::size_t bytes_sent = 0;
    double seconds = 0;
    LogFields fields;
  };
  virtual void ended(const Request& request, const Ended& how) = 0;

  HttpCounters& counters() { return counters_; }

 private:
  HttpCounters counters_;
};

}  // namespace baltoro::server
