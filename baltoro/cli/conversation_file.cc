// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/conversation_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "baltoro/base/file.h"
#include "baltoro/base/json.h"

namespace baltoro::cli {
namespace {

constexpr std::size_t kMaxFileBytes = 64 << 20;
constexpr std::size_t kMaxMessages = 100'000;
constexpr std::size_t kMaxCalls = 1'000;

using text::Message;
using text::Role;
using text::role_name;

json::Value to_json(const Message& message) {
  json::Value out;
  out.set("role", role_name(message.role));
  if (message.name) out.set("name", *message.name);
  if (message.tool_call_id) out.set("tool_call_id", *message.tool_call_id);
  if (!message.reasoning.empty()) out.set("reasoning_content", message.reasoning);
  out.set("content", message.content);
  for (const auto& call : message.tool_calls) {
    json::Value function;
    function.set("name", call.name);
    function.set("arguments", call.arguments);
    json::Value entry;
    entry.set("id", call.id);
    entry.set("type", "function");
    entry.set("function", std::move(function));
    if (out.find("tool_calls") == nullptr) out.set("tool_calls", json::Array{});
    out.find("tool_calls")->push_back(std::move(entry));
  }
  return out;
}

Error wrong(const std::string& where, std::string_view needed, const json::Value* seen) {
  return Error{Errc::kInvalidArgument, fmt::format("[conversation] {}: {} needed, found {}", where, needed,
                                                   seen == nullptr ? "nothing" : json::kind_name(seen->kind()))};
}

Error wrong(const std::string& where, std::string_view what) {
  return Error{Errc::kInvalidArgument, fmt::format("[conversation] {}: {}", where, what)};
}

Result<std::string> required_string(const json::Value& object, std::string_view key, const std::string& where) {
  const json::Value* value = object.find(key);
  if (value == nullptr || !value->is_string()) return wrong(fmt::format("{}.{}", where, key), "a string", value);
  return value->as_string();
}

// A string, or empty where it is absent or null.
Result<std::string> optional_string(const json::Value& object, std::string_view key, const std::string& where) {
  const json::Value* value = object.find(key);
  if (value == nullptr || value->is_null()) return std::string();
  return required_string(object, key, where);
}

// A string, null, or an array of {"type":"text","text":..}.
Result<std::string> read_content(const json::Value& object, const std::string& where) {
  const json::Value* value = object.find("content");
  if (value == nullptr || !value->is_array()) return optional_string(object, "content", where);
  std::string content;
  for (std::size_t i = 0; i < value->as_array().size(); ++i) {
    const json::Value& part = value->as_array()[i];
    const std::string place = fmt::format("{}.content[{}]", where, i);
    if (!part.is_object()) return wrong(place, "an object", &part);
    BALTORO_TRY(const std::string type, required_string(part, "type", place));
    if (type != "text") return wrong(place + ".type", fmt::format("\"text\" needed, found \"{}\"", type));
    BALTORO_TRY(const std::string piece, required_string(part, "text", place));
    content += piece;
  }
  return content;
}

Result<Role> read_role(const json::Value& object, const std::string& where) {
  BALTORO_TRY(const std::string role, required_string(object, "role", where));
  if (role == "developer") return Role::kSystem;
  for (const Role known : {Role::kSystem, Role::kUser, Role::kAssistant, Role::kTool}) {
    if (role == role_name(known)) return known;
  }
  return wrong(where + ".role", "system, developer, user, assistant or tool needed");
}

Result<std::vector<text::ToolCall>> read_calls(const json::Value& object, const std::string& where) {
  std::vector<text::ToolCall> calls;
  const json::Value* list = object.find("tool_calls");
  if (list == nullptr || list->is_null()) return calls;
  if (!list->is_array()) return wrong(where + ".tool_calls", "an array", list);
  if (list->as_array().size() > kMaxCalls) {
    return wrong(where + ".tool_calls", fmt::format("at most {} calls needed", kMaxCalls));
  }
  for (std::size_t i = 0; i < list->as_array().size(); ++i) {
    const json::Value& entry = list->as_array()[i];
    const std::string place = fmt::format("{}.tool_calls[{}]", where, i);
    if (!entry.is_object()) return wrong(place, "an object", &entry);
    const json::Value* function = entry.find("function");
    if (function == nullptr || !function->is_object()) return wrong(place + ".function", "an object", function);
    text::ToolCall call;
    BALTORO_TRY(call.id, required_string(entry, "id", place));
    BALTORO_TRY(call.name, required_string(*function, "name", place + ".function"));
    BALTORO_TRY(call.arguments, required_string(*function, "arguments", place + ".function"));
    if (call.id.empty() || call.name.empty()) return wrong(place, "an id and a name needed, one is empty");
    calls.push_back(std::move(call));
  }
  return calls;
}

Result<Message> read_message(const json::Value& object, const std::string& where) {
  if (!object.is_object()) return wrong(where, "an object", &object);
  Message message;
  BALTORO_TRY(message.role, read_role(object, where));
  BALTORO_TRY(message.content, read_content(object, where));
  BALTORO_TRY(std::string name, optional_string(object, "name", where));
  if (!name.empty()) message.name = std::move(name);
  if (message.role == Role::kAssistant) {
    BALTORO_TRY(message.tool_calls, read_calls(object, where));
    BALTORO_TRY(message.reasoning, optional_string(object, "reasoning_content", where));
    if (message.reasoning.empty()) {
      BALTORO_TRY(message.reasoning, optional_string(object, "reasoning", where));
    }
  } else if (message.role == Role::kTool) {
    BALTORO_TRY(message.tool_call_id, required_string(object, "tool_call_id", where));
  }
  return message;
}

// Follows which calls are still open, message by message.
class OpenCalls {
 public:
  Status accept(const Message& message, const std::string& where) {
    if (message.role == Role::kTool) {
      const auto found = std::find(open_.begin(), open_.end(), *message.tool_call_id);
      if (found == open_.end()) return wrong(where + ".tool_call_id", "no open call of the assistant has this id");
      open_.erase(found);
      return {};
    }
    BALTORO_TRY_STATUS(none_left(where));
    for (const auto& call : message.tool_calls) {
      if (std::find(open_.begin(), open_.end(), call.id) != open_.end()) {
        return wrong(where + ".tool_calls", "two calls have the same id");
      }
      open_.push_back(call.id);
    }
    return {};
  }
  Status none_left(const std::string& where) const {
    if (open_.empty()) return {};
    return wrong(where, fmt::format("the call \"{}\" before it has no result", open_.front()));
  }

 private:
  std::vector<std::string> open_;
};

}  // namespace

std::string write_conversation(const std::vector<Message>& messages) {
  json::Array list;
  for (const auto& message : messages) list.push_back(to_json(message));
  json::Value document;
  document.set("messages", std::move(list));
  return json::dump(document, {.comma = ",", .colon = ": ", .indent = 1}) + "\n";
}

Result<std::vector<Message>> read_conversation(std::string_view text) {
  BALTORO_TRY(const json::Value document, json::parse(text, {.max_bytes = kMaxFileBytes, .max_depth = 64}));
  const json::Value* list = document.is_object() ? document.find("messages") : &document;
  if (list == nullptr || !list->is_array()) return wrong("messages", "an array", list);
  if (list->as_array().size() > kMaxMessages) {
    return Error{Errc::kTooLarge, fmt::format("[conversation] at most {} messages needed, found {}", kMaxMessages,
                                              list->as_array().size())};
  }
  std::vector<Message> messages;
  OpenCalls open;
  for (std::size_t i = 0; i < list->as_array().size(); ++i) {
    const std::string where = fmt::format("messages[{}]", i);
    BALTORO_TRY(Message message, read_message(list->as_array()[i], where));
    BALTORO_TRY_STATUS(open.accept(message, where));
    messages.push_back(std::move(message));
  }
  BALTORO_TRY_STATUS(open.none_left("the end"));
  return messages;
}

Status save_conversation(const std::string& path, const std::vector<Message>& messages) {
  return write_file_atomically(path, write_conversation(messages));
}

Result<std::vector<Message>> load_conversation(const std::string& path) {
  BALTORO_TRY(const std::string text, read_file(path, kMaxFileBytes));
  return read_conversation(text);
}

}  // namespace baltoro::cli
