// SPDX-License-Identifier: Apache-2.0
// Any JSON as a schema, loose and strict: no crash; and any walk through its masks: never a dead end, what is allowed
// is taken, and the value ends within its budget as JSON.
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "baltoro/base/check.h"
#include "baltoro/base/json.h"
#include "baltoro/text/grammar_matcher.h"
#include "baltoro/text/test_tokenizer.h"

namespace {

using namespace baltoro;
using namespace baltoro::text;

void walk(const std::shared_ptr<GrammarVocabulary>& vocabulary, const std::shared_ptr<const SchemaGraph>& graph,
          std::uint32_t seed) {
  GrammarMatcher matcher(vocabulary, graph);
  const std::int64_t least = matcher.cost();
  if (least > 2000) return;
  std::int64_t left = least + seed % 40;
  std::string text;
  std::vector<std::uint64_t> allowed((static_cast<std::size_t>(vocabulary->trie.vocab_size()) + 63) / 64);
  for (; left > 0; --left) {
    std::fill(allowed.begin(), allowed.end(), 0);
    matcher.fill(allowed, left - 1);
    std::vector<TokenId> choices;
    for (TokenId id = 0; id < vocabulary->trie.vocab_size(); ++id)
      if ((allowed[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0) choices.push_back(id);
    if (choices.empty()) break;
    seed = seed * 1664525U + 1013904223U;
    const TokenId token = choices[(seed >> 8) % choices.size()];
    text += vocabulary->tokenizer->token_bytes(token);
    BALTORO_CHECK(matcher.accept(vocabulary->tokenizer->token_bytes(token)), "an allowed token was not taken");
  }
  BALTORO_CHECK(matcher.can_end(), "the value did not end");
  BALTORO_CHECK(json::parse(text).ok(), "the value is no JSON");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto vocabulary =
      *make_grammar_vocabulary(std::make_shared<TestTokenizer>(std::vector<std::string>{"<|im_end|>"}));
  if (size < 4) return 0;
  std::uint32_t seed;
  std::memcpy(&seed, data, 4);
  const auto schema = json::parse({reinterpret_cast<const char*>(data) + 4, size - 4});
  if (!schema.ok()) return 0;
  const auto strict = compile_schema(*schema, SchemaMode::kStrict, false, vocabulary->trie);
  const auto loose = compile_schema(*schema, SchemaMode::kLoose, (seed & 1) != 0, vocabulary->trie);
  BALTORO_CHECK(loose.ok(), "loose refused");
  if (strict.ok()) walk(vocabulary, *strict, seed);
  walk(vocabulary, *loose, seed);
  return 0;
}
