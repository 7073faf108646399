// SPDX-License-Identifier: Apache-2.0
// Which tokens each place of an answer allows.
#include <algorithm>

#include "baltoro/text/answer_grammar.h"

namespace baltoro::text {

void AnswerGrammar::allow(const std::optional<TokenId>& token) {
  if (token && *token >= 0 && *token < rules_->vocabulary->trie.vocab_size())
    bits_[static_cast<std::size_t>(*token) / 64] |= std::uint64_t{1} << (*token % 64);
}
void AnswerGrammar::allow_stop() {
  for (const TokenId token : rules_->syntax.stop) allow(token);
}
void AnswerGrammar::allow_text() { bits_ = rules_->vocabulary->trie.text_tokens(); }

void AnswerGrammar::fill(std::span<std::uint64_t> allowed, std::int64_t remaining) {
  std::fill(bits_.begin(), bits_.end(), 0);
  switch (phase_) {
    case Phase::kThinking:
      fill_thinking(remaining);
      break;
    case Phase::kStart:
    case Phase::kText:
      fill_content(remaining);
      break;
    case Phase::kJson:
      fill_json(remaining);
      break;
    case Phase::kSection:
    case Phase::kNextCall:
      fill_between_calls(remaining);
      break;
    case Phase::kHead:
    case Phase::kName:
      fill_spelling(remaining);
      break;
    case Phase::kClosing:
      fill_closing(remaining);
      break;
    case Phase::kArguments:
      fill_arguments(remaining);
      break;
    case Phase::kEnd:
      allow_stop();
      break;
  }
  std::copy_n(bits_.begin(), std::min(bits_.size(), allowed.size()), allowed.begin());
}

void AnswerGrammar::fill_thinking(std::int64_t remaining) {
  const std::uint32_t content = content_cost();
  const bool bound = content > 0;
  const bool over = rules_->thinking_budget && thought_ >= *rules_->thinking_budget;
  if (!over && (!bound || remaining - 1 >= content + 1)) {
    allow_text();
    if (!bound) allow_stop();
    if (!begun_ && rules_->syntax.may_think) allow(rules_->syntax.think_begin);
    if (rules_->calls != Calls::kNever && remaining >= section_cost()) allow(rules_->syntax.section_begin);
  }
  allow(rules_->syntax.think_end);
}

void AnswerGrammar::fill_content(std::int64_t remaining) {
  const bool may_call = rules_->calls != Calls::kNever && remaining >= section_cost();
  if (rules_->calls == Calls::kMust) {
    if (!begun_ && rules_->syntax.may_think && remaining > section_cost() + 1) allow(rules_->syntax.think_begin);
    return allow(rules_->syntax.section_begin);
  }
  if (rules_->content != nullptr) {
    value_->fill(bits_, remaining - 2);  // this token and the stop token
    if (!begun_ && rules_->syntax.may_think && remaining > content_cost() + 1) allow(rules_->syntax.think_begin);
  } else {
    allow_text();
    allow_stop();
    if (!begun_ && rules_->syntax.may_think) allow(rules_->syntax.think_begin);
  }
  if (may_call) allow(rules_->syntax.section_begin);
}

void AnswerGrammar::fill_json(std::int64_t remaining) {
  value_->fill(bits_, remaining - 2);
  if (value_->can_end()) allow_stop();
}

void AnswerGrammar::fill_between_calls(std::int64_t remaining) {
  const bool first = calls_ == 0;
  const bool another = first || phase_ == Phase::kNextCall || (rules_->many_calls && remaining >= call_cost());
  if (another) allow(rules_->syntax.call_begin);
  if (first || phase_ == Phase::kNextCall) return;
  allow(rules_->syntax.section_end);
  // The fenced form writes a newline between calls.
  if (another && rules_->syntax.style == CallStyle::kDeepSeekFenced && remaining > call_cost())
    rules_->vocabulary->trie.for_prefixes("\n", [&](std::size_t, TokenId token) { allow(token); });
}

void AnswerGrammar::fill_arguments(std::int64_t remaining) {
  value_->fill(bits_, remaining - 1 - after_arguments());
  if (!value_->can_end()) return;
  if (rules_->syntax.style == CallStyle::kDeepSeekFenced) {
    rules_->vocabulary->trie.for_prefixes(kFenceEnd, [&](std::size_t length, TokenId token) {
      if (remaining - 1 >= rules_->closing_tokens[length] + 3) allow(token);
    });
  } else {
    allow(rules_->syntax.call_end);
  }
}

void AnswerGrammar::fill_closing(std::int64_t remaining) {
  rules_->vocabulary->trie.for_prefixes(kFenceEnd.substr(spelled_), [&](std::size_t length, TokenId token) {
    if (remaining - 1 >= rules_->closing_tokens[spelled_ + length] + 3) allow(token);
  });
  if (spelled_ == kFenceEnd.size()) allow(rules_->syntax.call_end);
}

void AnswerGrammar::fill_spelling(std::int64_t remaining) {
  for (const std::uint32_t tool : meant_) {
    const std::string_view rest = std::string_view(texts_[tool]).substr(spelled_);
    const std::uint32_t after = after_spelling(tool);
    if (rest.empty()) allow(rules_->syntax.separator);
    rules_->vocabulary->trie.for_prefixes(rest, [&](std::size_t length, TokenId token) {
      if (remaining - 1 >= add_costs(spelling_left(tool, spelled_ + length), after)) allow(token);
    });
  }
}

}  // namespace baltoro::text
