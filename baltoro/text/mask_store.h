// SPDX-License-Identifier: Apache-2.0
// Masks that depend on the innermost value alone, kept for all who come to the same place. Inside text/ only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "baltoro/text/token_trie.h"

namespace baltoro::text {

inline void set_bit(std::span<std::uint64_t> bits, TokenId id) {
  bits[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (id % 64);
}

// A token that ends a value, and what it spells behind it (valid while the exits are made).
struct TokenExit {
  std::string_view spelling;
  TokenId token;
  std::uint16_t characters = 0;  // that it adds to a string
};

// Tokens that end a value, by what they spell behind it: a trie in preorder, its first node the empty spelling.
struct TokenExits {
  struct Node {
    std::uint32_t end, tokens_begin, tokens_end;
    std::uint8_t byte;
    std::uint16_t depth;  // bytes of its spelling
  };
  std::vector<Node> nodes = {};
  std::vector<TokenId> tokens = {};
  std::vector<std::uint16_t> characters = {};  // of each token

  TokenExits() = default;
  explicit TokenExits(std::vector<TokenExit>& exits);  // which are sorted; O(n log n)
  std::size_t bytes() const;
};

// What the tokens of a vocabulary do in one place of a value, whatever lies around it.
struct MaskEntry {
  // Tokens after which the reader is still in the value: as bits, or listed where they are few.
  std::vector<std::uint64_t> bits = {};
  std::vector<TokenId> ids = {};
  std::uint32_t base_cost = 0, max_cost = 0;  // least and highest cost of the value's rest after such a token
  std::vector<TokenId> costly = {};           // those over base_cost, dearest first
  std::vector<std::pair<std::uint32_t, std::uint32_t>> costs =
      {};  // each cost over base_cost, and the end of its tokens
  TokenExits exits = {};
  std::uint32_t deepest = 0;  // nesting that was counted on, from this value's own level
  std::uint32_t widest = 1;   // alternatives that were followed at once
  bool any_inside = false;

  std::size_t bytes() const;
  // Sets the bits of the tokens after which at most `budget` tokens end the value; takes bits away from none.
  // `scratch`: as many words as allowed.
  void set_inside(std::span<std::uint64_t> allowed, std::uint32_t budget, std::span<std::uint64_t> scratch) const;
};

// Takes the tokens inside with their costs. Both lists are reordered. O(n), but for n log n in the exits.
std::shared_ptr<MaskEntry> make_mask_entry(std::vector<std::pair<std::uint32_t, TokenId>>& inside,
                                           std::vector<TokenExit>& exits, std::size_t words);

struct MaskKey {
  std::uint64_t graph = 0;
  std::uint32_t kind = 0, place = 0;
  bool operator==(const MaskKey&) const = default;
};

// Bounded: when half of its bytes are new, what was not asked for since the last time is dropped. Any thread.
class MaskStore {
 public:
  explicit MaskStore(std::size_t max_bytes) : max_bytes_(max_bytes) {}
  std::shared_ptr<const MaskEntry> find(const MaskKey& key);
  void keep(const MaskKey& key, std::shared_ptr<const MaskEntry> entry);
  std::size_t bytes() const;

 private:
  struct Hash {
    std::size_t operator()(const MaskKey& key) const;
  };
  using Entries = std::unordered_map<MaskKey, std::shared_ptr<const MaskEntry>, Hash>;
  Entries add(const MaskKey& key, std::shared_ptr<const MaskEntry> entry);

  mutable std::mutex mutex_;
  std::size_t max_bytes_, bytes_ = 0, old_bytes_ = 0;
  Entries entries_, old_;  // old_: from before entries_ was begun
};

}  // namespace baltoro::text
