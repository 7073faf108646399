// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "baltoro/server/anthropic_blocks.h"
#include "baltoro/server/anthropic_messages.h"

namespace baltoro::server {
namespace {

// K2 Instruct was released with this rule for its Messages endpoint: clients of Anthropic's send 1.0 where K2 needs
// 0.6.
constexpr float kInstructTemperature = 0.6F;

std::string shown(std::string_view text) { return std::string(text.substr(0, 64)); }

void read_sampling(FieldReader& reader, const MessagesContext& context, llm::Sampling& out) {
  const float factor = context.family == "k2-instruct" ? kInstructTemperature : 1.0F;
  if (const auto value = reader.number("temperature", 0, 1)) out.temperature = static_cast<float>(*value) * factor;
  if (const auto value = reader.number("top_p", 0, 1)) out.top_p = static_cast<float>(*value);
  if (const auto value = reader.integer("top_k", 0, INT32_MAX)) out.top_k = static_cast<std::int32_t>(*value);
}

void read_stops(FieldReader& reader, const ApiLimits& limits, std::vector<std::string>& out) {
  const json::Array* stops = reader.array("stop_sequences", limits.max_stops);
  for (std::size_t i = 0; stops != nullptr && i < stops->size() && reader.ok(); ++i) {
    const json::Value& stop = (*stops)[i];
    const std::string path = reader.path("stop_sequences", i);
    if (!stop.is_string()) {
      reader.fail_with(field_error(path, fmt::format("a string is needed, {} seen", json::kind_name(stop.kind()))));
    } else if (stop.as_string().empty() || stop.as_string().size() > limits.max_stop_bytes) {
      reader.fail_with(field_error(
          path, fmt::format("1 to {} bytes are needed, {} seen", limits.max_stop_bytes, stop.as_string().size())));
    } else {
      out.push_back(stop.as_string());
    }
  }
}

// Whether the latest thing said is a tool's result: the step after a call.
bool is_after_tools(const std::vector<text::Message>& messages) {
  const auto last = std::find_if(messages.rbegin(), messages.rend(),
                                 [](const text::Message& message) { return message.role != text::Role::kSystem; });
  return last != messages.rend() && last->role == text::Role::kTool;
}

// thinking: enabled (with a budget for this answer), disabled, adaptive (the model decides: it thinks) or between_tools
// (it thinks only in the steps after a call).
void read_thinking(FieldReader& reader, const MessagesContext& context, MessagesCall& out) {
  const json::Value* value = reader.object("thinking");
  if (value == nullptr) return;
  FieldReader thinking(*value, reader.path("thinking"));
  const std::string& type = needed_string(thinking, "type", "\"enabled\", \"disabled\" or \"adaptive\"");
  if (type == "enabled") {
    const auto budget = thinking.integer("budget_tokens", 1, INT64_MAX);
    if (thinking.ok() && !budget) thinking.missing("budget_tokens", "an integer");
    // With interleaved thinking the budget is the whole turn's and may be larger than one answer.
    const bool interleaved = context.betas.find("interleaved-thinking") != std::string_view::npos;
    if (thinking.ok() && !context.counting && !interleaved && out.max_tokens > 0 && *budget >= out.max_tokens) {
      thinking.fail("budget_tokens", fmt::format("`max_tokens` must be greater than `thinking.budget_tokens`, {} and "
                                                 "{} seen",
                                                 out.max_tokens, *budget));
    }
    out.request.thinking = true;
    out.request.thinking_budget = budget;
  } else if (type == "disabled") {
    out.request.thinking = false;
  } else if (type == "adaptive") {
    out.request.thinking = true;
  } else if (type == "between_tools") {
    out.request.thinking = is_after_tools(out.request.conversation.messages);
  } else {
    thinking.fail("type", fmt::format("\"enabled\", \"disabled\", \"adaptive\" or \"between_tools\" is needed, \"{}\" "
                                      "seen",
                                      shown(type)));
  }
  if (const std::string* display = thinking.string("display")) {
    out.show_thinking = *display != "omitted";
    if (*display != "omitted" && *display != "summarized") {
      thinking.fail("display", fmt::format("\"summarized\" or \"omitted\" is needed, \"{}\" seen", shown(*display)));
    }
  }
  if (!thinking.ok()) reader.fail_with(thinking.status().error());
}

void read_format(FieldReader& owner, std::string_view key, llm::ResponseFormat& out) {
  const json::Value* value = owner.ok() ? owner.object(key) : nullptr;
  if (value == nullptr) return;
  FieldReader format(*value, owner.path(key));
  const std::string& type = needed_string(format, "type", "\"json_schema\"");
  if (format.ok() && type != "json_schema") {
    format.fail("type", fmt::format("\"json_schema\" is needed, \"{}\" seen", shown(type)));
  }
  const json::Value* schema = format.object("schema");
  if (format.ok() && schema == nullptr) format.missing("schema", "a JSON schema");
  if (!format.ok()) return owner.fail_with(format.status().error());
  out = {.kind = llm::AnswerFormat::kJsonSchema, .name = "output", .schema = *schema, .strict = true};
}

// effort is a hint; these models have no such knob.
void read_output_config(FieldReader& reader, llm::ChatRequest& request) {
  read_format(reader, "output_format", request.response_format);  // where an older beta had it
  const json::Value* value = reader.object("output_config");
  if (value == nullptr) return;
  FieldReader config(*value, reader.path("output_config"));
  if (const std::string* effort = config.string("effort")) {
    static constexpr std::string_view kEfforts[] = {"low", "medium", "high", "xhigh", "max"};
    if (std::ranges::find(kEfforts, *effort) == std::end(kEfforts)) {
      config.fail("effort", fmt::format("low, medium, high, xhigh or max is needed, \"{}\" seen", shown(*effort)));
    }
  }
  read_format(config, "format", request.response_format);
  if (!config.ok()) reader.fail_with(config.status().error());
}

// Nothing is edited here: what would be cleared on Anthropic's side is free in this server's prefix cache, and kept.
// Keeping all thoughts is what K2.5 calls preserved thinking.
void read_context_management(FieldReader& reader, MessagesCall& out) {
  const json::Value* value = reader.object("context_management");
  if (value == nullptr) return;
  out.context_management = true;
  FieldReader config(*value, reader.path("context_management"));
  each_block(config, "edits", 64, [&](FieldReader& edit, const std::string& type) {
    const json::Value* keep = type.starts_with("clear_thinking_") ? edit.any("keep") : nullptr;
    if (keep == nullptr) return;
    const json::Value* kind = keep->find("type");
    if (*keep == json::Value("all") || (kind != nullptr && *kind == json::Value("all"))) {
      out.request.preserve_thinking = true;
    }
  });
  if (!config.ok()) reader.fail_with(config.status().error());
}

void read_metadata(FieldReader& reader) {
  const json::Value* value = reader.object("metadata");
  if (value == nullptr) return;
  FieldReader metadata(*value, reader.path("metadata"));
  (void)metadata.string("user_id");
  if (!metadata.ok()) reader.fail_with(metadata.status().error());
}

// 0 asks for the prompt to be computed and kept: one token is drawn, and not shown.
void read_max_tokens(FieldReader& reader, const MessagesContext& context, MessagesCall& out) {
  const auto max_tokens = reader.integer("max_tokens", 0, INT64_MAX);
  if (reader.ok() && !max_tokens && !context.counting) reader.missing("max_tokens", "an integer");
  if (!max_tokens) return;
  out.max_tokens = *max_tokens;
  out.only_cache = *max_tokens == 0;
  out.request.limits.max_tokens = std::max<std::int64_t>(*max_tokens, 1);
  if (out.only_cache && out.stream) reader.fail("max_tokens", "0 gives no stream");
}

}  // namespace

Result<MessagesCall> parse_messages(const json::Value& body, const MessagesContext& context) {
  FieldReader reader(body, "");
  if (reader.ok() && reader.any("thread") != nullptr) {
    return field_error("thread", "threads are not offered here, send the whole conversation");
  }
  MessagesCall out;
  llm::ChatRequest& request = out.request;
  out.model = needed_string(reader, "model", "the model's name");
  if (reader.ok() && out.model.empty()) reader.fail("model", "must not be empty");
  out.stream = reader.boolean("stream").value_or(false);
  read_max_tokens(reader, context, out);
  request.conversation.messages = read_message_list(reader, context);
  request.conversation.tools = read_message_tools(reader, context.limits);
  read_message_tool_choice(reader, request);
  read_sampling(reader, context, request.sampling);
  read_stops(reader, context.limits, request.limits.stop);
  read_thinking(reader, context, out);
  read_output_config(reader, request);
  read_context_management(reader, out);
  read_metadata(reader);
  if (!reader.ok()) return reader.status().error();
  return out;
}

}  // namespace baltoro::server
