// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/openai_errors.h"

#include <algorithm>
#include <cmath>

namespace baltoro::server {
namespace {

struct Row {
  int status;
  const char* type;
  const char* code;
};

Row row(Errc code) {
  switch (code) {
    case Errc::kInvalidArgument:
      return {400, "invalid_request_error", "invalid_value"};
    case Errc::kUnauthenticated:
      return {401, "authentication_error", "invalid_api_key"};
    case Errc::kPermissionDenied:
      return {403, "permission_error", "permission_denied"};
    case Errc::kNotFound:
      return {404, "invalid_request_error", "not_found"};
    case Errc::kTimeout:
      return {408, "timeout_error", "timeout"};
    case Errc::kTooLarge:
      return {413, "invalid_request_error", "request_too_large"};
    case Errc::kPromptTooLong:
      return {400, "invalid_request_error", "context_length_exceeded"};
    case Errc::kOverloaded:  // the three types of 429 are Moonshot's
      return {429, "engine_overloaded_error", "engine_overloaded"};
    case Errc::kRateLimited:
      return {429, "rate_limit_reached_error", "rate_limit_exceeded"};
    case Errc::kQuotaExceeded:
      return {429, "exceeded_current_quota_error", "insufficient_quota"};
    case Errc::kResourceExhausted:
      return {503, "server_error", "resource_exhausted"};
    case Errc::kCancelled:
      return {499, "server_error", "cancelled"};
    case Errc::kUnavailable:
      return {503, "server_error", "server_unavailable"};
    case Errc::kUnsupported:
      return {400, "invalid_request_error", "unsupported"};  // not 501: clients retry 5xx
    case Errc::kCorrupt:
    case Errc::kIo:
    case Errc::kInternal:
      return {500, "server_error", "internal_error"};
  }
  return {500, "server_error", "internal_error"};
}

json::Value error_value(std::string_view message, const char* type, json::Value param, json::Value code) {
  json::Object body;
  body.emplace_back("message", message);
  body.emplace_back("type", type);
  body.emplace_back("param", std::move(param));
  body.emplace_back("code", std::move(code));
  json::Value out;
  out.set("error", std::move(body));
  return out;
}

}  // namespace

void add_retry_headers(Response& response, const Error& error) {
  if (error.code == Errc::kQuotaExceeded) {
    response.headers.emplace_back("X-Should-Retry", "false");  // what the OpenAI and Anthropic SDKs look at first
  } else if (response.status == 429 || response.status == 503 || response.status == 529) {
    const double seconds = std::clamp(std::ceil(error.retry_seconds), 1.0, 86400.0);
    response.headers.emplace_back("Retry-After", std::to_string(static_cast<std::int64_t>(seconds)));
  }
}

namespace {

const char* not_found_code(const Error& error, const char* otherwise) {
  if (error.code != Errc::kNotFound) return otherwise;
  if (error.field == "model") return "model_not_found";
  return error.field == "previous_response_id" ? "previous_response_not_found" : otherwise;
}

}  // namespace

int http_status(Errc code) { return row(code).status; }

json::Value openai_error(const Error& error) {
  const Row facts = row(error.code);
  const std::string_view message =
      facts.status == 500 ? std::string_view("the server failed to answer this request") : error.message;
  return error_value(message, facts.type, error.field.empty() ? json::Value() : json::Value(error.field),
                     not_found_code(error, facts.code));
}

Response openai_error_response(const Error& error) {
  Response response{.status = http_status(error.code), .body = json::dump(openai_error(error))};
  if (error.code == Errc::kUnauthenticated) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  add_retry_headers(response, error);
  return response;
}

Response openai_status_response(int status, std::string_view message) {
  const char* type = status >= 500 ? "server_error" : "invalid_request_error";
  Response response{.status = status, .body = json::dump(error_value(message, type, nullptr, nullptr))};
  add_retry_headers(response, {});
  return response;
}

std::string openai_error_event(const Error& error) { return "data: " + json::dump(openai_error(error)) + "\n\n"; }

}  // namespace baltoro::server
