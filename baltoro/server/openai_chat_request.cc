// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "baltoro/server/openai_chat.h"
#include "baltoro/server/openai_notes.h"
#include "baltoro/server/openai_sampling.h"
#include "baltoro/server/openai_thinking.h"
#include "baltoro/server/openai_tools.h"

namespace baltoro::server {
namespace {

void read_logprobs(FieldReader& reader, const ApiLimits& limits, llm::Limits& out) {
  out.logprobs = reader.boolean("logprobs").value_or(false);
  const auto top = reader.integer("top_logprobs", 0, limits.max_top_logprobs);
  if (!top) return;
  if (!out.logprobs && *top > 0) reader.fail("top_logprobs", "only allowed when logprobs is true");
  out.top_logprobs = static_cast<std::int32_t>(*top);
}

void read_json_schema(FieldReader& format, llm::ResponseFormat& out) {
  const json::Value* object = format.object("json_schema");
  if (format.ok() && object == nullptr) format.missing("json_schema", "an object with name and schema");
  if (!format.ok()) return;
  FieldReader inner(*object, format.path("json_schema"));
  const std::string* name = inner.string("name");
  if (inner.ok() && name == nullptr) inner.missing("name", "the schema's name");
  const auto named = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  if (inner.ok() && (name->empty() || name->size() > 64 || !std::ranges::all_of(*name, named)))
    inner.fail("name", "1 to 64 letters, digits, '_' or '-' are needed");
  const json::Value* schema = inner.ok() ? inner.object("schema") : nullptr;
  if (inner.ok() && schema == nullptr) inner.missing("schema", "a JSON schema");
  out.strict = inner.ok() && inner.boolean("strict").value_or(false);
  if (!inner.ok()) return format.fail_with(inner.status().error());
  out.kind = llm::AnswerFormat::kJsonSchema;
  out.name = *name;
  out.schema = *schema;
}

void read_response_format(FieldReader& reader, llm::ResponseFormat& out) {
  const json::Value* format = reader.object("response_format");
  if (format == nullptr) return;
  FieldReader inner(*format, reader.path("response_format"));
  const std::string* type = inner.string("type");
  if (inner.ok() && type == nullptr) inner.missing("type", "\"text\", \"json_object\" or \"json_schema\"");
  if (type != nullptr && *type == "json_object") {
    out.kind = llm::AnswerFormat::kJsonObject;
  } else if (type != nullptr && *type == "json_schema") {
    read_json_schema(inner, out);
  } else if (type != nullptr && *type != "text") {
    inner.fail("type", fmt::format("text, json_object or json_schema is needed, \"{}\" seen", type->substr(0, 64)));
  }
  if (!inner.ok()) reader.fail_with(inner.status().error());
}

// What would change the answer and is not offered here must not be dropped in silence.
void refuse_unsupported(FieldReader& reader) {
  for (const char* key : {"functions", "function_call"}) {
    if (reader.any(key) != nullptr) reader.fail(key, "is not accepted, use tools and tool_choice");
  }
  if (reader.any("web_search_options") != nullptr) {
    reader.fail("web_search_options", "this server does not search: give the model a tool that does");
  }
  if (reader.any("audio") != nullptr) reader.fail("audio", "this model writes text only");
  if (const json::Array* modalities = reader.array("modalities", 8)) {
    for (const json::Value& item : *modalities) {
      if (item != json::Value("text")) reader.fail("modalities", "this model writes text only");
    }
  }
}

// What Moonshot's newest models hold fixed, as its vendor verifier checks it.
void hold_to_moonshot(FieldReader& reader, const llm::ChatRequest& request) {
  const llm::Sampling& sampling = request.sampling;
  const auto hold = [&](const char* key, bool right, const char* needed) {
    if (!right) reader.fail(key, fmt::format("{} is needed (--strict-moonshot)", needed));
  };
  hold("temperature", sampling.temperature.value_or(0) <= 1, "a number from 0 to 1");
  hold("top_p", !sampling.top_p || *sampling.top_p == 0.95f, "0.95");
  hold("presence_penalty", sampling.presence_penalty.value_or(0) == 0, "0");
  hold("frequency_penalty", sampling.frequency_penalty.value_or(0) == 0, "0");
  hold("n", request.limits.n == 1, "1");
}

}  // namespace

Result<ChatCall> parse_chat(const json::Value& body, const ApiLimits& limits) {
  FieldReader reader(body, "");
  if (!reader.ok()) return reader.status().error();
  ChatCall out;
  llm::ChatRequest& request = out.request;
  out.model = read_model(reader);
  request.conversation.tools = read_tools(reader, ToolShape::kNested, limits);
  read_messages(reader, limits, request.conversation);
  read_tool_choice(reader, ToolShape::kNested, request);
  request.parallel_tool_calls = reader.boolean("parallel_tool_calls").value_or(true);
  request.sampling = read_sampling(reader, limits);
  request.limits = read_limits(reader, limits);
  read_logprobs(reader, limits, request.limits);
  // Agents ask for far more than any context holds: the backend ends at the context, this is no error.
  const auto old_name = reader.integer("max_tokens", 1, INT64_MAX);
  const auto new_name = reader.integer("max_completion_tokens", 1, INT64_MAX);
  request.limits.max_tokens = new_name ? new_name : old_name;
  read_thinking(reader, request);
  read_response_format(reader, request.response_format);
  refuse_unsupported(reader);
  const auto& messages = request.conversation.messages;
  if (reader.ok() && messages.back().partial && request.response_format.kind != llm::AnswerFormat::kText) {
    reader.fail("response_format", "JSON cannot go on from a partial message");
  }
  if (limits.strict_moonshot) hold_to_moonshot(reader, request);
  (void)read_notes(reader, limits);
  (void)reader.boolean("store");  // kept nowhere: there is no dashboard to show it
  const StreamChoice stream = read_stream(reader);
  out.stream = stream.stream;
  out.include_usage = stream.include_usage;
  if (!reader.ok()) return reader.status().error();
  return out;
}

}  // namespace baltoro::server
