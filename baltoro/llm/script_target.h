// SPDX-License-Identifier: Apache-2.0
// A scripted answer as tokens, and where in it a model is.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/llm/token_script.h"
#include "baltoro/text/chat_format.h"
#include "baltoro/text/tokenizer.h"

namespace baltoro::llm {

// Tokens with the bytes they spell; control tokens spell their names.
class TokenText {
 public:
  explicit TokenText(const text::Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  void text(std::string_view text);           // no control token can come of it
  void control(std::string_view name);        // as text where the vocabulary lacks it
  void with_controls(std::string_view text);  // names of control tokens become those
  void make_endless() { endless_ = true; }    // over and over

  // The token that continues `written`; absent where that is not how this text begins, or it is complete.
  std::optional<text::TokenId> next(std::string_view written) const;

 private:
  void append(std::span<const text::TokenId> ids);

  const text::Tokenizer* tokenizer_;
  std::vector<text::TokenId> ids_;
  std::vector<std::size_t> begins_;  // of each token in bytes_
  std::string bytes_;
  bool endless_ = false;
};

// One answer in one family's markup. `calls_before` numbers its calls.
class ScriptTarget {
 public:
  ScriptTarget(const ScriptedAnswer& answer, text::ChatFamily family, const text::Tokenizer& tokenizer,
               std::int64_t calls_before);

  // The token that continues the answer written so far, think markers of the prompt included. Thinking that ended early
  // (a budget, a prompt that forbids it) counts as done. Absent: what was written is not of this answer.
  std::optional<text::TokenId> next(std::string_view written) const;

  // The same for an answer without thinking.
  std::optional<text::TokenId> next_plain(std::string_view written) const { return rest_.next(written); }

  // Whether what the prompt wrote of the answer leaves room for thinking.
  static bool may_think(text::ChatFamily family, std::string_view written);

 private:
  void write_rest(const ScriptedAnswer& answer, std::int64_t calls_before);

  text::ChatFamily family_;
  TokenText thinking_, rest_;
};

}  // namespace baltoro::llm
