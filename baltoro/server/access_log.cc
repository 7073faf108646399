// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/access_log.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <ctime>
#include <iterator>

#include "baltoro/base/json.h"
#include "baltoro/base/utf8.h"

namespace baltoro::server {
namespace {

constexpr std::size_t kMostBytes = 200;

std::string text_line(std::string_view time, const Request& request, const Handler::Ended& how) {
  std::string out = fmt::format("{} {} \"{} {}\" {} {}B {:.1f}ms {}", time, request.peer, log_safe(request.method),
                                log_safe(request.path), how.status, how.bytes_sent, how.seconds * 1e3, request.id);
  for (const auto& [name, value] : how.fields) {
    std::visit([&](const auto& v) { fmt::format_to(std::back_inserter(out), " {}={}", name, v); }, value);
  }
  return out;
}

std::string json_line(std::string_view time, std::string_view endpoint, const Request& request,
                      const Handler::Ended& how) {
  json::Object out;
  const auto cut = [](std::string_view text) { return utf8_sanitize(text.substr(0, kMostBytes)); };
  out.emplace_back("time", time);
  out.emplace_back("request_id", request.id);
  out.emplace_back("trace_id", request.trace.trace_id);
  out.emplace_back("span_id", request.trace.span_id);
  if (!request.trace.parent_id.empty()) out.emplace_back("parent_id", request.trace.parent_id);
  out.emplace_back("peer", request.peer);
  out.emplace_back("method", cut(request.method));
  out.emplace_back("path", cut(request.path));
  out.emplace_back("endpoint", endpoint);
  out.emplace_back("status", how.status);
  out.emplace_back("bytes", static_cast<std::int64_t>(how.bytes_sent));
  out.emplace_back("ms", std::round(how.seconds * 1e4) / 10);
  for (const auto& [name, value] : how.fields) std::visit([&](const auto& v) { out.emplace_back(name, v); }, value);
  return json::dump(std::move(out));
}

}  // namespace

std::string access_line(LogFormat format, std::string_view time, std::string_view endpoint, const Request& request,
                        const Handler::Ended& how) {
  return format == LogFormat::kJson ? json_line(time, endpoint, request, how) : text_line(time, request, how);
}

std::string log_safe(std::string_view text) {
  std::string out;
  for (char c : text.substr(0, kMostBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x21 || byte > 0x7e || c == '"' || c == '\\') {
      out += fmt::format("\\x{:02x}", byte);
    } else {
      out += c;
    }
  }
  return out;
}

std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t whole = std::chrono::system_clock::to_time_t(now);
  std::tm utc{};
  gmtime_r(&whole, &utc);
  char text[32];
  const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count() % 1000;
  return fmt::format("{}.{:03}Z", std::string_view(text, length), ms);
}

}  // namespace baltoro::server
