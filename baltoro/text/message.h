// SPDX-License-Identifier: Apache-2.0
// A conversation, independent of any wire format.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "baltoro/base/json.h"

namespace baltoro::text {

enum class Role : std::uint8_t { kSystem, kUser, kAssistant, kTool };
const char* role_name(Role role);  // "system", "user", "assistant", "tool"

struct ToolCall {
  std::string id;  // as the client knows it, or as the model wrote it
  std::string name;
  std::string arguments;  // JSON text, verbatim
};

struct Message {
  Role role = Role::kUser;
  std::optional<std::string> name = {};  // shown to the model in place of the role (tool results: the tool's name)
  std::string content = {};
  std::string reasoning = {};                    // assistant: its thinking, without the markers
  std::vector<ToolCall> tool_calls = {};         // assistant
  std::optional<std::string> tool_call_id = {};  // tool
  bool partial = false;                          // assistant, last: the model continues this text
};

// A declared function. `declaration` is the whole OpenAI entry {"type":"function","function":{...}}, key order kept.
struct Tool {
  std::string name;
  json::Value declaration;
  bool strict = false;
};

struct Conversation {
  std::vector<Message> messages = {};
  std::vector<Tool> tools = {};
};

}  // namespace baltoro::text
