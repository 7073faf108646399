// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/engine/request.h"
#include "baltoro/model/kv_cache.h"

namespace baltoro::engine {

using model::BlockId;
using model::kBlockTokens;

// No block: the parent of a sequence's first block, the end of a list.
inline constexpr BlockId kNoBlock{-1};

// Children of one block that a partial match looks at: bounds its time where thousands of prompts begin alike.
inline constexpr int kMaxSiblings = 64;

inline std::size_t index_of(BlockId block) { return static_cast<std::size_t>(block); }

// How far a known block goes along with a prompt, and the block's next token where it has one.
struct PartialMatch {
  BlockId block = kNoBlock;
  std::int64_t tokens = 0;  // that agree from the block's start
  std::optional<TokenId> next;
};

// Which KV blocks are known, by what they hold: a block is found by its parent block (the first one by its salt) and
// its 64 token ids, all compared exactly, so that a hash collision can never serve another prompt's KV. What a sequence
// left in its last, partly filled block is known as a tail: rows that others copy, never write.
//
// A parent outlives its children: sequences reference whole chains from the root and release them tail first, so the
// least recently used unreferenced block never has a child. Nothing is allocated after construction. Engine thread
// only.
class PrefixCache {
 public:
  // `num_buckets` 0: about two per block; a test may force collisions with 1.
  explicit PrefixCache(std::int64_t num_blocks, std::int64_t num_buckets = 0);

  // The block that holds `tokens` (64 of them) after `parent`, if one is known.
  std::optional<BlockId> find(BlockId parent, std::span<const TokenId> tokens, CacheSalt salt = {}) const;
  // Makes `block`, which is referenced, known under (parent, tokens) and returns it; or returns the block that already
  // is and leaves `block` unknown.
  BlockId insert(BlockId parent, std::span<const TokenId> tokens, BlockId block, CacheSalt salt = {});
  // Makes the first rows of `block` (1 to 63 tokens) known as a tail. False: another child of `parent` has them.
  bool insert_tail(BlockId parent, std::span<const TokenId> tokens, BlockId block, CacheSalt salt = {});
  // Forgets a tail of which the known full block `block` has all rows, and returns it.
  std::optional<BlockId> take_covered_tail(BlockId block);
  // The child of `parent` that shares most of `tokens` (at most 64) from the front, of the latest kMaxSiblings ones.
  PartialMatch closest(BlockId parent, std::span<const TokenId> tokens, CacheSalt salt = {}) const;
  bool contains(BlockId block) const { return entries_[index_of(block)].known; }
  // Of a known block.
  bool is_full(BlockId block) const { return entries_[index_of(block)].count == kBlockTokens; }
  BlockId parent_of(BlockId block) const { return entries_[index_of(block)].parent; }
  CacheSalt salt_of(BlockId block) const { return entries_[index_of(block)].salt; }
  std::span<const TokenId> tokens_of(BlockId block) const {
    const Entry& entry = entries_[index_of(block)];
    return std::span(entry.tokens).first(static_cast<std::size_t>(entry.count));
  }

  // The last reference to a known block went / the first came back.
  void mark_unused(BlockId block);
  // The same for a block whose parent may have fallen out of use before it: it leaves before its parent.
  void mark_unused_before_parent(BlockId block);
  void mark_used(BlockId block);
  // Forgets the least recently used unreferenced block and returns it.
  std::optional<BlockId> evict();

  std::int64_t num_unused() const { return num_unused_; }
  std::int64_t num_known() const { return num_known_; }
  // kInternal names the first broken invariant. For tests: O(blocks).
  Status check_integrity() const;

 private:
  struct Entry {
    std::array<TokenId, kBlockTokens> tokens;
    CacheSalt salt;          // of a first block
    std::int32_t count = 0;  // tokens; fewer than 64: a tail
    BlockId parent = kNoBlock;
    BlockId next_in_bucket = kNoBlock;             // full blocks only
    BlockId older = kNoBlock, newer = kNoBlock;    // list of unused blocks
    BlockId first_child = kNoBlock;                // the latest
    BlockId earlier = kNoBlock, later = kNoBlock;  // siblings
    bool known = false, unused = false;
  };
  std::size_t bucket_of(BlockId parent, std::span<const TokenId> tokens, CacheSalt salt) const;
  bool is_child(const Entry& entry, BlockId parent, CacheSalt salt) const;
  std::int64_t shared_tokens(const Entry& entry, std::span<const TokenId> tokens) const;
  BlockId& first_child_of(BlockId parent);
  void add(BlockId parent, std::span<const TokenId> tokens, BlockId block, CacheSalt salt);
  void forget(BlockId block);
  void unlink_unused(Entry& entry);
  Status check_siblings() const;

  std::vector<Entry> entries_;    // [num_blocks]
  std::vector<BlockId> buckets_;  // heads of chains
  BlockId first_root_ = kNoBlock;
  BlockId oldest_ = kNoBlock, newest_ = kNoBlock;
  std::int64_t num_unused_ = 0, num_known_ = 0;
  std::uint64_t hash_key_;  // per process, so that nobody can aim prompts at one bucket
};

}  // namespace baltoro::engine
