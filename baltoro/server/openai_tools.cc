// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/openai_tools.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace baltoro::server {
namespace {

bool valid_name(std::string_view name) {
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
  });
}

// Checks the members that both shapes have and takes name and strictness.
void read_function(FieldReader& reader, bool builtin, const ApiLimits& limits, text::Tool& out) {
  const std::string* name = reader.string("name");
  if (reader.ok() && name == nullptr) reader.missing("name", "the function's name");
  if (!reader.ok()) return;
  const std::string_view letters = builtin && name->starts_with('$') ? std::string_view(*name).substr(1) : *name;
  if (letters.empty() || name->size() > limits.max_name_bytes || !valid_name(letters)) {
    reader.fail("name", fmt::format("1 to {} letters, digits, '_', '-' or '.' are needed", limits.max_name_bytes));
  }
  if (reader.ok()) (void)reader.string("description");
  if (reader.ok()) (void)reader.object("parameters");
  out.strict = reader.ok() && reader.boolean("strict").value_or(false);
  out.name = *name;
}

// The nested form of a flat declaration, its members in the order in which clients write them.
json::Value nested_declaration(const json::Value& flat) {
  json::Object function;
  for (const char* key : {"name", "description", "parameters", "strict"}) {
    const json::Value* member = flat.find(key);
    if (member != nullptr && !member->is_null()) function.emplace_back(key, *member);
  }
  return json::Object{{"type", "function"}, {"function", std::move(function)}};
}

// One declaration; nothing for one that is left out or wrong.
std::optional<text::Tool> read_tool(const json::Value& value, FieldReader& entry, ToolShape shape,
                                    const ApiLimits& limits) {
  const std::string* type = entry.ok() ? entry.string("type") : nullptr;
  if (entry.ok() && type == nullptr) entry.missing("type", "\"function\"");
  if (!entry.ok()) return {};
  const bool builtin = *type == "builtin_function";
  if (*type != "function" && shape == ToolShape::kFlat) return {};
  if (*type != "function" && !builtin) {
    entry.fail("type", fmt::format("only \"function\" is accepted, \"{}\" seen", type->substr(0, 64)));
    return {};
  }
  text::Tool out;
  if (shape == ToolShape::kFlat) {
    read_function(entry, false, limits, out);
    if (entry.ok()) out.declaration = nested_declaration(value);
  } else {
    const json::Value* function = entry.object("function");
    if (entry.ok() && function == nullptr) entry.missing("function", "an object");
    if (!entry.ok()) return {};
    FieldReader inner(*function, entry.path("function"));
    read_function(inner, builtin, limits, out);
    if (!inner.ok()) entry.fail_with(inner.status().error());
    out.declaration = value;
  }
  if (!entry.ok()) return {};
  if (const std::size_t bytes = json::dump(out.declaration).size(); bytes > limits.max_tool_bytes) {
    entry.fail("", fmt::format("a declaration may have {} bytes of JSON, {} seen", limits.max_tool_bytes, bytes));
    return {};
  }
  return out;
}

// The function's name in a choice; it must be declared.
std::string read_chosen_name(FieldReader& choice, ToolShape shape, const std::vector<text::Tool>& tools) {
  const std::string* type = choice.string("type");
  if (choice.ok() && (type == nullptr || *type != "function")) choice.fail("type", "\"function\" is needed");
  const json::Value* function = nullptr;
  if (choice.ok() && shape == ToolShape::kNested) {
    function = choice.object("function");
    if (choice.ok() && function == nullptr) choice.missing("function", "an object");
  }
  if (!choice.ok()) return {};
  const auto read_name = [&](FieldReader& reader) -> std::string {
    const std::string* name = reader.string("name");
    if (reader.ok() && name == nullptr) reader.missing("name", "the function's name");
    if (reader.ok() && std::ranges::none_of(tools, [&](const text::Tool& tool) { return tool.name == *name; })) {
      reader.fail("name", fmt::format("no tool is named \"{}\"", name->substr(0, 64)));
    }
    return reader.ok() ? *name : std::string();
  };
  if (function == nullptr) return read_name(choice);
  FieldReader inner(*function, choice.path("function"));
  std::string name = read_name(inner);
  if (!inner.ok()) choice.fail_with(inner.status().error());
  return name;
}

void read_mode(FieldReader& reader, std::string_view key, const std::string& mode, llm::ChatRequest& request) {
  if (mode == "none") {
    request.tool_choice = llm::ToolChoice::kNone;
  } else if (mode == "required") {
    if (request.conversation.tools.empty()) reader.fail(key, "\"required\" needs at least one tool");
    request.tool_choice = llm::ToolChoice::kRequired;
  } else if (mode != "auto") {
    reader.fail(key, fmt::format("auto, none, required or a function is needed, \"{}\" seen", mode.substr(0, 64)));
  }
}

// {"type":"allowed_tools","mode":...,"tools":[...]}; nested: both within a member "allowed_tools".
void read_allowed(FieldReader& reader, ToolShape shape, llm::ChatRequest& request) {
  const std::string* mode = reader.string("mode");
  const json::Array* names = reader.ok() ? reader.array("tools", request.conversation.tools.size()) : nullptr;
  if (reader.ok() && mode == nullptr) reader.missing("mode", "\"auto\" or \"required\"");
  if (reader.ok() && (names == nullptr || names->empty())) reader.missing("tools", "at least one tool");
  if (reader.ok() && *mode != "auto" && *mode != "required") reader.fail("mode", "\"auto\" or \"required\" is needed");
  std::unordered_set<std::string> allowed;
  for (std::size_t i = 0; reader.ok() && i < names->size(); ++i) {
    FieldReader entry((*names)[i], reader.path("tools", i));
    if (entry.ok()) allowed.insert(read_chosen_name(entry, shape, request.conversation.tools));
    if (!entry.ok()) reader.fail_with(entry.status().error());
  }
  if (!reader.ok()) return;
  request.allowed_tools.assign(allowed.begin(), allowed.end());
  read_mode(reader, "mode", *mode, request);
}

void read_choice_object(FieldReader& choice, ToolShape shape, llm::ChatRequest& request) {
  const std::string* type = choice.string("type");
  if (type != nullptr && *type == "allowed_tools") {
    if (shape == ToolShape::kFlat) return read_allowed(choice, shape, request);
    const json::Value* allowed = choice.object("allowed_tools");
    if (choice.ok() && allowed == nullptr) choice.missing("allowed_tools", "an object");
    if (!choice.ok()) return;
    FieldReader inner(*allowed, choice.path("allowed_tools"));
    read_allowed(inner, shape, request);
    if (!inner.ok()) choice.fail_with(inner.status().error());
    return;
  }
  std::string name = read_chosen_name(choice, shape, request.conversation.tools);
  if (!choice.ok()) return;
  request.tool_choice = llm::ToolChoice::kNamed;
  request.tool_choice_name = std::move(name);
}

}  // namespace

std::vector<text::Tool> read_tools(FieldReader& reader, ToolShape shape, const ApiLimits& limits) {
  std::vector<text::Tool> out;
  const json::Array* tools = reader.array("tools", limits.max_tools);
  std::unordered_set<std::string> names;
  for (std::size_t i = 0; tools != nullptr && i < tools->size() && reader.ok(); ++i) {
    FieldReader entry((*tools)[i], reader.path("tools", i));
    auto tool = read_tool((*tools)[i], entry, shape, limits);
    if (tool && !names.insert(tool->name).second) {
      entry.fail(shape == ToolShape::kNested ? "function.name" : "name",
                 fmt::format("\"{}\" is declared twice", tool->name));
    }
    if (!entry.ok()) reader.fail_with(entry.status().error());
    if (tool) out.push_back(*std::move(tool));
  }
  return out;
}

void read_tool_choice(FieldReader& reader, ToolShape shape, llm::ChatRequest& request) {
  const json::Value* choice = reader.any("tool_choice");
  if (choice == nullptr || !reader.ok()) return;
  if (choice->is_string()) return read_mode(reader, "tool_choice", choice->as_string(), request);
  if (!choice->is_object()) return reader.wrong_kind("tool_choice", "a string or an object", *choice);
  FieldReader inner(*choice, reader.path("tool_choice"));
  read_choice_object(inner, shape, request);
  if (!inner.ok()) reader.fail_with(inner.status().error());
}

}  // namespace baltoro::server
