// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "baltoro/engine/prefix_cache.h"

namespace baltoro::engine {

// Who holds which KV block. A block is free, referenced by sequences, or unreferenced but cached: kept for a later
// prompt that starts the same, until its room is needed. Engine thread only; allocates nothing after construction.
class BlockManager {
 public:
  explicit BlockManager(std::int64_t num_blocks);

  // A block for one sequence to write, with one reference; a free one, else the least recently used cached one.
  // Empty when every block is referenced.
  std::optional<BlockId> allocate();
  void acquire(BlockId block);  // one more reference; also of a cached block that had none
  void release(BlockId block);
  void release_all(std::vector<BlockId>& chain);  // tail first, as the prefix cache needs it; leaves it empty
  // Makes a chain of known blocks, root first, the last to be given away of those that nobody holds.
  void touch(std::span<const BlockId> chain);
  bool is_shared(BlockId block) const { return references_[index_of(block)] > 1; }

  // Takes a reference to the cached block with these 64 tokens after `parent`, if there is one.
  std::optional<BlockId> find_cached(BlockId parent, std::span<const TokenId> tokens, CacheSalt salt = {});
  // The known block that shares most of these tokens from the front, without a reference: to be copied in this step,
  // before anything is written.
  PartialMatch closest(BlockId parent, std::span<const TokenId> tokens, CacheSalt salt = {}) const {
    return cache_.closest(parent, tokens, salt);
  }
  // Puts a fully written block into the cache. Where the same content is there already, the reference moves to that
  // block; returns the block that the sequence now holds.
  BlockId cache(BlockId parent, std::span<const TokenId> tokens, BlockId block, CacheSalt salt = {});
  // Makes a block that was just allocated and filled known without anybody holding it: it is kept for a prompt to come.
  // Its content must not be known yet.
  void adopt(BlockId parent, std::span<const TokenId> tokens, BlockId block, CacheSalt salt = {});
  // Makes the rows of a partly filled block known; it is kept when its one reference goes. Nothing happens where
  // others hold it too or the rows are known already.
  void cache_tail(BlockId parent, std::span<const TokenId> tokens, BlockId block, CacheSalt salt = {});

  // Looks without taking a reference.
  std::optional<BlockId> peek(BlockId parent, std::span<const TokenId> tokens, CacheSalt salt = {}) const {
    return cache_.find(parent, tokens, salt);
  }
  bool is_full_and_known(BlockId block) const { return cache_.contains(block) && cache_.is_full(block); }
  const PrefixCache& known() const { return cache_; }

  std::int64_t num_blocks() const { return static_cast<std::int64_t>(references_.size()); }
  std::int64_t num_free() const { return static_cast<std::int64_t>(free_.size()); }
  std::int64_t num_cached() const { return cache_.num_unused(); }  // unreferenced but kept
  std::int64_t num_available() const { return num_free() + num_cached(); }

  // `chains`: the block tables of all live sequences. kInternal names the first broken invariant. O(blocks).
  Status check_integrity(std::span<const std::span<const BlockId>> chains) const;

 private:
  std::vector<std::int32_t> references_;  // [num_blocks]
  std::vector<BlockId> free_;             // a stack
  PrefixCache cache_;
};

}  // namespace baltoro::engine
