// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/answer_grammar.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace baltoro::text {
namespace {

constexpr std::string_view kFenceEnd = "\n```";
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
  rules->closing_tokens = trie.fewest_tokens(fenced ? kFenceEnd : std::string_view());
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

// ---- costs: at most so many tokens to the end of the answer

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

// ---- masks

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

// ---- tokens

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
