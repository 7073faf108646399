// SPDX-License-Identifier: Apache-2.0
// A chat prompt read back from its tokens, as a model would read it. For the scripted model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "baltoro/llm/token_script.h"
#include "baltoro/text/chat_format.h"
#include "baltoro/text/tokenizer.h"

namespace baltoro::llm {

struct OutlinedMessage {
  Speaker speaker;
  std::size_t begin, end;  // the body, as a range of the prompt's tokens
  std::int64_t calls = 0;  // tool calls in it
};

struct PromptOutline {
  std::vector<OutlinedMessage> messages;  // those that are closed
  // Where the answer begins, think markers that the prompt wrote included. Absent: no answer is open, or the tokens are
  // no chat prompt of the family.
  std::optional<std::size_t> answer_begin;
};

// Finds messages by control tokens alone, so text can never pass for markup.
class OutlineReader {
 public:
  OutlineReader(text::ChatFamily family, const text::Tokenizer& tokenizer);
  PromptOutline read(std::span<const text::TokenId> tokens) const;

 private:
  PromptOutline read_kimi(std::span<const text::TokenId> tokens) const;
  PromptOutline read_deepseek(std::span<const text::TokenId> tokens) const;

  text::ChatFamily family_;
  // -1: the vocabulary has none
  text::TokenId system_ = -1, user_ = -1, assistant_ = -1, middle_ = -1, end_ = -1, call_ = -1;
  text::TokenId output_begin_ = -1, output_end_ = -1, outputs_end_ = -1;
  std::vector<text::TokenId> tool_heading_;  // what a Kimi tool result begins with
};

bool is_deepseek(text::ChatFamily family);

}  // namespace baltoro::llm
