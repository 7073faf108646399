// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/chat_kimi.h"

#include <algorithm>
#include <span>
#include <utility>

#include "baltoro/text/tool_ids.h"

namespace baltoro::text {
namespace {

constexpr std::string_view kSystem = "<|im_system|>";
constexpr std::string_view kUser = "<|im_user|>";
constexpr std::string_view kAssistant = "<|im_assistant|>";
constexpr std::string_view kMiddle = "<|im_middle|>";
constexpr std::string_view kEnd = "<|im_end|>";
constexpr std::string_view kSectionBegin = "<|tool_calls_section_begin|>";
constexpr std::string_view kSectionEnd = "<|tool_calls_section_end|>";
constexpr std::string_view kCallBegin = "<|tool_call_begin|>";
constexpr std::string_view kArgumentBegin = "<|tool_call_argument_begin|>";
constexpr std::string_view kCallEnd = "<|tool_call_end|>";

std::string_view role_token(Role role) {
  if (role == Role::kUser) return kUser;
  return role == Role::kAssistant ? kAssistant : kSystem;
}

// What stands for the speaker in the prompt.
std::string_view speaker(const Message& message) {
  return message.name && !message.name->empty() ? std::string_view(*message.name) : role_name(message.role);
}

void append_block(std::string_view name, std::string_view body, PromptBuilder& prompt) {
  prompt.control(kSystem);
  prompt.text(name);
  prompt.control(kMiddle);
  prompt.text(body);
  prompt.control(kEnd);
}

void append_thinking(std::string_view reasoning, PromptBuilder& prompt) {
  prompt.control_or_text(kThinkBegin);
  prompt.text(reasoning);
  prompt.control_or_text(kThinkEnd);
}

void append_calls(const Message& message, const std::vector<std::string>& ids, PromptBuilder& prompt) {
  if (message.tool_calls.empty()) return;
  prompt.control(kSectionBegin);
  for (std::size_t c = 0; c < message.tool_calls.size(); ++c) {
    prompt.control(kCallBegin);
    prompt.text(ids[c]);
    prompt.control(kArgumentBegin);
    prompt.text(message.tool_calls[c].arguments);
    prompt.control(kCallEnd);
  }
  prompt.control(kSectionEnd);
}

// The message that the model continues: its thinking while there is no content yet, else its content.
void append_open_message(const Message& message, const KimiStyle& style, PromptBuilder& prompt) {
  if (style.think_markers) {
    const bool open = !style.instant && message.content.empty();
    if (!open) {
      append_thinking(style.instant ? std::string_view() : message.reasoning, prompt);
    } else if (style.prompt_opens_think || !message.reasoning.empty()) {
      prompt.control_or_text(kThinkBegin);
      prompt.text(message.reasoning);
    }
  }
  prompt.text(message.content);
}

// One past the last assistant message without calls: from there on reasoning is shown.
std::size_t reasoning_shown_from(const Conversation& conversation, const KimiStyle& style, const Message* partial) {
  if (style.keep_all_reasoning) return 0;
  for (std::size_t m = conversation.messages.size(); m > 0; --m) {
    const Message& message = conversation.messages[m - 1];
    if (message.role == Role::kAssistant && message.tool_calls.empty() && &message != partial) return m;
  }
  return 0;
}

// What the generation prompt writes after <|im_middle|>.
std::vector<TokenId> opening_of(const KimiStyle& style, const PromptBuilder& prompt) {
  if (!style.prompt_opens_think) return {};
  return style.instant ? prompt.ids_of({kThinkBegin, kThinkEnd}) : prompt.ids_of({kThinkBegin});
}

// Puts an answer into the prompt as it was sampled, where that is known and the reasoning is to be seen. `ids` become
// those that the model gave its calls.
bool append_sampled(const Message& message, const RenderOptions& options, const KimiStyle& style, bool dropped,
                    std::span<std::string> ids, PromptBuilder& prompt) {
  if (options.sampled == nullptr || dropped) return false;
  std::vector<TokenId> tokens = opening_of(style, prompt);
  const SampledTurn* turn = options.sampled->find(prompt.ids_so_far(options.parse_special), tokens, message);
  if (turn == nullptr || turn->call_ids.size() != ids.size()) return false;
  tokens.insert(tokens.end(), turn->tokens.begin(), turn->tokens.end());
  prompt.sampled(std::move(tokens));
  std::copy(turn->call_ids.begin(), turn->call_ids.end(), ids.begin());
  return true;
}

// Where the answer begins. Thinking models whose prompt does not open the thinking may leave out <think>: what comes
// before </think> is reasoning all the same.
bool starts_in_reasoning(const Conversation& conversation, const KimiStyle& style) {
  if (!style.think_markers || style.instant) return false;
  const bool continues = !conversation.messages.empty() && conversation.messages.back().partial;
  return !continues || conversation.messages.back().content.empty();
}

}  // namespace

Status build_kimi(const Conversation& conversation, const RenderOptions& options, const KimiStyle& style,
                  std::string_view declarations, PromptBuilder& prompt) {
  BALTORO_TRY(const Message* partial, partial_message(conversation));
  BALTORO_TRY(CallNames names, name_calls(conversation));
  const auto& messages = conversation.messages;
  if (!conversation.tools.empty()) {
    for (const auto name : {kSectionBegin, kSectionEnd, kCallBegin, kArgumentBegin, kCallEnd}) prompt.require(name);
    append_block("tool_declare", declarations, prompt);
  }
  if (!style.default_system.empty() && (messages.empty() || messages.front().role != Role::kSystem)) {
    append_block("system", style.default_system, prompt);
  }
  const std::size_t shown_from = reasoning_shown_from(conversation, style, partial);
  std::size_t calls_before = 0;
  for (std::size_t m = 0; m < messages.size(); ++m) {
    const Message& message = messages[m];
    prompt.control(role_token(message.role));
    prompt.text(speaker(message));
    prompt.control(kMiddle);
    if (&message == partial) {
      append_open_message(message, style, prompt);
      return prompt.status();
    }
    const auto ids = std::span(names.native).subspan(calls_before, names.calls[m].size());
    calls_before += ids.size();
    const bool dropped = style.think_markers && !style.instant && m < shown_from;
    if (message.role == Role::kAssistant && append_sampled(message, options, style, dropped, ids, prompt)) continue;
    if (message.role == Role::kAssistant && style.think_markers) {
      append_thinking(m < shown_from || style.instant ? std::string_view() : message.reasoning, prompt);
    } else if (message.role == Role::kTool) {
      prompt.text("## Return of ");
      prompt.text(names.native[static_cast<std::size_t>(names.answers[m])]);
      prompt.text("\n");
    }
    prompt.text(message.content);
    append_calls(message, names.calls[m], prompt);
    prompt.control(kEnd);
  }
  if (options.add_generation_prompt) {
    prompt.control(kAssistant);
    prompt.text("assistant");
    prompt.control(kMiddle);
    if (style.prompt_opens_think) prompt.control_or_text(kThinkBegin);
    if (style.prompt_opens_think && style.instant) prompt.control_or_text(kThinkEnd);
  }
  return prompt.status();
}

ParserSettings kimi_parser_settings(const Tokenizer& tokenizer, const Conversation& conversation,
                                    const KimiStyle& style) {
  ParserSettings settings;
  settings.in_reasoning = starts_in_reasoning(conversation, style);
  for (const Tool& tool : conversation.tools) settings.tool_names.push_back(tool.name);
  const auto add = [&](std::string_view name, Marker marker) {
    if (const auto id = tokenizer.special_id(name)) settings.markers.emplace_back(*id, marker);
  };
  add(kThinkBegin, Marker::kThinkBegin);
  add(kThinkEnd, Marker::kThinkEnd);
  add(kSectionBegin, Marker::kSectionBegin);
  add(kSectionEnd, Marker::kSectionEnd);
  add(kCallBegin, Marker::kCallBegin);
  add(kArgumentBegin, Marker::kCallSeparator);
  add(kCallEnd, Marker::kCallEnd);
  add("<|tool_call_section_begin|>", Marker::kSectionBegin);
  add("<|tool_call_section_end|>", Marker::kSectionEnd);
  settings.think_as_text = style.think_markers && !tokenizer.special_id(kThinkEnd);
  settings.text_section_begin = "<|tool_call_section_begin|>";
  settings.text_section_end = "<|tool_call_section_end|>";
  return settings;
}

std::vector<TokenId> kimi_end_of_turn(const Tokenizer& tokenizer, bool after_call) {
  const PromptBuilder prompt(tokenizer);
  return after_call ? prompt.ids_of({kSectionEnd, kEnd}) : prompt.ids_of({kEnd});
}

AnswerSyntax kimi_answer_syntax(const Tokenizer& tokenizer, const Conversation& conversation, const KimiStyle& style,
                                std::vector<TokenId> stop) {
  AnswerSyntax syntax = answer_syntax_of(kimi_parser_settings(tokenizer, conversation, style));
  syntax.style = CallStyle::kKimi;
  syntax.stop = std::move(stop);
  syntax.may_think = syntax.in_reasoning && !style.prompt_opens_think;
  return syntax;
}

}  // namespace baltoro::text
