// SPDX-License-Identifier: Apache-2.0
// Any rules of an answer. Tokens that no mask allows do no harm; an answer that follows the masks never meets a dead
// end, ends within its tokens where the rules bound it, and calls declared tools with whole JSON objects.
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/base/check.h"
#include "baltoro/base/json.h"
#include "baltoro/text/answer_grammar.h"
#include "baltoro/text/chat_format.h"
#include "baltoro/text/test_tokenizer.h"

namespace {

using namespace baltoro;
using namespace baltoro::text;

constexpr const char* kSchemas[] = {
    R"({"type":"object","properties":{"key":{"type":"string","minLength":1}},"required":["key"],"additionalProperties":false})",
    R"({"type":"object"})",
    R"({"type":"object","properties":{"n":{"enum":[1,22]},"l":{"type":"array","items":{"type":"number"}}}})",
    R"({"type":"object","properties":{"p":{"type":"string","pattern":"^a+[^b]$"},"q":{"anyOf":[{"type":"null"},{"$ref":"#"}]}},"required":["p"]})"};

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
  std::uint8_t next() { return at_ == end_ ? std::uint8_t{0} : *at_++; }
  bool empty() const { return at_ == end_; }

 private:
  const std::uint8_t* at_;
  const std::uint8_t* end_;
};

// One family on a vocabulary of bytes, made once.
struct Family {
  std::shared_ptr<TestTokenizer> tokenizer;
  std::shared_ptr<const ChatFormat> chat;
  std::shared_ptr<GrammarVocabulary> vocabulary;
  std::vector<std::shared_ptr<const SchemaGraph>> graphs;
};

const Family& family(std::uint8_t number) {
  static const std::vector<Family> all = [] {
    std::vector<Family> made(6);
    for (std::size_t f = 0; f < made.size(); ++f) {
      const auto kind = static_cast<ChatFamily>(f);
      made[f].tokenizer =
          std::make_shared<TestTokenizer>(kind <= ChatFamily::kK25 ? kimi_specials() : deepseek_specials());
      made[f].chat = *make_chat_format(kind, made[f].tokenizer);
      made[f].vocabulary = *make_grammar_vocabulary(made[f].tokenizer);
      for (const char* schema : kSchemas)
        made[f].graphs.push_back(
            *compile_schema(*json::parse(schema), SchemaMode::kLoose, true, made[f].vocabulary->trie));
    }
    return made;
  }();
  return all[number % all.size()];
}

void check_calls(const std::vector<ParsedEvent>& events, const std::vector<std::string>& names) {
  std::string arguments;
  for (const ParsedEvent& event : events) {
    if (const auto* begin = std::get_if<ParsedCallBegin>(&event)) {
      BALTORO_CHECK(std::find(names.begin(), names.end(), begin->name) != names.end(), "a tool that is not declared");
      arguments.clear();
    } else if (const auto* more = std::get_if<ParsedCallArguments>(&event)) {
      arguments += more->text;
    } else if (std::holds_alternative<ParsedCallEnd>(event)) {
      const auto value = json::parse(arguments);
      BALTORO_CHECK(value.ok() && value->is_object(), "a call's arguments are no JSON object");
    }
  }
}

// The rules that the bytes say, in one family's format.
struct Asked {
  Conversation conversation;
  RenderOptions render;
  std::vector<std::string> names;  // of the tools
  std::shared_ptr<const AnswerRules> rules;
};

Asked read_rules(const Family& f, std::uint8_t flags, Bytes& bytes) {
  Asked out;
  out.conversation.messages.push_back({.role = Role::kUser, .content = "q"});
  if ((flags & 1) != 0) out.render.thinking = (flags & 2) != 0;
  AnswerRules rules{.vocabulary = f.vocabulary, .syntax = f.chat->answer_syntax(out.conversation, out.render)};
  rules.many_calls = (flags & 4) != 0;
  rules.first_index = (flags & 8) != 0 ? 3 : 1'000'000;
  if ((flags & 16) != 0) rules.thinking_budget = bytes.next() % 8;
  rules.calls = static_cast<Calls>(bytes.next() % 3);
  for (int t = bytes.next() % 3; rules.calls != Calls::kNever && t >= 0; --t) {
    out.names.push_back(std::string("get_more").substr(0, 3 + static_cast<std::size_t>(t) * 2));
    rules.tools.push_back({out.names.back(), f.graphs[bytes.next() % f.graphs.size()]});
    out.conversation.tools.push_back({.name = out.names.back(), .declaration = {}});
  }
  if ((flags & 32) != 0) rules.content = f.graphs[bytes.next() % f.graphs.size()];
  auto made = make_answer_rules(std::move(rules));
  BALTORO_CHECK(made.ok(), "these families have all markers");
  out.rules = *std::move(made);
  return out;
}

std::vector<TokenId> allowed_tokens(AnswerGrammar& grammar, TokenId vocab, std::int64_t remaining) {
  std::vector<std::uint64_t> allowed((static_cast<std::size_t>(vocab) + 63) / 64);
  grammar.fill(allowed, remaining);
  std::vector<TokenId> tokens;
  for (TokenId id = 0; id < vocab; ++id)
    if ((allowed[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0) tokens.push_back(id);
  return tokens;
}

bool stops(const AnswerRules& rules, TokenId token) {
  return std::find(rules.syntax.stop.begin(), rules.syntax.stop.end(), token) != rules.syntax.stop.end();
}

// Tokens that no mask allows.
void go_astray(const Family& f, const Asked& asked, std::int64_t remaining, Bytes& bytes) {
  AnswerGrammar grammar(asked.rules);
  const auto parser = f.chat->make_parser(asked.conversation, asked.render);
  std::vector<ParsedEvent> events;
  const TokenId vocab = f.tokenizer->vocab_size();
  for (bool stopped = false; remaining > 0 && !stopped && !bytes.empty(); --remaining) {
    allowed_tokens(grammar, vocab, remaining);
    const std::uint8_t byte = bytes.next();
    const auto token = static_cast<TokenId>(byte % 8 == 0 ? 256 + bytes.next() % (vocab - 256) : byte);
    grammar.accept(token);
    stopped = stops(*asked.rules, token);
    if (!stopped) parser->push(token, f.tokenizer->token_bytes(token), f.tokenizer->is_special(token), events);
  }
}

void follow_masks(const Family& f, const Asked& asked, std::int64_t remaining, Bytes& bytes) {
  AnswerGrammar grammar(asked.rules);
  const auto parser = f.chat->make_parser(asked.conversation, asked.render);
  std::vector<ParsedEvent> events;
  bool stopped = false;
  for (; remaining > 0 && !stopped; --remaining) {
    const auto choices = allowed_tokens(grammar, f.tokenizer->vocab_size(), remaining);
    BALTORO_CHECK(!choices.empty(), "a dead end");
    const std::uint8_t byte = bytes.next();
    // Control tokens come last: from the end for high bytes.
    const TokenId token = byte < 192 ? choices[byte % choices.size()]
                                     : choices[choices.size() - 1 - byte % std::min<std::size_t>(choices.size(), 4)];
    grammar.accept(token);
    stopped = stops(*asked.rules, token);
    if (!stopped) parser->push(token, f.tokenizer->token_bytes(token), f.tokenizer->is_special(token), events);
  }
  BALTORO_CHECK(stopped || !parser->saw_tool_calls(), "a section of calls did not end");
  parser->finish(events);
  BALTORO_CHECK(asked.rules->least_tokens == 0 || stopped, "the answer did not end within its tokens");
  check_calls(events, asked.names);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 8) return 0;
  Bytes bytes(data, size);
  const Family& f = family(bytes.next());
  const std::uint8_t flags = bytes.next();
  const Asked asked = read_rules(f, flags, bytes);
  const std::int64_t remaining = std::int64_t{asked.rules->least_tokens} + bytes.next();
  ((flags & 64) != 0 ? go_astray : follow_masks)(f, asked, remaining, bytes);
  return 0;
}
