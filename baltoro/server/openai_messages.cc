// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "baltoro/server/openai_chat.h"
#include "baltoro/server/openai_content.h"
#include "baltoro/server/openai_tools.h"

namespace baltoro::server {
namespace {

void read_tool_calls(FieldReader& reader, const ApiLimits& limits, text::Message& message) {
  const json::Array* calls = reader.array("tool_calls", limits.max_messages);
  for (std::size_t i = 0; calls != nullptr && i < calls->size() && reader.ok(); ++i) {
    FieldReader call((*calls)[i], reader.path("tool_calls", i));
    const std::string* id = call.ok() ? call.string("id") : nullptr;
    const std::string* type = call.ok() ? call.string("type") : nullptr;
    if (call.ok() && id == nullptr) call.missing("id", "the call's id");
    if (type != nullptr && *type != "function" && *type != "builtin_function") {
      call.fail("type", "only \"function\" is accepted");
    }
    const json::Value* function = call.ok() ? call.object("function") : nullptr;
    if (call.ok() && function == nullptr) call.missing("function", "an object");
    if (!call.ok()) return reader.fail_with(call.status().error());
    FieldReader inner(*function, call.path("function"));
    const std::string* name = inner.string("name");
    const std::string* arguments = inner.string("arguments");
    if (inner.ok() && name == nullptr) inner.missing("name", "the function's name");
    if (inner.ok() && (name->empty() || name->size() > limits.max_name_bytes)) {
      inner.fail("name", fmt::format("1 to {} bytes are needed, {} seen", limits.max_name_bytes, name->size()));
    }
    if (inner.ok() && arguments == nullptr) inner.missing("arguments", "a string of JSON");
    if (!inner.ok()) return reader.fail_with(inner.status().error());
    message.tool_calls.push_back({.id = *id, .name = *name, .arguments = *arguments});
  }
}

void read_assistant(FieldReader& reader, const ApiLimits& limits, text::Message& message, bool has_content) {
  read_tool_calls(reader, limits, message);
  const std::string* reasoning = reader.string("reasoning_content");
  if (reasoning == nullptr && reader.ok()) reasoning = reader.string("reasoning");
  if (reasoning != nullptr) message.reasoning = *reasoning;
  message.partial = reader.boolean("partial").value_or(false);
  if (reader.any("function_call") != nullptr) reader.fail("function_call", "is not accepted, use tool_calls");
  if (!has_content && message.tool_calls.empty() && message.reasoning.empty()) {
    reader.missing("content", "a string, or tool_calls in its place,");
  }
}

std::optional<text::Role> role_of(std::string_view name) {
  if (name == "system" || name == "developer") return text::Role::kSystem;
  if (name == "user") return text::Role::kUser;
  if (name == "assistant") return text::Role::kAssistant;
  if (name == "tool") return text::Role::kTool;
  return {};
}

bool is_assistants(const json::Value& message) {
  const json::Value* role = message.find("role");
  return role != nullptr && *role == json::Value("assistant");
}

// `earlier`: the assistant has spoken since.
text::Message read_message(FieldReader& reader, const ApiLimits& limits, bool earlier) {
  text::Message out;
  const std::string* role = reader.ok() ? reader.string("role") : nullptr;
  if (reader.ok() && role == nullptr) reader.missing("role", "the message's role");
  if (!reader.ok()) return out;
  const auto known = role_of(*role);
  if (!known) {
    reader.fail("role",
                fmt::format("system, developer, user, assistant or tool is needed, \"{}\" seen", role->substr(0, 64)));
    return out;
  }
  out.role = *known;
  const bool noted = earlier || out.role == text::Role::kTool;
  auto content = read_text(reader, "content", limits, noted ? Unread::kNoted : Unread::kRefused);
  const std::string* name = reader.string("name");
  if (name != nullptr && name->size() > limits.max_name_bytes) {
    reader.fail("name", fmt::format("at most {} bytes are accepted, {} seen", limits.max_name_bytes, name->size()));
  } else if (name != nullptr && !name->empty()) {
    out.name = *name;
  }
  if (out.role == text::Role::kAssistant) {
    read_assistant(reader, limits, out, content.has_value());
  } else {
    const bool declares = out.role == text::Role::kSystem && reader.any("tools") != nullptr;
    if (!content && !declares && reader.ok()) reader.missing("content", "a string or an array of parts");
    if (reader.boolean("partial").value_or(false)) reader.fail("partial", "only the last assistant message may be");
  }
  if (out.role == text::Role::kTool) {
    const std::string* id = reader.string("tool_call_id");
    if (id == nullptr) reader.missing("tool_call_id", "the id of the call that this answers");
    if (id != nullptr) out.tool_call_id = *id;
  }
  if (content) out.content = *std::move(content);
  return out;
}

}  // namespace

namespace {

// Tools declared by a message: beside the rules for all tools, names must begin with a letter and be new.
void read_message_tools(FieldReader& reader, const ApiLimits& limits, const text::Message& message,
                        std::vector<text::Tool>& tools) {
  if (message.role != text::Role::kSystem) return reader.fail("tools", "only system messages may declare tools");
  if (!message.content.empty()) return reader.fail("content", "a message that declares tools must have no content");
  std::vector<text::Tool> more = read_tools(reader, ToolShape::kNested, limits);
  for (std::size_t i = 0; i < more.size() && reader.ok(); ++i) {
    const std::string& name = more[i].name;
    const auto same = [&](const text::Tool& tool) { return tool.name == name; };
    const char first = name.front();
    const bool letter = (first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z') || first == '_';
    if (!letter && first != '$') {
      reader.fail("tools", fmt::format("[{}].function.name: a letter is needed first", i));
    } else if (std::ranges::any_of(tools, same)) {
      reader.fail("tools", fmt::format("\"{}\" is declared twice", name.substr(0, 64)));
    } else if (tools.size() >= limits.max_tools) {
      reader.fail("tools", fmt::format("at most {} tools are accepted", limits.max_tools));
    } else {
      tools.push_back(std::move(more[i]));
    }
  }
}

}  // namespace

void read_messages(FieldReader& reader, const ApiLimits& limits, text::Conversation& conversation) {
  const json::Array* messages = reader.array("messages", limits.max_messages);
  if (messages == nullptr) return reader.missing("messages", "an array of messages");
  if (messages->empty()) reader.fail("messages", "at least one message is needed");
  std::size_t last_answer = messages->size();
  while (last_answer > 0 && !is_assistants((*messages)[last_answer - 1])) --last_answer;
  std::unordered_set<std::string> call_ids;
  auto& out = conversation.messages;
  out.reserve(messages->size());
  for (std::size_t i = 0; i < messages->size() && reader.ok(); ++i) {
    FieldReader message((*messages)[i], reader.path("messages", i));
    text::Message read = read_message(message, limits, i < last_answer);
    for (const text::ToolCall& call : read.tool_calls) call_ids.insert(call.id);
    if (message.ok() && read.tool_call_id && !call_ids.contains(*read.tool_call_id)) {
      message.fail("tool_call_id",
                   fmt::format("no tool call before this message has the id \"{}\"", read.tool_call_id->substr(0, 64)));
    }
    if (message.ok() && read.partial && i + 1 != messages->size()) {
      message.fail("partial", "only the last assistant message may be partial");
    }
    const bool declares = message.ok() && message.any("tools") != nullptr;
    if (declares) read_message_tools(message, limits, read, conversation.tools);
    if (!message.ok()) reader.fail_with(message.status().error());
    if (!declares) out.push_back(std::move(read));
  }
  if (reader.ok() && out.empty()) reader.fail("messages", "at least one message that says something is needed");
}

}  // namespace baltoro::server
