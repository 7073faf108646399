// SPDX-License-Identifier: Apache-2.0
// Texts drawn at random from a grammar's masks, for tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/text/grammar_matcher.h"
#include "baltoro/text/test_tokenizer.h"

namespace baltoro::text {

// Bytes, and some longer tokens of the kind that real vocabularies have.
class SmallTokenizer final : public TestTokenizer {
 public:
  SmallTokenizer() : TestTokenizer({"<|im_end|>"}) {}
  std::string_view token_bytes(TokenId id) const override {
    return id < 257 ? TestTokenizer::token_bytes(id) : std::string_view(kLong[static_cast<std::size_t>(id) - 257]);
  }
  bool is_special(TokenId id) const override { return id == 256; }
  TokenId vocab_size() const override { return 257 + static_cast<TokenId>(std::size(kLong)); }

 private:
  static constexpr std::string_view kLong[] = {
      "\":",          "\",",          "\":\"", "\",\"",  "{\"",      "{}",    "[]",   "\"}",    "\"]",
      "},",           "],",           "},{\"", "true",   "false",    "null",  "name", "\"name", "12",
      "123",          "0.5",          "1e",    "-1",     "ab",       "abc",   "\\\"", "\\u00",  "\xE4\xB8",
      "\xE4\xB8\xAD", "\xF0\x9F\x98", "  ",    "\"\"",   "\":{}",    "}}",    "]]",   "\\\\",   "val",
      "value\":",     "a\":1,\"a\":", "a\":",  "\"a\":", "\"b\":\"", "2024-", "T1",   "[[",     "[{\"",
      "\":{\"",       "\":[",         "[\"",   "1,",     "1]",       "1}",    "0,\"", "\"],",   "\\ud83d"};
};

inline std::vector<TokenId> tokens_of(const std::vector<std::uint64_t>& allowed) {
  std::vector<TokenId> tokens;
  for (std::size_t w = 0; w < allowed.size(); ++w)
    for (std::uint64_t bits = allowed[w]; bits != 0; bits &= bits - 1)
      tokens.push_back(static_cast<TokenId>(w * 64 + static_cast<std::size_t>(std::countr_zero(bits))));
  return tokens;
}

inline std::vector<std::uint64_t> mask_of(const GrammarVocabulary& vocabulary, GrammarMatcher& matcher,
                                          std::int64_t budget) {
  std::vector<std::uint64_t> allowed((static_cast<std::size_t>(vocabulary.trie.vocab_size()) + 63) / 64);
  matcher.fill(allowed, budget);
  return allowed;
}

// `tokens`: the budget, the end included. `look(text, matcher, budget)`: at every place before its mask is made.
template <typename Look>
std::string sample(GrammarVocabulary& vocabulary, GrammarMatcher matcher, std::mt19937& rng, std::int64_t tokens,
                   double stop_chance, const Look& look) {
  std::string text;
  for (; tokens > 0; --tokens) {
    look(text, matcher, tokens - 1);
    const std::vector<TokenId> choices = tokens_of(mask_of(vocabulary, matcher, tokens - 1));
    if (matcher.can_end() && (choices.empty() || std::bernoulli_distribution(stop_chance)(rng))) return text;
    EXPECT_FALSE(choices.empty()) << "a dead end behind " << text;
    if (choices.empty()) return text;
    const TokenId token = choices[std::uniform_int_distribution<std::size_t>(0, choices.size() - 1)(rng)];
    const std::string_view bytes = vocabulary.tokenizer->token_bytes(token);
    text += bytes;
    const bool taken = matcher.accept(bytes);
    EXPECT_TRUE(taken) << "an allowed token was not taken: " << text;
    if (!taken) return text;
  }
  EXPECT_TRUE(matcher.can_end()) << "the budget was not met: " << text;
  return text;
}

inline std::string sample(GrammarVocabulary& vocabulary, const GrammarMatcher& matcher, std::mt19937& rng,
                          std::int64_t tokens, double stop_chance) {
  return sample(vocabulary, matcher, rng, tokens, stop_chance, [](const auto&, const auto&, std::int64_t) {});
}

}  // namespace baltoro::text
