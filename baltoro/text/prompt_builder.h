// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/text/tokenizer.h"

namespace baltoro::text {

// A prompt in the making: plain text and control tokens in order. Plain text between two control tokens is tokenised
// as one piece, as the reference does, which renders the whole text and splits it at control tokens only.
class PromptBuilder {
 public:
  explicit PromptBuilder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  void text(std::string_view text);
  void control(std::string_view name);          // a control token; where the vocabulary lacks it, status() fails
  void control_or_text(std::string_view name);  // where the vocabulary lacks it, the name as plain text

  void sampled(std::vector<TokenId> ids);  // tokens as a model wrote them; not empty

  // The ids of all that was appended so far. Text that is appended next is tokenised apart from it: call it after a
  // control token. Always with the same `parse_special`.
  std::span<const TokenId> ids_so_far(ParseSpecial parse_special);
  // Ids of a piece of prompt alone: control tokens, or their names as text where the vocabulary lacks them.
  std::vector<TokenId> ids_of(std::initializer_list<std::string_view> names) const;

  void require(std::string_view name);  // status() fails where the vocabulary lacks it; appends nothing

  // kUnsupported: a control token that the vocabulary lacks, by name.
  Status status() const;
  std::vector<TokenId> ids(ParseSpecial parse_special);  // parse_special: special strings within plain text
  std::string to_text() const;

 private:
  struct Segment {
    std::string text;  // plain text, or the control token's name
    TokenId control;   // -1: plain text
    std::vector<TokenId> sampled = {};
  };
  const Tokenizer* tokenizer_;
  std::vector<Segment> segments_;
  std::string missing_;
  std::vector<TokenId> ids_;  // of the first `encoded_` segments
  std::size_t encoded_ = 0;
};

}  // namespace baltoro::text
