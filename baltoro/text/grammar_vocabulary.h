// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>

#include "baltoro/base/result.h"
#include "baltoro/text/mask_store.h"
#include "baltoro/text/string_masks.h"
#include "baltoro/text/token_trie.h"
#include "baltoro/text/tokenizer.h"

namespace baltoro::text {

// What all grammars of a vocabulary share.
struct GrammarVocabulary {
  TokenTrie trie;
  StringMasks strings;
  MaskStore masks{std::size_t{64} << 20};
  std::shared_ptr<const Tokenizer> tokenizer;
};
// kUnsupported as TokenTrie::build.
Result<std::shared_ptr<GrammarVocabulary>> make_grammar_vocabulary(std::shared_ptr<const Tokenizer> tokenizer);

}  // namespace baltoro::text
