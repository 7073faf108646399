// SPDX-License-Identifier: Apache-2.0
// The message grammar that all Kimi K2 generations share (inside text/ only):
//   message := ROLE_TOKEN name <|im_middle|> body <|im_end|>, no separators.
// Source: chat_template.jinja of Kimi-K2-Thinking and Kimi-K2.5 as published.
#pragma once

#include <string>
#include <string_view>

#include "baltoro/text/chat_families.h"
#include "baltoro/text/output_parser.h"

namespace baltoro::text {

inline constexpr std::string_view kThinkBegin = "<think>";
inline constexpr std::string_view kThinkEnd = "</think>";

// How one generation fills the grammar.
struct KimiStyle {
  std::string_view default_system;  // when the first message is no system message; empty: none
  bool think_markers = false;       // assistant bodies begin with <think>...</think>
  bool keep_all_reasoning = false;  // else only that after the last assistant message without calls
  bool instant = false;             // reasoning is never shown
  bool prompt_opens_think = false;  // the generation prompt ends in <think>, or <think></think> when instant
};

// Appends the whole prompt; `declarations` is the body of tool_declare.
Status build_kimi(const Conversation& conversation, const RenderOptions& options, const KimiStyle& style,
                  std::string_view declarations, PromptBuilder& prompt);

// For the answer to that prompt.
ParserSettings kimi_parser_settings(const Tokenizer& tokenizer, const Conversation& conversation,
                                    const KimiStyle& style);

// ChatFormat::end_of_turn.
std::vector<TokenId> kimi_end_of_turn(const Tokenizer& tokenizer, bool after_call);

// As the parser reads it.
AnswerSyntax kimi_answer_syntax(const Tokenizer& tokenizer, const Conversation& conversation, const KimiStyle& style,
                                std::vector<TokenId> stop);

}  // namespace baltoro::text
