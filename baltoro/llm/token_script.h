// SPDX-License-Identifier: Apache-2.0
// A script: which answer a test backend gives to which prompt. Plain data read from JSON; see README.md for the form.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/base/json.h"
#include "baltoro/base/result.h"

namespace baltoro::llm {

struct ScriptedCall {
  std::string name;
  json::Value arguments;  // an object is written compactly; a string verbatim, be it JSON or not
  std::string id = {};    // empty: functions.NAME:IDX with the conversation's next index
};

// What the model shall write. Texts may hold placeholders, see expand().
struct ScriptedAnswer {
  std::string thinking;  // left out where the prompt leaves no room for it
  std::string content;
  std::vector<ScriptedCall> calls;
  std::string raw;       // in place of content and calls: names of control tokens in it become those
  bool endless = false;  // the content over and over, until something else ends the answer
};

enum class Speaker : std::uint8_t { kSystem, kUser, kAssistant, kTool };

// When a rule applies: every condition that is there must hold.
struct ScriptedWhen {
  std::optional<Speaker> last_role;         // kUser or kTool: who spoke last
  std::optional<std::string> last;          // a part of what they said
  std::optional<std::string> user;          // a part of some user message; calls count from the last such one on
  std::optional<std::string> system;        // a part of some system message, tool declarations included
  std::optional<std::int64_t> calls_from;   // calls since the anchor: at least
  std::optional<std::int64_t> calls_below;  // and fewer than
  std::optional<bool> thinking;             // whether the answer may think
  std::optional<std::string> after;         // prompts without chat markup: the answer begins behind this text
};

struct ScriptedRule {
  std::string name;
  ScriptedWhen when;
  ScriptedAnswer answer;
};

struct TokenScript {
  std::vector<ScriptedRule> rules;  // the first that applies
  double step_seconds = 0;          // what a step takes at least,
  double prompt_token_seconds = 0;  // and what each token without logits adds
};

inline constexpr std::size_t kMaxScriptBytes = std::size_t{4} << 20;
inline constexpr std::size_t kMaxScriptRules = 1000;
inline constexpr std::size_t kMaxScriptedTextBytes = std::size_t{1} << 20;  // of one answer, repeats included

// kInvalidArgument, kTooLarge: malformed, out of range or an unknown member, with its path ("rules[2].when.calls").
Result<TokenScript> parse_token_script(std::string_view json_text);

// A prompt as rules see it. Texts are decoded on demand: prompts are long, rules few.
struct PromptView {
  struct Message {
    Speaker speaker;
    std::function<std::string()> text;
    std::int64_t calls = 0;  // made in this message
  };
  std::vector<Message> messages;
  bool may_think = false;
};

// The answer of the first rule that applies, placeholders filled in:
//   {n}      1 + the calls since the anchor (the last user message that matches `user`, else the last user message);
//            within one answer each further call counts on
//   {calls}  all calls of the prompt
//   {last}   what was said last, its first 200 bytes
// A prompt that no rule applies to is answered in words that say so.
ScriptedAnswer choose_answer(const TokenScript& script, const PromptView& prompt);

}  // namespace baltoro::llm
