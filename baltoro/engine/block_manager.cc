// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/block_manager.h"

#include "baltoro/base/check.h"

namespace baltoro::engine {

BlockManager::BlockManager(std::int64_t num_blocks)
    : references_(static_cast<std::size_t>(num_blocks), 0), cache_(num_blocks) {
  free_.reserve(static_cast<std::size_t>(num_blocks));
  // Lowest id on top: a lightly used cache touches few pages.
  for (std::int64_t id = num_blocks; id-- > 0;) free_.push_back(BlockId{static_cast<std::int32_t>(id)});
}

std::optional<BlockId> BlockManager::allocate() {
  std::optional<BlockId> block;
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else {
    block = cache_.evict();
  }
  if (block) references_[index_of(*block)] = 1;
  return block;
}

void BlockManager::acquire(BlockId block) {
  std::int32_t& references = references_[index_of(block)];
  if (references++ == 0) cache_.mark_used(block);
}

void BlockManager::release(BlockId block) {
  std::int32_t& references = references_[index_of(block)];
  BALTORO_CHECK(references > 0, "a block is released as often as it was taken");
  if (--references > 0) return;
  if (cache_.contains(block)) {
    cache_.mark_unused(block);
  } else {
    free_.push_back(block);
  }
}

void BlockManager::release_all(std::vector<BlockId>& chain) {
  while (!chain.empty()) {
    release(chain.back());
    chain.pop_back();
  }
}

void BlockManager::touch(std::span<const BlockId> chain) {
  for (const BlockId block : chain) acquire(block);
  for (std::size_t i = chain.size(); i-- > 0;) release(chain[i]);
}

std::optional<BlockId> BlockManager::find_cached(BlockId parent, std::span<const TokenId> tokens, CacheSalt salt) {
  const std::optional<BlockId> block = cache_.find(parent, tokens, salt);
  if (block) acquire(*block);
  return block;
}

BlockId BlockManager::cache(BlockId parent, std::span<const TokenId> tokens, BlockId block, CacheSalt salt) {
  const BlockId known = cache_.insert(parent, tokens, block, salt);
  if (known != block) {
    acquire(known);
    release(block);
  }
  while (const auto tail = cache_.take_covered_tail(known)) free_.push_back(*tail);
  return known;
}

void BlockManager::adopt(BlockId parent, std::span<const TokenId> tokens, BlockId block, CacheSalt salt) {
  BALTORO_CHECK(cache_.insert(parent, tokens, block, salt) == block, "a block that is adopted is not known yet");
  BALTORO_CHECK(--references_[index_of(block)] == 0, "nobody else holds a block that is adopted");
  cache_.mark_unused_before_parent(block);
  while (const auto tail = cache_.take_covered_tail(block)) free_.push_back(*tail);
}

void BlockManager::cache_tail(BlockId parent, std::span<const TokenId> tokens, BlockId block, CacheSalt salt) {
  if (references_[index_of(block)] == 1) static_cast<void>(cache_.insert_tail(parent, tokens, block, salt));
}

Status BlockManager::check_integrity(std::span<const std::span<const BlockId>> chains) const {
  BALTORO_TRY_STATUS(cache_.check_integrity());
  std::vector<std::int32_t> references(references_.size(), 0);
  for (const auto& chain : chains)
    for (BlockId block : chain) ++references[index_of(block)];
  if (references != references_)
    return Error{Errc::kInternal, "[block_manager] reference counts differ from the tables"};
  std::vector<bool> is_free(references_.size(), false);
  for (BlockId block : free_) {
    if (is_free[index_of(block)]) return Error{Errc::kInternal, "[block_manager] a block is free twice"};
    is_free[index_of(block)] = true;
  }
  std::int64_t referenced = 0;
  for (std::size_t i = 0; i < references_.size(); ++i) {
    referenced += references_[i] > 0;
    const BlockId block{static_cast<std::int32_t>(i)};
    if (is_free[i] && (references_[i] > 0 || cache_.contains(block)))
      return Error{Errc::kInternal, "[block_manager] a block is free and in use"};
  }
  if (referenced + num_available() != num_blocks()) return Error{Errc::kInternal, "[block_manager] a block is lost"};
  return {};
}

}  // namespace baltoro::engine
