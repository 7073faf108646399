// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "baltoro/server/openai_notes.h"
#include "baltoro/server/openai_sampling.h"
#include "baltoro/server/openai_thinking.h"
#include "baltoro/server/openai_tools.h"
#include "baltoro/server/responses.h"

namespace baltoro::server {
namespace {

// What would change the answer and is not offered here must not be dropped in silence.
void refuse_unsupported(FieldReader& reader) {
  if (reader.boolean("background").value_or(false)) {
    reader.fail("background", "answers are not computed in the background here: keep the connection, or stream");
  }
  if (reader.any("conversation") != nullptr) {
    reader.fail("conversation", "conversations are not kept here: use previous_response_id, or send all items");
  }
  if (reader.any("prompt") != nullptr) reader.fail("prompt", "prompt templates are not kept here: send instructions");
  if (const json::Array* rules = reader.array("context_management", 16); rules != nullptr && !rules->empty()) {
    reader.fail("context_management", "is not offered here: shorten the conversation, or send truncation \"auto\"");
  }
}

void read_include(FieldReader& reader, ResponsesCall& out) {
  const json::Array* include = reader.array("include", 64);
  for (std::size_t i = 0; include != nullptr && i < include->size(); ++i) {
    const json::Value& item = (*include)[i];
    if (!item.is_string()) {
      return reader.fail_with(field_error(reader.path("include", i), "a string is needed"));
    }
    if (item.as_string() == "reasoning.encrypted_content") out.seal_reasoning = true;
    if (item.as_string() == "message.output_text.logprobs") out.request.limits.logprobs = true;
  }
}

// text.format; returns what the response repeats of `text`.
json::Value read_text_format(FieldReader& reader, llm::ResponseFormat& out) {
  const json::Value* text = reader.object("text");
  const json::Value plain = json::Object{{"format", json::Object{{"type", "text"}}}};
  if (text == nullptr) return plain;
  FieldReader inner(*text, reader.path("text"));
  (void)inner.string("verbosity");
  const json::Value* format = inner.object("format");
  if (format != nullptr) {
    FieldReader entry(*format, inner.path("format"));
    const std::string* type = entry.string("type");
    if (entry.ok() && type == nullptr) entry.missing("type", "the format's type");
    if (type != nullptr && *type == "json_object") {
      out.kind = llm::AnswerFormat::kJsonObject;
    } else if (type != nullptr && *type == "json_schema") {
      out.kind = llm::AnswerFormat::kJsonSchema;
      const std::string* name = entry.string("name");
      const json::Value* schema = entry.ok() ? entry.object("schema") : nullptr;
      out.strict = entry.boolean("strict").value_or(false);
      if (entry.ok() && name == nullptr) entry.missing("name", "the schema's name");
      if (entry.ok() && schema == nullptr) entry.missing("schema", "an object");
      if (entry.ok()) out.name = *name;
      if (entry.ok()) out.schema = *schema;
    } else if (type != nullptr && *type != "text") {
      entry.fail("type", fmt::format("text, json_object or json_schema is needed, \"{}\" seen", type->substr(0, 64)));
    }
    if (!entry.ok()) inner.fail_with(entry.status().error());
  }
  if (!inner.ok()) reader.fail_with(inner.status().error());
  json::Value echo = *text;
  if (format == nullptr) echo.set("format", json::Object{{"type", "text"}});
  return echo;
}

// reasoning{effort, summary}: the model's own thoughts come as they are, there is nobody to summarise them.
json::Value read_reasoning(FieldReader& reader, llm::ChatRequest& request) {
  json::Object echo{{"effort", nullptr}, {"summary", nullptr}};
  if (const json::Value* reasoning = reader.object("reasoning")) {
    FieldReader inner(*reasoning, reader.path("reasoning"));
    if (std::string effort = read_effort(inner, "effort", request); !effort.empty()) echo[0].second = std::move(effort);
    const std::string* summary = inner.ok() ? inner.string("summary") : nullptr;
    if (summary != nullptr && *summary != "auto" && *summary != "concise" && *summary != "detailed") {
      inner.fail("summary", fmt::format("auto, concise or detailed is needed, \"{}\" seen", summary->substr(0, 64)));
    }
    if (summary != nullptr) echo[1].second = *summary;
    if (!inner.ok()) reader.fail_with(inner.status().error());
  }
  return echo;
}

void read_truncation(FieldReader& reader, ResponsesCall& out) {
  const std::string* truncation = reader.string("truncation");
  if (truncation == nullptr) return;
  out.truncate = *truncation == "auto";
  if (!out.truncate && *truncation != "disabled") {
    reader.fail("truncation", fmt::format("auto or disabled is needed, \"{}\" seen", truncation->substr(0, 64)));
  }
}

void read_input(FieldReader& reader, const ApiLimits& limits, ResponsesCall& out) {
  const json::Value* input = reader.any("input");
  if (input == nullptr) return;
  if (input->is_string()) {
    json::Object part{{"type", "input_text"}, {"text", *input}};
    out.input.emplace_back(
        json::Object{{"type", "message"}, {"role", "user"}, {"content", json::Array{std::move(part)}}});
  } else if (input->is_array()) {
    const json::Array* items = reader.array("input", limits.max_messages);
    if (items != nullptr) out.input = *items;
  } else {
    reader.wrong_kind("input", "a string or an array of items", *input);
  }
}

// The whole conversation: instructions, what is remembered, the request's items.
Status read_conversation(FieldReader& reader, const ApiLimits& limits, const Remembered& remembered,
                         ResponsesCall& out) {
  auto& conversation = out.request.conversation;
  const std::string* instructions = reader.string("instructions");
  if (instructions != nullptr && !instructions->empty()) {
    conversation.messages.push_back({.role = text::Role::kSystem, .content = *instructions});
  }
  json::Array history;
  if (const std::string* previous = reader.string("previous_response_id"); previous != nullptr && !previous->empty()) {
    out.previous_response_id = *previous;
    BALTORO_TRY(history, remembered.conversation(*previous));
  }
  if (history.size() + out.input.size() > limits.max_messages) {
    reader.fail("input", fmt::format("a conversation may have {} items, this one has {}", limits.max_messages,
                                     history.size() + out.input.size()));
  }
  if (!reader.ok()) return reader.status();
  out.unreadable_reasoning = read_items(reader, history, out.input, limits, remembered, conversation);
  if (reader.ok() && conversation.messages.empty()) reader.missing("input", "text or at least one item");
  return reader.status();
}

// The members of the response object that repeat the request, in the order in which OpenAI writes them.
json::Object make_echo(const json::Value& body, const ResponsesCall& call, const RequestNotes& notes, json::Value text,
                       json::Value reasoning) {
  const auto as_sent = [&](const char* key, json::Value otherwise) {
    const json::Value* member = body.find(key);
    return member == nullptr || member->is_null() ? std::move(otherwise) : *member;
  };
  json::Object out;
  const auto if_sent = [&](const char* key, const json::Value& note) {
    if (!note.is_null()) out.emplace_back(key, note);
  };
  out.emplace_back("instructions", as_sent("instructions", nullptr));
  out.emplace_back("max_output_tokens", as_sent("max_output_tokens", nullptr));
  out.emplace_back("max_tool_calls", as_sent("max_tool_calls", nullptr));
  out.emplace_back("parallel_tool_calls", call.request.parallel_tool_calls);
  out.emplace_back("previous_response_id", as_sent("previous_response_id", nullptr));
  if_sent("prompt_cache_key", notes.prompt_cache_key);
  if_sent("prompt_cache_retention", notes.prompt_cache_retention);
  out.emplace_back("reasoning", std::move(reasoning));
  if_sent("safety_identifier", notes.safety_identifier);
  out.emplace_back("service_tier", "default");
  out.emplace_back("store", call.store);
  out.emplace_back("temperature", as_sent("temperature", nullptr));
  out.emplace_back("text", std::move(text));
  out.emplace_back("tool_choice", as_sent("tool_choice", "auto"));
  out.emplace_back("tools", as_sent("tools", json::Array{}));
  out.emplace_back("top_logprobs", call.request.limits.top_logprobs);
  out.emplace_back("top_p", as_sent("top_p", nullptr));
  out.emplace_back("truncation", call.truncate ? "auto" : "disabled");
  if_sent("user", notes.user);
  out.emplace_back("metadata", notes.metadata.is_null() ? json::Value(json::Object{}) : notes.metadata);
  return out;
}

}  // namespace

Result<ResponsesCall> parse_responses(const json::Value& body, const ApiLimits& limits, const Remembered& remembered) {
  FieldReader reader(body, "");
  if (!reader.ok()) return reader.status().error();
  ResponsesCall out;
  llm::ChatRequest& request = out.request;
  out.model = read_model(reader);
  refuse_unsupported(reader);
  request.conversation.tools = read_tools(reader, ToolShape::kFlat, limits);
  read_input(reader, limits, out);
  if (!reader.ok()) return reader.status().error();
  BALTORO_TRY_STATUS(read_conversation(reader, limits, remembered, out));
  read_tool_choice(reader, ToolShape::kFlat, request);
  request.parallel_tool_calls = reader.boolean("parallel_tool_calls").value_or(true);
  request.sampling = read_sampling(reader, limits);
  request.limits = read_limits(reader, limits);
  if (request.limits.n != 1) reader.fail("n", "one answer a request is given here");
  request.limits.max_tokens = reader.integer("max_output_tokens", 1, INT64_MAX);
  (void)reader.integer("max_tool_calls", 0, INT64_MAX);  // counts the calls of tools that the server runs: none
  read_include(reader, out);
  if (const auto top = reader.integer("top_logprobs", 0, limits.max_top_logprobs)) {
    request.limits.top_logprobs = static_cast<std::int32_t>(*top);
    request.limits.logprobs = request.limits.logprobs || *top > 0;
  }
  json::Value text = read_text_format(reader, request.response_format);
  json::Value reasoning = read_reasoning(reader, request);
  read_truncation(reader, out);
  const RequestNotes notes = read_notes(reader, limits);
  out.store = reader.boolean("store").value_or(true);
  out.stream = reader.boolean("stream").value_or(false);
  (void)reader.object("stream_options");
  if (!reader.ok()) return reader.status().error();
  out.echo = make_echo(body, out, notes, std::move(text), std::move(reasoning));
  return out;
}

}  // namespace baltoro::server
