// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/answer_grammar.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace baltoro::text {
namespace {

constexpr std::uint32_t kIndexDigits = 10;  // of a call's number, at most

Error lacks(std::string_view what) {
  return {Errc::kUnsupported,
          fmt::format("[answer] a vocabulary with a control token for {} needed, this one has none", what)};
}

AnswerRules::Spelling spelling_of(const std::string& name, CallStyle style) {
  switch (style) {
    case CallStyle::kKimi:
      return {.before = "functions." + name + ":", .after = "", .before_tokens = {}, .after_tokens = {}};
    case CallStyle::kDeepSeek:
      return {.before = name, .after = "", .before_tokens = {}, .after_tokens = {}};
    case CallStyle::kDeepSeekFenced:
      return {.before = "function", .after = name + "\n```json\n", .before_tokens = {}, .after_tokens = {}};
  }
  return {};
}

Status check_markers(const AnswerRules& rules) {
  const AnswerSyntax& syntax = rules.syntax;
  if (rules.calls != Calls::kNever &&
      !(syntax.section_begin && syntax.section_end && syntax.call_begin && syntax.separator && syntax.call_end))
    return lacks("each marker of a tool call");
  const bool bound = rules.calls == Calls::kMust || rules.content != nullptr;
  if (bound && syntax.stop.empty()) return lacks("the end of an answer");
  if ((bound || rules.thinking_budget) && syntax.in_reasoning && !syntax.think_end)
    return lacks("the end of reasoning");
  return {};
}

}  // namespace

Result<std::shared_ptr<const AnswerRules>> make_answer_rules(AnswerRules given) {
  BALTORO_TRY_STATUS(check_markers(given));
  auto rules = std::make_shared<AnswerRules>(std::move(given));
  const TokenTrie& trie = rules->vocabulary->trie;
  const bool fenced = rules->syntax.style == CallStyle::kDeepSeekFenced;
  rules->closing_tokens = trie.fewest_tokens(fenced ? AnswerGrammar::kFenceEnd : std::string_view());
  for (const CallableTool& tool : rules->tools) {
    AnswerRules::Spelling spelling = spelling_of(tool.name, rules->syntax.style);
    spelling.before_tokens = trie.fewest_tokens(spelling.before);
    spelling.after_tokens = trie.fewest_tokens(spelling.after);
    rules->spellings.push_back(std::move(spelling));
  }
  rules->least_tokens = AnswerGrammar::least_tokens(rules);
  return std::shared_ptr<const AnswerRules>(std::move(rules));
}

AnswerGrammar::AnswerGrammar(std::shared_ptr<const AnswerRules> rules) : rules_(std::move(rules)) {
  bits_.resize(rules_->vocabulary->trie.text_tokens().size());
  if (rules_->syntax.in_reasoning && !rules_->syntax.think_as_text) phase_ = Phase::kThinking;
  texts_.resize(rules_->tools.size());
  for (std::size_t t = 0; t < texts_.size(); ++t)
    texts_[t].reserve(std::max(rules_->spellings[t].before.size() + kIndexDigits, rules_->spellings[t].after.size()));
  meant_.reserve(texts_.size());
  if (rules_->content != nullptr) {
    value_.emplace(rules_->vocabulary, rules_->content);
  } else if (!rules_->tools.empty()) {
    value_.emplace(rules_->vocabulary, rules_->tools.front().parameters);
  }
}

std::uint32_t AnswerGrammar::least_tokens(const std::shared_ptr<const AnswerRules>& rules) {
  const AnswerGrammar grammar(rules);
  const std::uint32_t content = grammar.content_cost();
  if (content == 0) return 0;
  return add_costs(content, grammar.phase_ == Phase::kThinking ? 1 : 0);
}

// Costs: at most so many tokens to the end of the answer.

std::uint32_t AnswerGrammar::after_arguments() const { return rules_->closing_tokens.front() + 3U; }

std::uint32_t AnswerGrammar::spelling_left(std::size_t tool, std::size_t at) const {
  const AnswerRules::Spelling& spelling = rules_->spellings[tool];
  if (phase_ == Phase::kName) return spelling.after_tokens[at];
  const auto digits = static_cast<std::uint32_t>(index_digits_);
  if (at <= spelling.before.size()) return spelling.before_tokens[at] + digits;
  return digits - static_cast<std::uint32_t>(at - spelling.before.size());
}

std::uint32_t AnswerGrammar::after_spelling(std::size_t tool) const {
  const std::uint32_t arguments =
      add_costs(rules_->tools[tool].parameters->nodes[rules_->tools[tool].parameters->root].cost, after_arguments());
  if (phase_ == Phase::kName) return arguments;
  return add_costs(1U + rules_->spellings[tool].after_tokens.front(), arguments);
}

std::uint32_t AnswerGrammar::call_cost() const {
  std::uint32_t least = kNeverEnds;
  for (std::size_t t = 0; t < rules_->tools.size(); ++t) {
    const AnswerRules::Spelling& spelling = rules_->spellings[t];
    const std::uint32_t names = spelling.before_tokens.front() + 1U + spelling.after_tokens.front();
    const SchemaGraph& graph = *rules_->tools[t].parameters;
    least = std::min(least, add_costs(names, graph.nodes[graph.root].cost));
  }
  return add_costs(least, 1 + kIndexDigits + after_arguments());
}

std::uint32_t AnswerGrammar::section_cost() const { return add_costs(1, call_cost()); }

std::uint32_t AnswerGrammar::content_cost() const {
  if (rules_->calls == Calls::kMust) return section_cost();
  if (rules_->content == nullptr) return 0;
  return add_costs(rules_->content->nodes[rules_->content->root].cost, 1);
}

void AnswerGrammar::accept(TokenId token) {
  const bool special = rules_->vocabulary->tokenizer->is_special(token);
  if (phase_ == Phase::kThinking) ++thought_;
  if (special) {
    accept_control(token);
  } else {
    accept_bytes(rules_->vocabulary->tokenizer->token_bytes(token));
  }
  begun_ = true;
}

void AnswerGrammar::accept_control(TokenId token) {
  const AnswerSyntax& syntax = rules_->syntax;
  if (std::find(syntax.stop.begin(), syntax.stop.end(), token) != syntax.stop.end()) {
    // Free text may go on behind it where the request ignores stop tokens.
    if (phase_ == Phase::kJson || phase_ == Phase::kSection) phase_ = Phase::kEnd;
  } else if (syntax.think_end == token) {
    phase_ = Phase::kStart;
  } else if (syntax.think_begin == token) {
    phase_ = Phase::kThinking;
  } else if (syntax.section_begin == token) {
    phase_ = Phase::kSection;
  } else if (syntax.section_end == token) {
    phase_ = Phase::kEnd;
  } else if (syntax.call_begin == token) {
    begin_head();
  } else if (syntax.separator == token) {
    begin_name();
  } else if (syntax.call_end == token) {
    ++calls_;
    phase_ = Phase::kSection;
  }
}

void AnswerGrammar::accept_bytes(std::string_view bytes) {
  switch (phase_) {
    case Phase::kStart:
      phase_ = rules_->content != nullptr ? Phase::kJson : Phase::kText;
      [[fallthrough]];
    case Phase::kJson:
      if (phase_ == Phase::kJson) static_cast<void>(value_->accept(bytes));
      break;
    case Phase::kSection:
      phase_ = Phase::kNextCall;
      break;
    case Phase::kHead:
    case Phase::kName:
      spell(bytes);
      break;
    case Phase::kArguments:
      if (value_->can_end() && rules_->syntax.style == CallStyle::kDeepSeekFenced) {
        phase_ = Phase::kClosing;
        spelled_ = bytes.size();
      } else {
        static_cast<void>(value_->accept(bytes));
      }
      break;
    case Phase::kClosing:
      spelled_ += bytes.size();
      break;
    case Phase::kThinking:
    case Phase::kText:
    case Phase::kNextCall:
    case Phase::kEnd:
      break;
  }
}

void AnswerGrammar::begin_head() {
  phase_ = Phase::kHead;
  spelled_ = 0;
  meant_.clear();
  std::array<char, kIndexDigits> digits;
  const auto end = std::to_chars(digits.begin(), digits.end(), rules_->first_index + calls_).ptr;
  const std::string_view index(digits.begin(), rules_->syntax.style == CallStyle::kKimi ? end : digits.begin());
  index_digits_ = index.size();
  for (std::uint32_t t = 0; t < rules_->tools.size(); ++t) {
    texts_[t].assign(rules_->spellings[t].before).append(index);
    meant_.push_back(t);
  }
}

void AnswerGrammar::spell(std::string_view bytes) {
  std::erase_if(
      meant_, [&](std::uint32_t tool) { return !std::string_view(texts_[tool]).substr(spelled_).starts_with(bytes); });
  spelled_ += bytes.size();
  if (phase_ == Phase::kName) begin_arguments();
}

// Behind the separator: the rest of the form's words, then the arguments.
void AnswerGrammar::begin_name() {
  std::erase_if(meant_, [&](std::uint32_t tool) { return texts_[tool].size() != spelled_; });
  phase_ = Phase::kName;
  spelled_ = 0;
  for (const std::uint32_t tool : meant_) texts_[tool] = rules_->spellings[tool].after;
  begin_arguments();
}

// Once a tool's text is whole. No text is the beginning of another's: a newline ends the name.
void AnswerGrammar::begin_arguments() {
  const auto whole =
      std::find_if(meant_.begin(), meant_.end(), [&](std::uint32_t tool) { return texts_[tool].size() == spelled_; });
  if (whole == meant_.end()) return;
  phase_ = Phase::kArguments;
  value_->restart(rules_->tools[*whole].parameters);
}

}  // namespace baltoro::text
