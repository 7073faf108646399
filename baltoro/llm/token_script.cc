// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/token_script.h"

#include <fmt/core.h>

#include <initializer_list>
#include <utility>

#include "baltoro/base/utf8.h"

namespace baltoro::llm {
namespace {

Error at(std::string_view path, std::string message) {
  return {Errc::kInvalidArgument, fmt::format("[script] {}: {}", path, message), std::string(path)};
}

// Reads the members of one object by name and refuses those nobody asked for.
class Members {
 public:
  static Result<Members> of(const json::Value& value, std::string path, std::initializer_list<std::string_view> known) {
    if (!value.is_object()) return at(path, fmt::format("an object needed, got {}", json::kind_name(value.kind())));
    for (const auto& [key, member] : value.as_object()) {
      bool found = false;
      for (std::string_view name : known) found = found || key == name;
      if (!found) return at(path, fmt::format("unknown member \"{}\"", utf8_sanitize(key.substr(0, 64))));
    }
    return Members(value, std::move(path));
  }

  const json::Value* find(std::string_view key) const { return value_->find(key); }
  std::string path(std::string_view key) const {
    return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
  }

  // Each leaves `out` alone where the member is absent.
  template <typename Out>
  Status text(std::string_view key, Out& out, std::size_t max_bytes = kMaxScriptedTextBytes) const {
    const json::Value* member = find(key);
    if (member == nullptr) return {};
    if (!member->is_string())
      return at(path(key), fmt::format("a string needed, got {}", json::kind_name(member->kind())));
    if (member->as_string().size() > max_bytes)
      return at(path(key), fmt::format("at most {} bytes needed, got {}", max_bytes, member->as_string().size()));
    out = member->as_string();
    return {};
  }
  template <typename Out>
  Status flag(std::string_view key, Out& out) const {
    const json::Value* member = find(key);
    if (member == nullptr) return {};
    if (!member->is_bool())
      return at(path(key), fmt::format("true or false needed, got {}", json::kind_name(member->kind())));
    out = member->as_bool();
    return {};
  }
  template <typename Out>
  Status count(std::string_view key, std::int64_t low, std::int64_t high, Out& out) const {
    const json::Value* member = find(key);
    if (member == nullptr) return {};
    if (member->kind() != json::Kind::kInt || member->as_int() < low || member->as_int() > high)
      return at(path(key), fmt::format("an integer in {} to {} needed", low, high));
    out = member->as_int();
    return {};
  }
  Status seconds(std::string_view key, double unit, double& out) const {
    const json::Value* member = find(key);
    if (member == nullptr) return {};
    if (!member->is_number() || !(member->as_double() >= 0) || member->as_double() * unit > 60)
      return at(path(key), "a number of at least 0 and at most a minute needed");
    out = member->as_double() * unit;
    return {};
  }

 private:
  Members(const json::Value& value, std::string path) : value_(&value), path_(std::move(path)) {}
  const json::Value* value_;
  std::string path_;
};

Result<ScriptedWhen> parse_when(const json::Value& value, const std::string& path) {
  BALTORO_TRY(const Members members, Members::of(value, path,
                                                 {"last_role", "last", "user", "system", "calls", "calls_from",
                                                  "calls_below", "thinking", "after"}));
  ScriptedWhen when;
  std::string role;
  BALTORO_TRY_STATUS(members.text("last_role", role));
  if (!role.empty()) {
    if (role != "user" && role != "tool") return at(members.path("last_role"), "\"user\" or \"tool\" needed");
    when.last_role = role == "user" ? Speaker::kUser : Speaker::kTool;
  }
  BALTORO_TRY_STATUS(members.text("last", when.last));
  BALTORO_TRY_STATUS(members.text("user", when.user));
  BALTORO_TRY_STATUS(members.text("system", when.system));
  BALTORO_TRY_STATUS(members.text("after", when.after));
  if (when.after && when.after->empty()) return at(members.path("after"), "a text needed, got an empty one");
  std::optional<std::int64_t> exactly;
  constexpr std::int64_t kMost = 1'000'000'000;
  BALTORO_TRY_STATUS(members.count("calls", 0, kMost, exactly));
  BALTORO_TRY_STATUS(members.count("calls_from", 0, kMost, when.calls_from));
  BALTORO_TRY_STATUS(members.count("calls_below", 0, kMost, when.calls_below));
  BALTORO_TRY_STATUS(members.flag("thinking", when.thinking));
  if (exactly) {
    if (when.calls_from || when.calls_below) return at(members.path("calls"), "not together with a range of calls");
    when.calls_from = *exactly;
    when.calls_below = *exactly + 1;
  }
  return when;
}

Result<ScriptedCall> parse_call(const json::Value& value, const std::string& path) {
  BALTORO_TRY(const Members members, Members::of(value, path, {"name", "arguments", "id"}));
  ScriptedCall call;
  BALTORO_TRY_STATUS(members.text("name", call.name, 1024));
  if (call.name.empty()) return at(members.path("name"), "a tool's name needed");
  BALTORO_TRY_STATUS(members.text("id", call.id, 1024));
  call.arguments = json::Object{};
  if (const json::Value* arguments = members.find("arguments")) {
    if (!arguments->is_object() && !arguments->is_string())
      return at(members.path("arguments"),
                fmt::format("an object or a string needed, got {}", json::kind_name(arguments->kind())));
    call.arguments = *arguments;
  }
  return call;
}

// A string, or any other value as compact JSON; `repeat` times.
Result<std::string> parse_content(const Members& members) {
  const json::Value* value = members.find("content");
  std::int64_t repeat = 1;
  BALTORO_TRY_STATUS(members.count("repeat", 1, 1'000'000, repeat));
  if (value == nullptr) return std::string();
  const std::string once = value->is_string() ? value->as_string() : json::dump(*value);
  if (once.size() * static_cast<std::size_t>(repeat) > kMaxScriptedTextBytes)
    return at(members.path("content"), fmt::format("at most {} bytes needed, repeats included", kMaxScriptedTextBytes));
  std::string content;
  for (std::int64_t i = 0; i < repeat; ++i) content += once;
  return content;
}

Result<ScriptedAnswer> parse_answer(const json::Value& value, const std::string& path) {
  BALTORO_TRY(const Members members,
              Members::of(value, path, {"thinking", "content", "repeat", "tool_calls", "raw", "endless"}));
  ScriptedAnswer answer;
  BALTORO_TRY_STATUS(members.text("thinking", answer.thinking));
  BALTORO_TRY(answer.content, parse_content(members));
  BALTORO_TRY_STATUS(members.text("raw", answer.raw));
  BALTORO_TRY_STATUS(members.flag("endless", answer.endless));
  if (const json::Value* calls = members.find("tool_calls")) {
    if (!calls->is_array() || calls->as_array().size() > 4096)
      return at(members.path("tool_calls"), "an array of at most 4096 calls needed");
    for (std::size_t i = 0; i < calls->as_array().size(); ++i) {
      BALTORO_TRY(ScriptedCall call,
                  parse_call(calls->as_array()[i], fmt::format("{}[{}]", members.path("tool_calls"), i)));
      answer.calls.push_back(std::move(call));
    }
  }
  if (!answer.raw.empty() && (!answer.content.empty() || !answer.calls.empty()))
    return at(members.path("raw"), "not together with content or tool_calls");
  if (answer.endless && (answer.content.empty() || !answer.calls.empty()))
    return at(members.path("endless"), "needs content and no tool_calls");
  return answer;
}

Result<ScriptedRule> parse_rule(const json::Value& value, const std::string& path) {
  BALTORO_TRY(const Members members, Members::of(value, path, {"name", "when", "answer"}));
  ScriptedRule rule;
  BALTORO_TRY_STATUS(members.text("name", rule.name, 256));
  if (const json::Value* when = members.find("when")) {
    BALTORO_TRY(rule.when, parse_when(*when, members.path("when")));
  }
  const json::Value* answer = members.find("answer");
  if (answer == nullptr) return at(members.path("answer"), "needed");
  BALTORO_TRY(rule.answer, parse_answer(*answer, members.path("answer")));
  return rule;
}

struct Counters {
  std::int64_t since_anchor = 0, total = 0;
  std::string last;
};

std::string fill(std::string_view text, const Counters& counters, std::int64_t further) {
  std::string out;
  while (!text.empty() && out.size() < kMaxScriptedTextBytes) {
    const auto take = [&](std::string_view name, const auto& value) {
      if (!text.starts_with(name)) return false;
      out += fmt::format("{}", value);
      text.remove_prefix(name.size());
      return true;
    };
    if (text.front() == '{' && (take("{n}", counters.since_anchor + 1 + further) || take("{calls}", counters.total) ||
                                take("{last}", counters.last)))
      continue;
    out += text.front();
    text.remove_prefix(1);
  }
  return out;
}

// Depth is bounded by the parser's limit.
void fill_value(json::Value& value, const Counters& counters, std::int64_t further) {
  if (value.is_string()) {
    value = fill(value.as_string(), counters, further);
  } else if (value.is_array()) {
    for (json::Value& item : value.as_array()) fill_value(item, counters, further);
  } else if (value.is_object()) {
    for (auto& [key, member] : value.as_object()) fill_value(member, counters, further);
  }
}

bool contains(const PromptView::Message& message, const std::string& part) {
  return message.text().find(part) != std::string::npos;
}

// Whether the rule applies; if so the calls since its anchor.
std::optional<std::int64_t> applies(const ScriptedWhen& when, const PromptView& prompt) {
  if (when.after || (when.thinking && *when.thinking != prompt.may_think)) return std::nullopt;
  const PromptView::Message* last = nullptr;
  bool system = !when.system, anchored = !when.user;
  std::int64_t calls = 0;
  for (const PromptView::Message& message : prompt.messages) {
    calls += message.calls;
    if (message.speaker == Speaker::kUser || message.speaker == Speaker::kTool) last = &message;
    if (message.speaker == Speaker::kSystem && !system) system = contains(message, *when.system);
    if (message.speaker != Speaker::kUser || (when.user && !contains(message, *when.user))) continue;
    anchored = true;
    calls = 0;
  }
  if (!system || !anchored) return std::nullopt;
  if (when.last_role && (last == nullptr || last->speaker != *when.last_role)) return std::nullopt;
  if (when.last && (last == nullptr || !contains(*last, *when.last))) return std::nullopt;
  if (when.calls_from && calls < *when.calls_from) return std::nullopt;
  if (when.calls_below && calls >= *when.calls_below) return std::nullopt;
  return calls;
}

ScriptedAnswer expand(ScriptedAnswer answer, const Counters& counters) {
  answer.thinking = fill(answer.thinking, counters, 0);
  answer.content = fill(answer.content, counters, 0);
  answer.raw = fill(answer.raw, counters, 0);
  std::int64_t further = 0;
  for (ScriptedCall& call : answer.calls) {
    call.name = fill(call.name, counters, further);
    call.id = fill(call.id, counters, further);
    fill_value(call.arguments, counters, further++);
  }
  return answer;
}

}  // namespace

Result<TokenScript> parse_token_script(std::string_view json_text) {
  BALTORO_TRY(const json::Value document, json::parse(json_text, {.max_bytes = kMaxScriptBytes, .max_depth = 64}));
  BALTORO_TRY(const Members members, Members::of(document, "", {"about", "rules", "step_ms", "prompt_token_us"}));
  TokenScript script;
  BALTORO_TRY_STATUS(members.seconds("step_ms", 1e-3, script.step_seconds));
  BALTORO_TRY_STATUS(members.seconds("prompt_token_us", 1e-6, script.prompt_token_seconds));
  const json::Value* rules = members.find("rules");
  if (rules == nullptr || !rules->is_array() || rules->as_array().empty() || rules->as_array().size() > kMaxScriptRules)
    return at("rules", fmt::format("an array of 1 to {} rules needed", kMaxScriptRules));
  for (std::size_t i = 0; i < rules->as_array().size(); ++i) {
    BALTORO_TRY(ScriptedRule rule, parse_rule(rules->as_array()[i], fmt::format("rules[{}]", i)));
    script.rules.push_back(std::move(rule));
  }
  return script;
}

ScriptedAnswer choose_answer(const TokenScript& script, const PromptView& prompt) {
  Counters counters;
  for (const PromptView::Message& message : prompt.messages) {
    counters.total += message.calls;
  }
  for (auto message = prompt.messages.rbegin(); message != prompt.messages.rend(); ++message) {
    if (message->speaker != Speaker::kUser && message->speaker != Speaker::kTool) continue;
    counters.last = utf8_sanitize(message->text().substr(0, 200));
    break;
  }
  for (const ScriptedRule& rule : script.rules) {
    const auto calls = applies(rule.when, prompt);
    if (!calls) continue;
    counters.since_anchor = *calls;
    return expand(rule.answer, counters);
  }
  return {.thinking = "", .content = "[scripted] no rule applies to: " + counters.last, .calls = {}, .raw = ""};
}

}  // namespace baltoro::llm
