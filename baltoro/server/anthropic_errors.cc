// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/anthropic_errors.h"

#include "baltoro/base/utf8.h"
#include "baltoro/server/openai_errors.h"

namespace baltoro::server {
namespace {

// Anthropic's type for a status.
const char* type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 409:
      return "conflict_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 408:
    case 504:
      return "timeout_error";
    case 529:
      return "overloaded_error";
    default:
      return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

json::Value error_value(const char* type, std::string_view message, json::Value details, std::string_view request_id) {
  json::Object error;
  error.emplace_back("type", type);
  error.emplace_back("message", message);
  if (!details.is_null()) error.emplace_back("details", std::move(details));
  json::Value out;
  out.set("type", "error");
  out.set("error", std::move(error));
  out.set("request_id", request_id.empty() ? json::Value() : json::Value(request_id));
  return out;
}

// "messages[2].content[0]" -> "messages.2.content.0"
std::string dotted(std::string_view path) {
  std::string out;
  for (const char c : path) {
    if (c == '[') out += '.';
    if (c != '[' && c != ']') out += c;
  }
  return out;
}

std::string message_of(const Error& error) {
  const std::string prefix = error.field + ": ";
  if (error.field.empty() || !error.message.starts_with(prefix)) return error.message;
  return dotted(error.field) + ": " + error.message.substr(prefix.size());
}

json::Value details_of(const Error& error) {
  if (error.field != "thread") return {};
  return json::Object{{"error_code", "thread_unsupported_request"}, {"unsupported", json::Array{"thread"}}};
}

}  // namespace

std::string_view anthropic_route(std::string_view path) {
  constexpr std::string_view kBase = "/anthropic";
  const std::string_view rest = path.substr(path.starts_with(kBase) ? kBase.size() : 0);
  return rest.starts_with("/v1/messages") || rest.starts_with("/v1/models") ? rest : path;
}

bool speaks_anthropic(const Request& head) {
  const std::string_view path = head.path;
  return path.starts_with("/anthropic/") || path == "/v1/messages" || path.starts_with("/v1/messages/") ||
         head.header("anthropic-version") != nullptr;
}

int anthropic_status(Errc code) {
  switch (code) {
    case Errc::kInvalidArgument:
    case Errc::kPromptTooLong:
    case Errc::kUnsupported:
      return 400;
    case Errc::kUnauthenticated:
      return 401;
    case Errc::kPermissionDenied:
      return 403;
    case Errc::kNotFound:
      return 404;
    case Errc::kTooLarge:
      return 413;
    case Errc::kRateLimited:
    case Errc::kQuotaExceeded:
      return 429;
    case Errc::kCancelled:
      return 499;
    case Errc::kTimeout:
      return 504;
    case Errc::kUnavailable:
      return 503;
    case Errc::kOverloaded:
    case Errc::kResourceExhausted:
      return 529;
    case Errc::kCorrupt:
    case Errc::kIo:
    case Errc::kInternal:
      return 500;
  }
  return 500;
}

json::Value anthropic_error(const Error& error, std::string_view request_id) {
  const int status = anthropic_status(error.code);
  const std::string message =
      status == 500 ? std::string("the server failed to answer this request") : utf8_sanitize(message_of(error));
  return error_value(type_of(status), message, details_of(error), request_id);
}

Response anthropic_error_response(const Error& error, std::string_view request_id) {
  Response response{.status = anthropic_status(error.code), .body = json::dump(anthropic_error(error, request_id))};
  if (response.status == 401) response.headers.emplace_back("WWW-Authenticate", "Bearer");
  add_retry_headers(response, error);
  return response;
}

Response anthropic_status_response(int status, std::string_view message, std::string_view request_id) {
  Response response{.status = status, .body = json::dump(error_value(type_of(status), message, {}, request_id))};
  add_retry_headers(response, {});
  return response;
}

std::string anthropic_error_event(const Error& error, std::string_view request_id) {
  return "event: error\ndata: " + json::dump(anthropic_error(error, request_id)) + "\n\n";
}

}  // namespace baltoro::server
