// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/http_message.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

namespace baltoro::server {
namespace {

bool safe_value(std::string_view value) {
  return std::ranges::none_of(value, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  if (value.empty() || !safe_value(value)) return;
  out.append(name).append(": ").append(value).append("\r\n");
}

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[64];
  const std::size_t length = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return std::string(text, length);
}

std::string start(const Response& response, const Request& request, bool keep_alive) {
  std::string out = fmt::format("HTTP/1.1 {} {}\r\n", response.status, status_phrase(response.status));
  append_field(out, "Date", http_date());
  append_field(out, "Content-Type", response.content_type);
  append_field(out, "X-Request-Id", request.id);
  append_field(out, "Request-Id", request.id);  // Anthropic's name for it
  append_field(out, "X-Trace-Id", request.trace.trace_id);
  append_field(out, "traceresponse", traceresponse(request.trace));
  append_field(out, "X-Content-Type-Options", "nosniff");
  for (const auto& [name, value] : response.headers) append_field(out, name, value);
  append_field(out, "Connection", keep_alive ? "keep-alive" : "close");
  return out;
}

}  // namespace

std::string make_request_id(std::uint64_t run, std::uint64_t number) {
  return fmt::format("req-{:016x}{:08x}", run, number & 0xffffffff);
}

std::string whole_response(const Response& response, const Request& request, bool keep_alive) {
  std::string out = start(response, request, keep_alive);
  // Of 304 it would have to be the length of what is not sent (RFC 9110 8.6).
  if (response.status != 304) out += fmt::format("Content-Length: {}\r\n", response.body.size());
  out += "\r\n";
  if (request.method != "HEAD") out += response.body;
  return out;
}

std::string stream_head(const Response& response, const Request& request, bool keep_alive) {
  std::string out = start(response, request, keep_alive && request.minor_version >= 1);
  append_field(out, "Cache-Control", "no-cache");
  append_field(out, "X-Accel-Buffering", "no");
  if (request.minor_version >= 1) append_field(out, "Transfer-Encoding", "chunked");
  out += "\r\n";
  return out;
}

void append_chunk(std::string& out, std::string_view bytes, bool last, int minor_version) {
  if (minor_version == 0) {
    out += bytes;
    return;
  }
  if (!bytes.empty()) out.append(fmt::format("{:x}\r\n", bytes.size())).append(bytes).append("\r\n");
  if (last) out += "0\r\n\r\n";
}

}  // namespace baltoro::server
