// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/openai_thinking.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace baltoro::server {
namespace {

constexpr std::array<std::string_view, 7> kEfforts = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};

void read_budget(FieldReader& reader, std::string_view key, llm::ChatRequest& request) {
  if (const auto budget = reader.integer(key, 0, INT64_MAX)) request.thinking_budget = *budget;
}

void read_template_arguments(FieldReader& reader, llm::ChatRequest& request) {
  const json::Value* value = reader.object("chat_template_kwargs");
  if (value == nullptr) return;
  FieldReader inner(*value, reader.path("chat_template_kwargs"));
  if (const auto on = inner.boolean("enable_thinking")) request.thinking = *on;
  if (const auto on = inner.boolean("thinking")) request.thinking = *on;
  if (const auto keep = inner.boolean("preserve_thinking")) request.preserve_thinking = *keep;
  (void)read_effort(inner, "thinking_effort", request);
  read_budget(inner, "thinking_budget", request);
  if (!inner.ok()) reader.fail_with(inner.status().error());
}

// Forgets the reasoning of messages before `end`.
void forget_reasoning(std::vector<text::Message>& messages, std::size_t end) {
  for (std::size_t m = 0; m < end; ++m) {
    if (!messages[m].partial) messages[m].reasoning.clear();
  }
}

void read_keep(FieldReader& reader, llm::ChatRequest& request) {
  const std::string* keep = reader.string("keep");
  if (keep == nullptr) return;
  auto& messages = request.conversation.messages;
  request.preserve_thinking = *keep == "all";
  if (*keep == "none") {
    forget_reasoning(messages, messages.size());
  } else if (*keep == "after_last_user") {
    std::size_t last = messages.size();
    while (last > 0 && messages[last - 1].role != text::Role::kUser) --last;
    forget_reasoning(messages, last);
  } else if (*keep != "all" && *keep != "after_last_non_tool_call_assistant") {
    reader.fail("keep", fmt::format("all, none, after_last_user or after_last_non_tool_call_assistant is needed, "
                                    "\"{}\" seen",
                                    keep->substr(0, 64)));
  }
}

void read_moonshot(FieldReader& reader, llm::ChatRequest& request) {
  const json::Value* thinking = reader.object("thinking");
  if (thinking == nullptr) return;
  FieldReader inner(*thinking, reader.path("thinking"));
  const std::string* type = inner.string("type");
  if (type != nullptr && *type != "enabled" && *type != "disabled") {
    inner.fail("type", fmt::format("\"enabled\" or \"disabled\" is needed, \"{}\" seen", type->substr(0, 64)));
  }
  if (inner.ok()) {
    request.thinking = type == nullptr || *type == "enabled";
    // What is switched off has no other settings.
    if (*request.thinking) {
      (void)read_effort(inner, "effort", request);
      read_keep(inner, request);
      read_budget(inner, "budget_tokens", request);
    }
  }
  if (!inner.ok()) reader.fail_with(inner.status().error());
}

}  // namespace

std::string read_effort(FieldReader& reader, std::string_view key, llm::ChatRequest& request) {
  const std::string* effort = reader.string(key);
  if (effort == nullptr) return {};
  if (std::ranges::find(kEfforts, *effort) == kEfforts.end()) {
    reader.fail(key, fmt::format("none, minimal, low, medium, high, xhigh or max is needed, \"{}\" seen",
                                 effort->substr(0, 64)));
    return {};
  }
  if (*effort == "none") request.thinking = false;
  return *effort;
}

void read_thinking(FieldReader& reader, llm::ChatRequest& request) {
  (void)read_effort(reader, "reasoning_effort", request);
  read_template_arguments(reader, request);
  read_budget(reader, "thinking_budget", request);
  read_budget(reader, "thinking_token_budget", request);
  read_moonshot(reader, request);
}

}  // namespace baltoro::server
