// SPDX-License-Identifier: Apache-2.0
// Masks inside a plain JSON string, for any bounds on its length, and inside a member's name. Inside text/ only.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "baltoro/text/json_string_states.h"
#include "baltoro/text/mask_store.h"
#include "baltoro/text/token_trie.h"

namespace baltoro::text {

// What each token is within a string: found once, so that no bounds on the length ever need more than a pass over
// ready masks. Immutable; any thread.
class StringMasks {
 public:
  static constexpr std::size_t kBeforeQuote = kStringStates;  // a place beside the states: the string has not begun

  StringMasks() = default;
  StringMasks(const TokenTrie& trie, const Tokenizer& tokenizer);

  // Sets the bits of the tokens after which the reader is still in the string. `missing` characters must still come,
  // at most `room` may, the one begun included; at most `budget` tokens may follow.
  void set_inside(std::span<std::uint64_t> allowed, std::size_t place, std::uint32_t missing, std::uint32_t room,
                  std::int64_t budget) const;
  // Tokens that end the string, with the characters that they add.
  const TokenExits& exits(std::size_t place) const { return places_[place].exits; }

  // Tokens within a name that holds no escapes, and those that close it: their spelling is what stands behind the
  // quote. Costs are the bytes that a last character lacks. `state`: one without escapes.
  const MaskEntry& name(std::size_t state) const { return *names_[state]; }

 private:
  struct Inside {
    TokenId token;
    std::uint16_t characters;  // a last one that is not whole included
    std::uint8_t left;         // bytes that one lacks
  };
  struct Place {
    std::vector<std::uint64_t> all;  // of `inside`
    // Ascending by characters. kWhole: only what `whole` does not have.
    std::vector<Inside> inside;
    std::uint32_t most_characters = 0, most_left = 0;
    TokenExits exits;
  };
  static constexpr std::uint32_t kShort = 16;
  void add_place(std::size_t place, const TokenTrie& trie, const Tokenizer& tokenizer);
  void add_name(StringState state, const TokenTrie& trie, const Tokenizer& tokenizer);

  std::array<Place, kBeforeQuote + 1> places_;
  // [n]: tokens between two characters that are n whole ones or fewer, n up to kShort.
  std::array<std::vector<std::uint64_t>, kShort + 1> whole_;
  std::array<std::shared_ptr<const MaskEntry>, kBackslash> names_;
};

}  // namespace baltoro::text
