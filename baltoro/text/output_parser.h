// SPDX-License-Identifier: Apache-2.0
// The streaming parser behind ChatFormat::make_parser. Inside text/ only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "baltoro/text/chat_format.h"

namespace baltoro::text {

// What a control token means in an answer.
enum class Marker : std::uint8_t {
  kThinkBegin,
  kThinkEnd,
  kSectionBegin,  // of the tool calls
  kSectionEnd,
  kCallBegin,
  kCallSeparator,  // between a call's head and its arguments
  kCallEnd,
};

// One family's markup on one vocabulary. Control tokens without a marker are dropped.
struct ParserSettings {
  std::vector<std::pair<TokenId, Marker>> markers;
  bool in_reasoning = false;   // how the answer begins
  bool think_as_text = false;  // the vocabulary has no think tokens: a leading "<think>" and, in reasoning, "</think>"
                               // are matched as text
  // Spellings of the section's bounds that models write as text. Taken for markers only right before a call and right
  // after one; elsewhere they are content. May be empty.
  std::string_view text_section_begin, text_section_end;
  bool deepseek_calls = false;          // the head is NAME, or "function" with NAME on the arguments' first line, and
                                        // the arguments may be fenced; else the head is an id (see tool_ids.h)
  std::vector<std::string> tool_names;  // the declared ones: tell a mangled id's name
};

// The same markup for who writes an answer: of markers with several tokens the first.
AnswerSyntax answer_syntax_of(const ParserSettings& settings);

// Tolerated, as models really write it:
// - reasoning without its opening marker; reasoning that ends at a tool call without </think>; calls amid reasoning,
//   which goes on after them until </think>;
// - calls without a section, without the end markers, without the separator (the arguments' first '{' ends the head);
// - white space around ids, arguments and between calls, which is dropped;
// - ids in any style; names with '-' and '.'; think markers inside arguments, which are then text of the arguments.
// Malformed: a call whose head names no tool, or has over 1 KiB: its text becomes content. A head that the end of the
// stream cuts off is dropped. A call that ended without arguments gets "{}".
std::unique_ptr<OutputParser> make_output_parser(ParserSettings settings);

}  // namespace baltoro::text
