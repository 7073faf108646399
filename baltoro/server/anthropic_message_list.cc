// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "baltoro/server/anthropic_blocks.h"
#include "baltoro/server/anthropic_call_ids.h"
#include "baltoro/server/anthropic_messages.h"

namespace baltoro::server {
namespace {

// What Anthropic's servers only can read again, at any depth of a server tool's result.
void drop_encrypted(json::Value& value) {
  if (value.is_array()) {
    for (json::Value& item : value.as_array()) drop_encrypted(item);
  } else if (value.is_object()) {
    std::erase_if(value.as_object(), [](const json::Member& member) { return member.first.starts_with("encrypted_"); });
    for (auto& [key, member] : value.as_object()) drop_encrypted(member);
  }
}

// Arguments that were no JSON object are shown to clients under this name, and come back so.
const std::string* invalid_json_of(const json::Value& input) {
  const auto& members = input.as_object();
  const bool only = members.size() == 1 && members.front().first == kInvalidJson && members.front().second.is_string();
  return only ? &members.front().second.as_string() : nullptr;
}

bool is_empty(const text::Message& message) {
  return message.content.empty() && message.reasoning.empty() && message.tool_calls.empty();
}

// Builds a conversation message by message.
class MessageList {
 public:
  explicit MessageList(const MessagesContext& context) : context_(context), max_blocks_(context.limits.max_messages) {}

  void system(const std::string& text) {
    close_turn();
    if (!text.empty()) out_.push_back({.role = text::Role::kSystem, .content = text});
  }
  void user(FieldReader& message, bool earlier);  // earlier: the assistant has spoken since
  void assistant(FieldReader& message);
  void system_message(FieldReader& message, bool user_follows);
  void end(FieldReader& reader, std::size_t messages);
  std::vector<text::Message> take() { return std::move(out_); }

 private:
  void assistant_block(FieldReader& block, const std::string& type);
  void thinking(FieldReader& block, bool redacted);
  void call(FieldReader& block, bool runs_here);
  void result(FieldReader& block);
  void server_result(FieldReader& block);
  void push_result(const std::string& id, std::string text);
  void need_answers(FieldReader& message);
  std::string unanswered() const;
  void close_turn();
  text::Message& turn() { return out_.back(); }

  const MessagesContext& context_;
  const std::size_t max_blocks_;
  std::vector<text::Message> out_;
  NativeCallIds ids_;
  std::unordered_map<std::string, std::string> called_;  // every tool_use so far: id -> name
  std::vector<std::string> calls_;                       // of the latest turn
  std::unordered_set<std::string> open_;                 // those of them without a result yet
  bool turn_open_ = false;                               // out_ ends with an assistant's turn that may go on
};

// Every call of the assistant's turn has its result before anything else is said.
void MessageList::need_answers(FieldReader& message) {
  if (!open_.empty()) message.fail_with(field_error(message.path(""), unanswered()));
}

std::string MessageList::unanswered() const {
  return fmt::format(
      "`tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a "
      "corresponding `tool_result` block in the next message",
      std::ranges::find_if(calls_, [&](const std::string& id) { return open_.contains(id); })->substr(0, 64));
}

// The assistant's turn is over. What a server tool's result left open behind it says nothing.
void MessageList::close_turn() {
  const bool after_result = turn_open_ && out_.size() > 1 && out_[out_.size() - 2].role == text::Role::kTool;
  turn_open_ = false;
  if (after_result && is_empty(out_.back())) out_.pop_back();
}

void MessageList::user(FieldReader& message, bool earlier) {
  close_turn();
  const Unread unread = earlier ? Unread::kNoted : Unread::kRefused;
  std::string text;
  bool results = false;
  const json::Value* content = message.any("content");
  if (content == nullptr) return message.missing("content", "a string or an array of blocks");
  if (content->is_string()) {
    text = content->as_string();
  } else {
    each_block(message, "content", max_blocks_, [&](FieldReader& block, const std::string& type) {
      if (type != "tool_result") return append_line(text, read_inline_text(block, type, max_blocks_, unread));
      if (!text.empty()) return block.fail("", "`tool_result` blocks must come before other content");
      results = true;
      result(block);
    });
  }
  if (!message.ok()) return;
  if (text.empty() && !results) return message.fail("content", "must not be empty");
  if (text.empty()) return;
  need_answers(message);
  out_.push_back({.role = text::Role::kUser, .content = std::move(text)});
}

void MessageList::result(FieldReader& block) {
  const std::string& id = needed_string(block, "tool_use_id", "the id of the call that this answers");
  if (!block.ok()) return;
  if (open_.erase(id) == 0) {
    return block.fail(
        "", called_.contains(id) && std::ranges::find(calls_, id) != calls_.end()
                ? fmt::format("each `tool_use` must have a single result, a second one for {} seen", id.substr(0, 64))
                : fmt::format("unexpected `tool_use_id` found in `tool_result` blocks: {}. Each "
                              "`tool_result` block must have a corresponding `tool_use` block in the "
                              "previous message",
                              id.substr(0, 64)));
  }
  const bool failed = block.boolean("is_error").value_or(false);
  std::string text = read_text_or_blocks(block, "content", max_blocks_, Unread::kNoted);
  if (failed) text = text.empty() ? std::string("Error") : "Error: " + text;
  push_result(id, std::move(text));
}

// Under the tool's name, as Kimi's guidance for tool calls has it.
void MessageList::push_result(const std::string& id, std::string text) {
  out_.push_back(
      {.role = text::Role::kTool, .name = called_[id], .content = std::move(text), .tool_call_id = ids_.of_result(id)});
}

void MessageList::assistant(FieldReader& message) {
  const json::Value* content = message.any("content");
  if (content == nullptr) return message.missing("content", "a string or an array of blocks");
  if (!turn_open_) {
    need_answers(message);
    calls_.clear();
    turn_open_ = true;
    out_.push_back({.role = text::Role::kAssistant});
  }
  if (content->is_string()) {
    turn().content += content->as_string();
  } else {
    each_block(message, "content", max_blocks_,
               [&](FieldReader& block, const std::string& type) { assistant_block(block, type); });
  }
}

void MessageList::assistant_block(FieldReader& block, const std::string& type) {
  if (type == "text") {
    turn().content += needed_string(block, "text", "a string");
  } else if (type == "thinking" || type == "redacted_thinking") {
    thinking(block, type == "redacted_thinking");
  } else if (type == "tool_use") {
    call(block, false);
  } else if (type == "server_tool_use" || type == "mcp_tool_use") {
    call(block, true);
  } else if (type.ends_with("_tool_result")) {
    server_result(block);
  } else if (type == "compaction") {
    if (const std::string* summary = block.string("content")) append_line(turn().content, *summary);
  } else {
    block.fail("type", fmt::format("blocks of type \"{}\" are not accepted in an assistant's message: this model "
                                   "writes text",
                                   type.substr(0, 64)));
  }
}

// "thinking" shows its text; "redacted_thinking" has it in `data`, where another maker's cannot be read.
void MessageList::thinking(FieldReader& block, bool redacted) {
  const std::string shown = redacted ? std::string() : needed_string(block, "thinking", "a string");
  const std::string* signature = block.ok() ? block.string(redacted ? "data" : "signature") : nullptr;
  if (!block.ok()) return;
  const auto seen = context_.signer.read(signature == nullptr ? std::string_view() : *signature, shown);
  if (seen.origin == ThinkingSigner::Origin::kAltered) {
    return block.fail(
        "", redacted ? "Invalid `data` in `redacted_thinking` block" : "Invalid `signature` in `thinking` block");
  }
  turn().reasoning += seen.thinking;
}

void MessageList::call(FieldReader& block, bool runs_here) {
  const std::string& id = needed_string(block, "id", "the call's id");
  const std::string& name = needed_string(block, "name", "the tool's name");
  const json::Value* input = block.ok() ? block.object("input") : nullptr;
  if (block.ok() && input == nullptr) block.missing("input", "an object");
  if (!block.ok()) return;
  if (id.empty() || id.size() > context_.limits.max_name_bytes) {
    return block.fail("id",
                      fmt::format("1 to {} bytes are needed, {} seen", context_.limits.max_name_bytes, id.size()));
  }
  if (name.empty() || name.size() > context_.limits.max_name_bytes) {
    return block.fail("name",
                      fmt::format("1 to {} bytes are needed, {} seen", context_.limits.max_name_bytes, name.size()));
  }
  if (!called_.emplace(id, name).second) return block.fail("id", "`tool_use` ids must be unique");
  const std::string* invalid = invalid_json_of(*input);
  turn().tool_calls.push_back(
      {.id = ids_.of_call(id, name), .name = name, .arguments = invalid != nullptr ? *invalid : json::dump(*input)});
  if (runs_here) return;
  calls_.push_back(id);
  open_.insert(id);
}

// What a server tool gave stands inside the assistant's message: to the model it is a tool's answer, after which the
// assistant goes on.
void MessageList::server_result(FieldReader& block) {
  const std::string& id = needed_string(block, "tool_use_id", "the id of the call that this answers");
  if (!block.ok()) return;
  if (!called_.contains(id) || open_.contains(id)) {
    return block.fail("tool_use_id", "no server tool call before this block has that id");
  }
  json::Value content = block.any("content") == nullptr ? json::Value() : *block.any("content");
  drop_encrypted(content);
  std::string text = content.is_string() ? content.as_string() : json::dump(content);
  push_result(id, std::move(text));
  out_.push_back({.role = text::Role::kAssistant});
}

// A system message may stand anywhere. With clear_at "next_user_message" it is not shown once a user has spoken again.
void MessageList::system_message(FieldReader& message, bool user_follows) {
  const std::string* clear_at = message.string("clear_at");
  const json::Value* content = message.any("content");
  std::string text;
  if (content != nullptr && content->is_array()) {
    each_block(message, "content", max_blocks_, [&](FieldReader& block, const std::string& type) {
      if (type == "tool_addition" || type == "tool_removal") return;  // tools are declared once, at the top
      append_line(text, read_inline_text(block, type, max_blocks_));
    });
  } else {
    text = read_text_or_blocks(message, "content", max_blocks_);
  }
  if (message.ok() && (clear_at == nullptr || *clear_at != "next_user_message" || !user_follows)) system(text);
}

// The last assistant's turn is continued; one without anything is as none.
void MessageList::end(FieldReader& reader, std::size_t messages) {
  if (!open_.empty()) return reader.fail_with(field_error(reader.path("messages", messages - 1), unanswered()));
  if (!turn_open_ || !turn().tool_calls.empty()) return;
  if (is_empty(turn())) {
    out_.pop_back();
  } else {
    turn().partial = true;
  }
}

std::string_view role_of(const json::Value& message) {
  const json::Value* role = message.find("role");
  return role != nullptr && role->is_string() ? std::string_view(role->as_string()) : std::string_view();
}

void read_messages_into(MessageList& list, FieldReader& reader, const json::Array& messages) {
  std::size_t last_user = 0, last_answer = 0;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (role_of(messages[i]) == "user") last_user = i;
    if (role_of(messages[i]) == "assistant") last_answer = i;
  }
  for (std::size_t i = 0; i < messages.size() && reader.ok(); ++i) {
    FieldReader message(messages[i], reader.path("messages", i));
    const std::string& role = needed_string(message, "role", "the message's role");
    if (role == "user") {
      list.user(message, i < last_answer);
    } else if (role == "assistant") {
      list.assistant(message);
    } else if (role == "system") {
      list.system_message(message, i < last_user);
    } else if (message.ok()) {
      message.fail("role", fmt::format("user, assistant or system is needed, \"{}\" seen", role.substr(0, 64)));
    }
    if (!message.ok()) reader.fail_with(message.status().error());
  }
}

}  // namespace

std::vector<text::Message> read_message_list(FieldReader& reader, const MessagesContext& context) {
  MessageList list(context);
  list.system(read_text_or_blocks(reader, "system", context.limits.max_messages));
  const json::Array* messages = reader.ok() ? reader.array("messages", context.limits.max_messages) : nullptr;
  if (reader.ok() && messages == nullptr) reader.missing("messages", "an array of messages");
  if (reader.ok() && messages->empty()) reader.fail("messages", "at least one message is required");
  if (!reader.ok()) return {};
  read_messages_into(list, reader, *messages);
  if (reader.ok()) list.end(reader, messages->size());
  return list.take();
}

}  // namespace baltoro::server
