// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/http.h"

namespace baltoro::server {

const std::string* Request::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key == name) return &value;
  }
  return nullptr;
}

const char* status_phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 499:
      return "Client Closed Request";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 529:
      return "Overloaded";
    default:
      return "Unknown";
  }
}

namespace {

class WholeReply final : public Reply {
 public:
  explicit WholeReply(Response response) : response_(std::move(response)) {}
  std::optional<Response> head() override { return std::move(response_); }
  bool pull(std::string&) override { return true; }

 private:
  Response response_;
};

}  // namespace

std::unique_ptr<Reply> make_reply(Response response) { return std::make_unique<WholeReply>(std::move(response)); }

}  // namespace baltoro::server
