// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/anthropic_models.h"

#include <fmt/format.h>

#include <charconv>
#include <ctime>
#include <optional>

#include "baltoro/server/field_reader.h"

namespace baltoro::server {
namespace {

std::string rfc3339(std::int64_t unix_s) {
  const std::time_t time = unix_s;
  std::tm utc{};
  gmtime_r(&time, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

json::Value supported(bool yes) { return json::Object{{"supported", yes}}; }

json::Value capabilities() {
  json::Object effort{{"supported", false}};
  for (const char* level : {"low", "medium", "high", "xhigh", "max"}) effort.emplace_back(level, supported(false));
  const json::Object thinking_types{{"enabled", supported(true)}, {"adaptive", supported(true)}};
  json::Object context{{"supported", false}};
  for (const char* edit : {"clear_thinking_20251015", "clear_tool_uses_20250919", "compact_20260112"}) {
    context.emplace_back(edit, supported(false));
  }
  const json::Object server_tools{
      {"supported", false}, {"code_execution", supported(false)}, {"web_search", supported(false)}};
  return json::Object{{"batch", supported(false)},
                      {"citations", supported(false)},
                      {"code_execution", supported(false)},
                      {"context_management", std::move(context)},
                      {"effort", std::move(effort)},
                      {"image_input", supported(false)},
                      {"pdf_input", supported(false)},
                      {"server_tools", server_tools},
                      {"structured_outputs", supported(true)},
                      {"thinking", json::Object{{"supported", true}, {"types", thinking_types}}}};
}

// The value of `key` in a query string, as sent.
std::optional<std::string_view> query_value(std::string_view query, std::string_view key) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    if (pair.starts_with(key) && pair.size() > key.size() && pair[key.size()] == '=')
      return pair.substr(key.size() + 1);
  }
  return {};
}

}  // namespace

json::Value anthropic_model(const llm::ModelInfo& model) {
  return json::Object{{"type", "model"},
                      {"id", model.id},
                      {"display_name", model.id},
                      {"created_at", rfc3339(model.created_unix_s)},
                      {"max_input_tokens", model.max_context_tokens},
                      {"max_tokens", model.max_context_tokens},
                      {"lifecycle", "active"},
                      {"line", nullptr},
                      {"deprecated_at", nullptr},
                      {"retires_at", nullptr},
                      {"capabilities", capabilities()}};
}

Result<json::Value> anthropic_models(const llm::ModelInfo& model, std::string_view query) {
  if (const auto limit = query_value(query, "limit")) {
    int value = 0;
    const auto [end, code] = std::from_chars(limit->data(), limit->data() + limit->size(), value);
    if (code != std::errc{} || end != limit->data() + limit->size() || value < 1 || value > 1000) {
      return field_error("limit", "an integer from 1 to 1000 is needed");
    }
  }
  const bool past = query_value(query, "after_id") || query_value(query, "before_id");
  json::Array data;
  if (!past) data.push_back(anthropic_model(model));
  const json::Value id = past ? json::Value() : json::Value(model.id);
  return json::Value(json::Object{{"data", std::move(data)}, {"first_id", id}, {"last_id", id}, {"has_more", false}});
}

}  // namespace baltoro::server
