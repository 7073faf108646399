// SPDX-License-Identifier: Apache-2.0
// Masks inside a plain JSON string, for any bounds on its length. Inside text/ only.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "baltoro/text/mask_store.h"
#include "baltoro/text/token_trie.h"

namespace baltoro::text {

// What each token is within a string, between two of its characters: found once, so that the mask of any bounds on the
// length takes one pass over the tokens. Immutable; any thread.
class StringMasks {
 public:
  StringMasks() = default;
  StringMasks(const TokenTrie& trie, const Tokenizer& tokenizer);  // which must outlive this

  // `missing` characters must still come, at most `room` may.
  std::shared_ptr<MaskEntry> entry(std::uint32_t missing, std::uint32_t room) const;

 private:
  struct Inside {
    TokenId token;
    std::uint16_t characters;  // a last one that is not whole included
    std::uint8_t left;         // bytes that one lacks
  };
  struct Ending {
    TokenExit exit;
    std::uint16_t characters;  // before the quote
  };
  std::vector<Inside> inside_;
  std::vector<Ending> endings_;  // in order of their spelling
  std::size_t words_ = 0;
};

}  // namespace baltoro::text
