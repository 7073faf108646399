// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/text/answer_syntax.h"
#include "baltoro/text/grammar_matcher.h"
#include "baltoro/text/schema_graph.h"

namespace baltoro::text {

enum class Calls : std::uint8_t { kNever, kMay, kMust };

// A tool that the answer may call.
struct CallableTool {
  std::string name;
  std::shared_ptr<const SchemaGraph> parameters;
};

// What an answer has to look like. Immutable once made; any thread.
struct AnswerRules {
  std::shared_ptr<GrammarVocabulary> vocabulary;
  AnswerSyntax syntax;
  Calls calls = Calls::kNever;
  std::vector<CallableTool> tools = {};  // not empty unless kNever
  bool many_calls = true;
  std::int64_t first_index = 0;                      // of the next call, counted over the conversation
  std::shared_ptr<const SchemaGraph> content = {};   // null: free text
  std::optional<std::int64_t> thinking_budget = {};  // tokens of reasoning before its end is forced

  // Derived: fewest_tokens of what stands before and behind a call's separator, index excluded.
  struct Spelling {
    std::string before, after;
    std::vector<std::uint16_t> before_tokens, after_tokens;
  };
  std::vector<Spelling> spellings = {};
  std::vector<std::uint16_t> closing_tokens = {};
  std::uint32_t least_tokens = 0;  // that an answer of this form may need, the stop token included; 0: any will do
};

// Fills in what is derived. kUnsupported: the vocabulary has no token for a marker that the rules need.
Result<std::shared_ptr<const AnswerRules>> make_answer_rules(AnswerRules rules);

// One answer being written, token by token: reasoning, content, then calls in the family's native form. Control tokens
// come only where the form has them. A section of calls is the answer's end: behind it only a stop token comes. Where a
// call or a JSON value is due, each mask leaves only tokens after which it can be ended, stop token included, within
// the tokens that remain, given least_tokens at the start.
//   kMust: reasoning, then the section at once.   kMay: the section may open within reasoning or content.
//   content: the JSON value in place of free text, from its first token on; a section may come instead (kMay).
// Single thread. All memory is taken at the start, but for what nested values and masks not built ahead need.
class AnswerGrammar {
 public:
  static constexpr std::string_view kFenceEnd = "\n```";  // kDeepSeekFenced: behind the arguments

  explicit AnswerGrammar(std::shared_ptr<const AnswerRules> rules);

  // Sets a bit for each token that may come next; `remaining`: tokens that may still be sampled, this one included.
  void fill(std::span<std::uint64_t> allowed, std::int64_t remaining);
  void accept(TokenId token);
  static std::uint32_t least_tokens(const std::shared_ptr<const AnswerRules>& rules);

 private:
  enum class Phase : std::uint8_t {
    kThinking,
    kStart,
    kText,
    kJson,
    kSection,
    kNextCall,
    kHead,
    kName,
    kArguments,
    kClosing,
    kEnd
  };

  void fill_thinking(std::int64_t remaining);
  void fill_content(std::int64_t remaining);
  void fill_json(std::int64_t remaining);
  void fill_between_calls(std::int64_t remaining);
  void fill_arguments(std::int64_t remaining);
  void fill_spelling(std::int64_t remaining);
  void fill_closing(std::int64_t remaining);
  void allow(const std::optional<TokenId>& token);
  void allow_stop();
  void allow_text();
  std::uint32_t content_cost() const;
  std::uint32_t section_cost() const;                                   // section_begin to the stop token
  std::uint32_t call_cost() const;                                      // the cheapest call, its markers included
  std::uint32_t spelling_left(std::size_t tool, std::size_t at) const;  // fewest tokens from texts_[tool][at] on
  std::uint32_t after_spelling(std::size_t tool) const;
  std::uint32_t after_arguments() const;  // closing, call_end, section_end, stop

  void begin_head();
  void begin_name();
  void begin_arguments();
  void accept_control(TokenId token);
  void accept_bytes(std::string_view bytes);
  void spell(std::string_view bytes);

  std::shared_ptr<const AnswerRules> rules_;
  std::vector<std::uint64_t> bits_;
  Phase phase_ = Phase::kStart;
  bool begun_ = false;        // a token has come
  std::int64_t thought_ = 0;  // tokens of reasoning
  std::int64_t calls_ = 0;    // ended ones
  // A call's head or name being spelled: each tool's text, and which tools are still meant.
  std::vector<std::string> texts_;
  std::vector<std::uint32_t> meant_;
  std::size_t spelled_ = 0;
  std::size_t index_digits_ = 0;
  std::optional<GrammarMatcher> value_;  // arguments or content; none where the rules have neither
};

}  // namespace baltoro::text
