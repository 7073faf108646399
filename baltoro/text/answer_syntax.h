// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "baltoro/text/tokenizer.h"

namespace baltoro::text {

// How a family writes a call between its markers.
enum class CallStyle : std::uint8_t {
  kKimi,            // functions.NAME:INDEX separator ARGUMENTS
  kDeepSeek,        // NAME separator ARGUMENTS                                      (V3.1)
  kDeepSeekFenced,  // function separator NAME newline ```json newline ARGUMENTS newline ```   (V3, R1)
};

// The markup of one answer: the control tokens it may hold, as far as the vocabulary has them.
struct AnswerSyntax {
  CallStyle style = CallStyle::kKimi;
  std::vector<TokenId> stop = {};
  std::optional<TokenId> think_begin = {}, think_end = {};
  std::optional<TokenId> section_begin = {}, section_end = {}, call_begin = {}, separator = {}, call_end = {};
  bool in_reasoning = false;   // the answer begins as reasoning
  bool may_think = false;      // it may open its reasoning itself, as its first token
  bool think_as_text = false;  // the end of reasoning has no token
};

}  // namespace baltoro::text
