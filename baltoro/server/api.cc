// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <span>

#include "baltoro/base/sha256.h"
#include "baltoro/server/access_log.h"
#include "baltoro/server/anthropic_errors.h"
#include "baltoro/server/openai_errors.h"
#include "baltoro/server/page.h"

namespace baltoro::server {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

// The host of a Host header, without port, in lower case.
std::string host_name(std::string_view host) {
  if (host.starts_with('[')) return lower(host.substr(0, host.find(']') + 1));
  return lower(host.substr(0, host.find(':')));
}

bool is_json(std::string_view content_type) {
  std::string type = lower(content_type);
  std::erase_if(type, [](char c) { return c == ' ' || c == '\t' || c == '"'; });
  return type == "application/json" || type == "application/json;charset=utf-8";
}

// What may be read may be asked for without its body, too (RFC 9110 9.1).
bool fits_method(std::string_view method, std::string_view wanted) {
  return method == wanted || (method == "HEAD" && wanted == "GET");
}

// Names what decides an answer beside the request: model, family and arithmetic.
std::string fingerprint_of(const llm::ModelInfo& model) {
  const std::string text =
      fmt::format("{}\n{}\n{}\n{}", model.id, model.family, model.arithmetic, model.created_unix_s);
  return "fp_" + to_hex(sha256(std::as_bytes(std::span(text)))).substr(0, 12);
}

}  // namespace

Api::Api(ApiOptions options, llm::Backend& backend)
    : options_(std::move(options)),
      backend_(backend),
      fingerprint_(fingerprint_of(backend.model())),
      seal_key_(options_.seal_key ? *options_.seal_key : SealKey::random()),
      responses_({.limits = options_.limits,
                  .store = options_.store,
                  .seal = Seal(seal_key_.derive("responses: reasoning")),
                  .now_unix_s = unix_now}),
      signer_(seal_key_) {
  // The JSON library sets itself up at its first use, where it cannot bear to be out of memory.
  BALTORO_CHECK(json::parse("{}").ok(), "an empty object is JSON");
}

std::int64_t Api::unix_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::span<const Api::Route> Api::routes() {
  static constexpr Route kRoutes[] = {
      {"POST", "/v1/chat/completions", "chat_completions", &Api::chat},
      {"POST", "/v1/completions", "completions", &Api::completion},
      {"POST", "/v1/messages", "messages", &Api::messages},
      {"POST", "/v1/messages/count_tokens", "count_tokens", &Api::message_tokens},
      {"POST", "/v1/responses", "responses", &Api::responses},
      {"POST", "/v1/responses/input_tokens", "count_tokens", &Api::count_response},
      {"GET", "/v1/responses/", "responses", &Api::response_input, true, true, "/input_items"},
      {"POST", "/v1/responses/", "responses", &Api::cancel_response, true, true, "/cancel"},
      {"GET", "/v1/responses/", "responses", &Api::response, true, true},
      {"DELETE", "/v1/responses/", "responses", &Api::delete_response, true, true},
      {"GET", "/v1/models", "models", &Api::models},
      {"GET", "/v1/models/", "models", &Api::one_model, true, true, "", true},
      {"POST", "/v1/tokenize", "tokenize", &Api::tokenize},
      {"POST", "/v1/detokenize", "detokenize", &Api::detokenize},
      {"POST", "/v1/tokenizers/estimate-token-count", "count_tokens", &Api::count_tokens},
      {"GET", "/metrics", "metrics", &Api::metrics_text},
      {"GET", "/health", "health", &Api::health, false},
      {"GET", "/", "page", &Api::page, false},
      {"GET", "/page/", "page", &Api::page, false, true},
      {"GET", "/health/ready", "health", &Api::health, false},
      {"GET", "/health/live", "health", &Api::alive, false},
  };
  return kRoutes;
}

bool Api::Route::fits(std::string_view wanted) const {
  if (!prefix) return wanted == path;
  if (wanted.size() <= path.size() + suffix.size() || !wanted.starts_with(path) || !wanted.ends_with(suffix))
    return false;
  wanted.remove_prefix(path.size());
  wanted.remove_suffix(suffix.size());
  return slashes || wanted.find('/') == wanted.npos;
}

// Whether the model is at work for it.
bool Api::Route::generates() const {
  return answer == &Api::chat || answer == &Api::completion || answer == &Api::messages || answer == &Api::responses;
}

const Api::Route* Api::find_route(const Request& request) {
  const Route* other_method = nullptr;
  const std::string_view path = anthropic_route(request.path);
  for (const Route& route : routes()) {
    if (!route.fits(path)) continue;
    if (fits_method(request.method, route.method)) return &route;
    if (other_method == nullptr) other_method = &route;
  }
  return other_method;
}

bool Api::host_allowed(const Request& head) const {
  if (options_.allowed_hosts.empty()) return true;
  const std::string* host = head.header("host");
  return host != nullptr && std::ranges::find(options_.allowed_hosts, host_name(*host)) != options_.allowed_hosts.end();
}

bool Api::key_accepted(const Request& head) const {
  return options_.keys.open() || options_.keys.accepts(presented_key(head));
}

// Errors in the shape that the client knows.
Response Api::refusal(const Request& head, const Error& error) {
  return speaks_anthropic(head) ? anthropic_error_response(error, head.id) : openai_error_response(error);
}
Response Api::refusal(const Request& head, int status, std::string_view message) {
  return speaks_anthropic(head) ? anthropic_status_response(status, message, head.id)
                                : openai_status_response(status, message);
}

// One tenant a key, by a digest that says nothing of it; without keys all share.
std::string Api::tenant_of(const Request& head) const {
  if (options_.keys.open()) return {};
  return to_hex(key_digest(presented_key(head)));
}

std::optional<Response> Api::reject_early(const Request& head) {
  const Route* route = find_route(head);
  if (!host_allowed(head)) {
    return refusal(head, {Errc::kPermissionDenied, "this Host is not served here (see --allow-host)"});
  }
  if ((route == nullptr || route->needs_key) && !key_accepted(head)) {
    return refusal(head,
                   {Errc::kUnauthenticated, "a valid API key is needed: Authorization: Bearer KEY, or x-api-key: KEY"});
  }
  if (route == nullptr) return refusal(head, {Errc::kNotFound, "no such path here"});
  if (!fits_method(head.method, route->method)) {
    std::string methods;
    for (const Route& other : routes()) {
      if (other.path != route->path || other.suffix != route->suffix) continue;
      methods.append(methods.empty() ? "" : ", ").append(other.method == "GET" ? "GET, HEAD" : other.method);
    }
    Response response = refusal(head, 405, fmt::format("{} is needed here", route->method));
    response.headers.emplace_back("Allow", methods);
    return response;
  }
  if (draining_ && route->method == "POST") {
    return refusal(head, {Errc::kUnavailable, "the server is shutting down"});
  }
  if (const std::string* encoding = head.header("content-encoding"); encoding && lower(*encoding) != "identity") {
    return refusal(head, 415, "Content-Encoding is not accepted: send the body as it is");
  }
  const std::string* type = head.header("content-type");
  if (route->method == "POST" && type != nullptr && !is_json(*type)) {
    return refusal(head, 415, "Content-Type application/json (UTF-8) is needed");
  }
  return {};
}

std::unique_ptr<Reply> Api::handle(Request request, std::function<void()> wake) {
  const Route* route = find_route(request);
  BALTORO_CHECK(route != nullptr, "a request without a route was not rejected");
  const WorkClock::Piece timed(handling_);
  const std::string* key = route->generates() ? request.header("idempotency-key") : nullptr;
  if (key == nullptr) return run(*route, request, std::move(wake));
  const IdempotentAnswers::Asked asked{.whose = fmt::format("{} {}", tenant_of(request), route->path),
                                       .key = *key,
                                       .body = sha256(std::as_bytes(std::span(request.body)))};
  auto given = once_.answer(asked, std::move(wake), [&](Wake woken) { return run(*route, request, std::move(woken)); });
  if (given.reply) return std::move(given.reply);
  Response response = refusal(request, given.status, given.message);
  response.headers.emplace_back("X-Should-Retry", "false");  // SDKs send a 409 again
  return make_reply(std::move(response));
}

std::unique_ptr<Reply> Api::run(const Route& route, Request& request, Wake wake) {
  Answer answer = (this->*route.answer)(request, std::move(wake));
  return answer.ok() ? *std::move(answer) : refused(request, answer.error());
}

std::unique_ptr<Reply> Api::refused(const Request& request, const Error& error) {
  metrics_.failed(error.code);
  if (http_status(error.code) == 500 && options_.log) {
    options_.log(fmt::format("{} error {}", request.id, log_safe(error.message)));
  }
  Response response = refusal(request, error);
  if (const auto account = account_of(request))
    std::ranges::copy(account->headers(), std::back_inserter(response.headers));
  return make_reply(std::move(response));
}

Response Api::protocol_error(const Request& head, int status, std::string_view message) {
  return refusal(head, status, message);
}

void Api::ended(const Request& request, const Ended& how) {
  const Route* route = find_route(request);
  const std::string_view endpoint = route == nullptr ? "other" : route->endpoint;
  metrics_.request_ended(endpoint, how.status, how.seconds);
  if (options_.log) options_.log(access_line(options_.log_format, utc_now(), endpoint, request, how));
}

// The account of the request's key; null where no keys are set.
std::shared_ptr<KeyAccount> Api::account_of(const Request& head) const {
  return options_.keys.open() ? nullptr : options_.keys.account(presented_key(head));
}

Api::Answer Api::metrics_text(Request&, Wake) {
  return make_reply(
      {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = metrics_.text(counters(), backend_)});
}

Api::Answer Api::page(Request& request, Wake) {
  BALTORO_TRY(Response response, page_response(request));
  return make_reply(std::move(response));
}

// Alive is not ready: who restarts servers looks here, who sends them work looks at health.
Api::Answer Api::alive(Request&, Wake) {
  if (stuck_) return make_reply({.status = 503, .body = R"({"status":"stuck"})"});
  return make_reply({.body = R"({"status":"alive"})"});
}

Api::Answer Api::health(Request&, Wake) {
  if (stuck_) return make_reply({.status = 503, .body = R"({"status":"stuck"})"});
  if (draining_) return make_reply({.status = 503, .body = R"({"status":"draining"})"});
  return make_reply({.body = R"({"status":"ok"})"});
}

}  // namespace baltoro::server
