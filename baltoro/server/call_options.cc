// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/call_options.h"

#include <fmt/format.h>

#include <charconv>

#include "baltoro/server/field_reader.h"

namespace baltoro::server {
namespace {

constexpr std::int64_t kMaxPriority = 1000;
constexpr double kMaxTimeout = 7 * 86400.0;
constexpr std::size_t kMaxSaltBytes = 256;

Error header_error(std::string_view name, std::string_view needed) {
  return field_error(std::string(name), fmt::format("{} is needed", needed));
}

template <typename Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return {};
  return value;
}

Status read_headers(const Request& head, CallOptions& out) {
  if (const std::string* text = head.header("x-priority")) {
    const auto value = parse_number<std::int64_t>(*text);
    if (!value || *value < -kMaxPriority || *value > kMaxPriority)
      return header_error("X-Priority", "an integer from -1000 to 1000");
    out.handling.priority = static_cast<std::int32_t>(*value);
  }
  if (const std::string* text = head.header("x-request-timeout")) {
    const auto value = parse_number<double>(*text);
    if (!value || !(*value > 0 && *value <= kMaxTimeout))
      return header_error("X-Request-Timeout", "a number of seconds over 0, at most a week,");
    out.handling.timeout_seconds = *value;
  }
  if (const std::string* text = head.header("x-prefill-progress")) {
    const bool on = *text == "1" || *text == "true";
    if (!on && *text != "0" && *text != "false") return header_error("X-Prefill-Progress", "true or false");
    out.progress = on;
  }
  return {};
}

}  // namespace

Result<CallOptions> read_call_options(const Request& head, const json::Value& body, const CallOptions& defaults) {
  CallOptions out = defaults;
  BALTORO_TRY_STATUS(read_headers(head, out));
  FieldReader reader(body, "");
  llm::Handling& handling = out.handling;
  if (const auto value = reader.integer("priority", -kMaxPriority, kMaxPriority))
    handling.priority = static_cast<std::int32_t>(*value);
  if (const auto value = reader.number("timeout", 0, kMaxTimeout)) {
    if (*value == 0) reader.fail("timeout", "a number of seconds over 0 is needed, 0 seen");
    handling.timeout_seconds = *value;
  }
  if (const auto value = reader.integer("max_identical_calls", 0, 1000))
    handling.max_identical_calls = static_cast<std::int32_t>(*value);
  handling.stop_repetition = reader.boolean("stop_repetition").value_or(handling.stop_repetition);
  if (const auto salt = reader.string("cache_salt")) {
    if (salt->empty() || salt->size() > kMaxSaltBytes) reader.fail("cache_salt", "1 to 256 bytes are needed");
    out.cache_salt = *salt;
  }
  out.progress = reader.boolean("prefill_progress").value_or(out.progress);
  if (!reader.ok()) return reader.status().error();
  return out;
}

}  // namespace baltoro::server
