// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "baltoro/base/check.h"
#include "baltoro/server/anthropic_blocks.h"
#include "baltoro/server/anthropic_messages.h"

namespace baltoro::server {
namespace {

// Tools that Anthropic's models know by type and that clients run. The dates in their types are left out here.
struct KnownTool {
  std::string_view type;  // what the type starts with
  std::string_view description, schema;
};
constexpr KnownTool kKnownTools[] = {
    {"bash_", "Run a command in a bash shell that keeps its state between calls.",
     R"({"type":"object","properties":{"command":{"type":"string","description":"The command to run. Required unless the shell is restarted."},"restart":{"type":"boolean","description":"true restarts the shell."}}})"},
    {"text_editor_", "View, create and edit text files.",
     R"({"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert"]},"path":{"type":"string","description":"Path of the file or folder."},"file_text":{"type":"string","description":"create: the whole text of the new file."},"old_str":{"type":"string","description":"str_replace: the text to replace; it must occur exactly once."},"new_str":{"type":"string","description":"str_replace: the text to put in its place."},"insert_line":{"type":"integer","description":"insert: the line after which the text goes, 0 for the start."},"insert_text":{"type":"string","description":"insert: the text to put there."},"view_range":{"type":"array","items":{"type":"integer"},"description":"view: first and last line, -1 for the end."}},"required":["command","path"]})"},
    {"memory_", "Read and write files below /memories that stay between conversations.",
     R"({"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert","delete","rename"]},"path":{"type":"string","description":"Path below /memories."},"view_range":{"type":"array","items":{"type":"integer"},"description":"view: first and last line."},"file_text":{"type":"string","description":"create: the file's text."},"old_str":{"type":"string","description":"str_replace: the text to replace."},"new_str":{"type":"string","description":"str_replace: the text to put in its place."},"insert_line":{"type":"integer","description":"insert: the line after which the text goes."},"insert_text":{"type":"string","description":"insert: the text to put there."},"old_path":{"type":"string","description":"rename: the path as it is."},"new_path":{"type":"string","description":"rename: the path to be."}},"required":["command"]})"},
};

const KnownTool* known_tool(std::string_view type) {
  const auto* found = std::ranges::find_if(kKnownTools, [&](const KnownTool& tool) {
    const std::string_view date = type.substr(std::min(tool.type.size(), type.size()));
    return type.starts_with(tool.type) && date.size() == 8 &&
           std::ranges::all_of(date, [](char c) { return c >= '0' && c <= '9'; });
  });
  return found == std::end(kKnownTools) ? nullptr : found;
}

bool valid_name(std::string_view name) {
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '.';
  });
}

text::Tool declare(std::string name, json::Value description, json::Value schema, bool strict) {
  json::Object function;
  function.emplace_back("name", name);
  if (!description.is_null()) function.emplace_back("description", std::move(description));
  function.emplace_back("parameters", std::move(schema));
  if (strict) function.emplace_back("strict", true);
  text::Tool out{.name = std::move(name), .declaration = {}, .strict = strict};
  out.declaration.set("type", "function");
  out.declaration.set("function", std::move(function));
  return out;
}

// One entry; nothing for a tool that runs elsewhere.
std::optional<text::Tool> read_tool(FieldReader& entry, const ApiLimits& limits) {
  const std::string* type = entry.ok() ? entry.string("type") : nullptr;
  const bool custom = type == nullptr || *type == "custom";
  const KnownTool* known = custom ? nullptr : known_tool(*type);
  if (!entry.ok() || (!custom && known == nullptr)) return {};
  const std::string& name = needed_string(entry, "name", "the tool's name");
  if (entry.ok() && (name.empty() || name.size() > limits.max_name_bytes || !valid_name(name))) {
    entry.fail("name", fmt::format("1 to {} letters, digits, '_', '-' or '.' are needed", limits.max_name_bytes));
  }
  if (!entry.ok()) return {};
  if (known != nullptr) {
    auto schema = json::parse(known->schema);
    BALTORO_CHECK(schema.ok(), "a known tool's schema is JSON");
    return declare(name, known->description, *std::move(schema), false);
  }
  const std::string* description = entry.string("description");
  const json::Value* schema = entry.object("input_schema");
  const bool strict = entry.boolean("strict").value_or(false);
  if (entry.ok() && schema == nullptr) entry.missing("input_schema", "the schema of the tool's input");
  if (!entry.ok()) return {};
  text::Tool out = declare(name, description == nullptr ? json::Value() : json::Value(*description), *schema, strict);
  if (const std::size_t bytes = json::dump(out.declaration).size(); bytes > limits.max_tool_bytes) {
    entry.fail("", fmt::format("a declaration may have {} bytes of JSON, {} seen", limits.max_tool_bytes, bytes));
  }
  return out;
}

}  // namespace

std::vector<text::Tool> read_message_tools(FieldReader& reader, const ApiLimits& limits) {
  std::vector<text::Tool> out;
  const json::Array* tools = reader.ok() ? reader.array("tools", limits.max_tools) : nullptr;
  std::unordered_set<std::string> names;
  for (std::size_t i = 0; tools != nullptr && i < tools->size() && reader.ok(); ++i) {
    FieldReader entry((*tools)[i], reader.path("tools", i));
    auto tool = read_tool(entry, limits);
    if (entry.ok() && tool && !names.insert(tool->name).second) {
      entry.fail("name", fmt::format("tool names must be unique, \"{}\" is declared twice", tool->name));
    }
    if (!entry.ok()) return reader.fail_with(entry.status().error()), out;
    if (tool) out.push_back(*std::move(tool));
  }
  return out;
}

void read_message_tool_choice(FieldReader& reader, llm::ChatRequest& request) {
  const json::Value* value = reader.ok() ? reader.object("tool_choice") : nullptr;
  if (value == nullptr) return;
  const auto& tools = request.conversation.tools;
  FieldReader choice(*value, reader.path("tool_choice"));
  const std::string& type = needed_string(choice, "type", "\"auto\", \"any\", \"tool\" or \"none\"");
  if (choice.boolean("disable_parallel_tool_use").value_or(false)) request.parallel_tool_calls = false;
  if (type == "none") {
    request.tool_choice = llm::ToolChoice::kNone;
  } else if (type == "any") {
    if (tools.empty()) choice.fail("type", "\"any\" needs at least one tool that can be called");
    request.tool_choice = llm::ToolChoice::kRequired;
  } else if (type == "tool") {
    const std::string& name = needed_string(choice, "name", "the tool's name");
    if (choice.ok() && std::ranges::none_of(tools, [&](const text::Tool& tool) { return tool.name == name; })) {
      choice.fail("name", fmt::format("no tool that can be called is named \"{}\"", name.substr(0, 64)));
    }
    request.tool_choice = llm::ToolChoice::kNamed;
    request.tool_choice_name = name;
  } else if (choice.ok() && type != "auto") {
    choice.fail("type",
                fmt::format("\"auto\", \"any\", \"tool\" or \"none\" is needed, \"{}\" seen", type.substr(0, 64)));
  }
  if (!choice.ok()) reader.fail_with(choice.status().error());
}

}  // namespace baltoro::server
