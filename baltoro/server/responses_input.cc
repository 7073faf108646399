// SPDX-License-Identifier: Apache-2.0
// The items of a Responses request become a conversation.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <unordered_set>

#include "baltoro/server/openai_content.h"
#include "baltoro/server/openai_tools.h"
#include "baltoro/server/responses.h"

namespace baltoro::server {
namespace {

// Records of tools that ran elsewhere: they hold nothing that this model could read.
constexpr std::array<std::string_view, 10> kLeftOut = {
    "web_search_call", "file_search_call",     "image_generation_call", "code_interpreter_call", "mcp_list_tools",
    "mcp_call",        "mcp_approval_request", "mcp_approval_response", "tool_search_call",      "tool_search_output"};

class ItemReader {
 public:
  ItemReader(const ApiLimits& limits, const Remembered& remembered, text::Conversation& conversation)
      : limits_(limits), remembered_(remembered), conversation_(conversation) {}

  void read(FieldReader& item, const json::Value& value, bool referred = false);
  // From now on: items before the model's latest ones, or not.
  void set_earlier(bool earlier) { earlier_ = earlier; }
  std::int64_t unreadable() const { return unreadable_; }

 private:
  void read_message(FieldReader& item);
  void read_reasoning(FieldReader& item);
  void read_call(FieldReader& item, const char* arguments_key);
  void read_output(FieldReader& item);
  void read_reference(FieldReader& item);
  void read_more_tools(FieldReader& item);

  text::Message& append(text::Role role, std::string content) {
    conversation_.messages.push_back({.role = role, .content = std::move(content)});
    return conversation_.messages.back();
  }
  // The assistant message that may still take what comes next, or a new one.
  text::Message& assistant(bool fits) {
    if (open_ && fits) return conversation_.messages.back();
    open_ = true;
    return append(text::Role::kAssistant, {});
  }

  const ApiLimits& limits_;
  const Remembered& remembered_;
  text::Conversation& conversation_;
  std::unordered_set<std::string> call_ids_;
  std::int64_t unreadable_ = 0;
  bool earlier_ = false;
  bool open_ = false;  // the last message is an assistant's that is not complete yet
};

void ItemReader::read_message(FieldReader& item) {
  const std::string* role = item.string("role");
  if (item.ok() && role == nullptr) item.missing("role", "the message's role");
  auto content =
      item.ok() ? read_text(item, "content", limits_, earlier_ ? Unread::kNoted : Unread::kRefused) : std::nullopt;
  if (item.ok() && !content) item.missing("content", "a string or an array of parts");
  if (!item.ok()) return;
  if (*role == "assistant") {
    const text::Message* last = open_ ? &conversation_.messages.back() : nullptr;
    assistant(last != nullptr && last->content.empty() && last->tool_calls.empty()).content = *std::move(content);
    return;
  }
  open_ = false;
  if (*role == "user") {
    append(text::Role::kUser, *std::move(content));
  } else if (*role == "system" || *role == "developer") {
    append(text::Role::kSystem, *std::move(content));
  } else {
    item.fail("role", fmt::format("user, assistant, system or developer is needed, \"{}\" seen", role->substr(0, 64)));
  }
}

// Our own sealed text first: `content` may have been dropped or cut on the way.
void ItemReader::read_reasoning(FieldReader& item) {
  std::optional<std::string> reasoning;
  const std::string* sealed = item.string("encrypted_content");
  if (sealed != nullptr && !sealed->empty()) reasoning = remembered_.open(*sealed);
  if (item.ok() && !reasoning) reasoning = read_text(item, "content", limits_, Unread::kRefused);
  if (!item.ok()) return;
  if (!reasoning) {
    unreadable_ += sealed != nullptr && !sealed->empty();
    return;
  }
  const text::Message* last = open_ ? &conversation_.messages.back() : nullptr;
  assistant(last != nullptr && last->content.empty() && last->tool_calls.empty()).reasoning += *reasoning;
}

void ItemReader::read_call(FieldReader& item, const char* arguments_key) {
  const std::string* id = item.string("call_id");
  const std::string* name = item.ok() ? item.string("name") : nullptr;
  const std::string* arguments = item.ok() ? item.string(arguments_key) : nullptr;
  if (item.ok() && id == nullptr) item.missing("call_id", "the call's id");
  if (item.ok() && name == nullptr) item.missing("name", "the tool's name");
  if (item.ok() && arguments == nullptr) item.missing(arguments_key, "a string");
  if (item.ok() && (name->empty() || name->size() > limits_.max_name_bytes)) {
    item.fail("name", fmt::format("1 to {} bytes are needed, {} seen", limits_.max_name_bytes, name->size()));
  }
  if (!item.ok()) return;
  const bool custom = std::string_view(arguments_key) == "input";
  std::string text = custom ? json::dump(json::Object{{"input", *arguments}}) : *arguments;
  assistant(true).tool_calls.push_back({.id = *id, .name = *name, .arguments = std::move(text)});
  call_ids_.insert(*id);
}

void ItemReader::read_output(FieldReader& item) {
  const std::string* id = item.string("call_id");
  if (item.ok() && id == nullptr) item.missing("call_id", "the id of the call that this answers");
  auto output = item.ok() ? read_text(item, "output", limits_, Unread::kNoted) : std::nullopt;
  if (item.ok() && !output) item.missing("output", "a string or an array of parts");
  if (item.ok() && !call_ids_.contains(*id)) {
    item.fail("call_id", fmt::format("no call before this item has the id \"{}\"", id->substr(0, 64)));
  }
  if (!item.ok()) return;
  open_ = false;
  append(text::Role::kTool, *std::move(output)).tool_call_id = *id;
}

void ItemReader::read_reference(FieldReader& item) {
  const std::string* id = item.string("id");
  if (item.ok() && id == nullptr) item.missing("id", "the id of an earlier item");
  if (!item.ok()) return;
  const auto found = remembered_.item(*id);
  if (!found.ok()) return item.fail("id", found.error().message);
  FieldReader referred(*found, item.path(""));
  read(referred, *found, true);
  if (!referred.ok()) item.fail_with(referred.status().error());
}

void ItemReader::read_more_tools(FieldReader& item) {
  auto& tools = conversation_.tools;
  for (text::Tool& tool : read_tools(item, ToolShape::kFlat, limits_)) {
    if (std::ranges::any_of(tools, [&](const text::Tool& known) { return known.name == tool.name; })) continue;
    if (tools.size() >= limits_.max_tools) {
      return item.fail("tools", fmt::format("at most {} tools are accepted", limits_.max_tools));
    }
    tools.push_back(std::move(tool));
  }
}

void ItemReader::read(FieldReader& item, const json::Value& value, bool referred) {
  const std::string* type = item.ok() ? item.string("type") : nullptr;
  if (!item.ok()) return;
  // The short forms: a message without a type, a reference that is an id alone.
  const bool bare_reference = type == nullptr && value.find("role") == nullptr && value.find("id") != nullptr;
  const std::string_view kind = type != nullptr  ? std::string_view(*type)
                                : bare_reference ? "item_reference"
                                                 : "message";
  if (kind == "message") return read_message(item);
  if (kind == "reasoning") return read_reasoning(item);
  if (kind == "function_call") return read_call(item, "arguments");
  if (kind == "custom_tool_call") return read_call(item, "input");
  if (kind == "function_call_output" || kind == "custom_tool_call_output") return read_output(item);
  if (kind == "item_reference" && !referred) return read_reference(item);
  if (kind == "additional_tools") return read_more_tools(item);
  if (std::ranges::find(kLeftOut, kind) != kLeftOut.end()) return;
  item.fail("type", fmt::format("items of type \"{}\" are not understood here", kind.substr(0, 64)));
}

// Whether the model wrote that item.
bool is_models(const json::Value& item) {
  const json::Value *role = item.find("role"), *type = item.find("type");
  return (role != nullptr && *role == json::Value("assistant")) ||
         (type != nullptr && (*type == json::Value("function_call") || *type == json::Value("reasoning")));
}

}  // namespace

std::int64_t read_items(FieldReader& reader, const json::Array& history, const json::Array& input,
                        const ApiLimits& limits, const Remembered& remembered, text::Conversation& conversation) {
  ItemReader into(limits, remembered, conversation);
  std::size_t last_answer = input.size();
  while (last_answer > 0 && !is_models(input[last_answer - 1])) --last_answer;
  const auto read = [&](const char* key, const json::Array& items) {
    for (std::size_t i = 0; i < items.size() && reader.ok(); ++i) {
      into.set_earlier(&items == &history || i < last_answer);
      FieldReader item(items[i], reader.path(key, i));
      into.read(item, items[i]);
      if (!item.ok()) reader.fail_with(item.status().error());
    }
  };
  read("previous_response_id", history);
  read("input", input);
  return into.unreadable();
}

}  // namespace baltoro::server
