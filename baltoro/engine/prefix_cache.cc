// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/prefix_cache.h"

#include <algorithm>

#include "baltoro/base/check.h"
#include "baltoro/engine/random.h"

namespace baltoro::engine {

PrefixCache::PrefixCache(std::int64_t num_blocks, std::int64_t num_buckets)
    : entries_(static_cast<std::size_t>(num_blocks)),
      buckets_(static_cast<std::size_t>(num_buckets > 0 ? num_buckets : 2 * num_blocks + 1), kNoBlock),
      hash_key_(entropy()) {}

std::size_t PrefixCache::bucket_of(BlockId parent, std::span<const TokenId> tokens, CacheSalt salt) const {
  std::uint64_t hash = mix64(hash_key_ ^ static_cast<std::uint32_t>(parent));
  if (parent == kNoBlock) hash = mix64(mix64(hash ^ salt.high) ^ salt.low);
  for (TokenId token : tokens) hash = mix64(hash ^ static_cast<std::uint32_t>(token));
  return static_cast<std::size_t>(hash % buckets_.size());
}

bool PrefixCache::is_child(const Entry& entry, BlockId parent, CacheSalt salt) const {
  return entry.parent == parent && (parent != kNoBlock || entry.salt == salt);
}

std::int64_t PrefixCache::shared_tokens(const Entry& entry, std::span<const TokenId> tokens) const {
  const auto most = std::min(static_cast<std::size_t>(entry.count), tokens.size());
  return std::mismatch(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(most), entry.tokens.begin()).first -
         tokens.begin();
}

BlockId& PrefixCache::first_child_of(BlockId parent) {
  return parent == kNoBlock ? first_root_ : entries_[index_of(parent)].first_child;
}

std::optional<BlockId> PrefixCache::find(BlockId parent, std::span<const TokenId> tokens, CacheSalt salt) const {
  BALTORO_CHECK(tokens.size() == kBlockTokens, "only full blocks are found whole");
  for (BlockId block = buckets_[bucket_of(parent, tokens, salt)]; block != kNoBlock;) {
    const Entry& entry = entries_[index_of(block)];
    if (is_child(entry, parent, salt) && std::equal(tokens.begin(), tokens.end(), entry.tokens.begin())) return block;
    block = entry.next_in_bucket;
  }
  return std::nullopt;
}

BlockId PrefixCache::insert(BlockId parent, std::span<const TokenId> tokens, BlockId block, CacheSalt salt) {
  if (const auto known = find(parent, tokens, salt)) return *known;
  add(parent, tokens, block, salt);
  BlockId& head = buckets_[bucket_of(parent, tokens, salt)];
  entries_[index_of(block)].next_in_bucket = head;
  head = block;
  return block;
}

bool PrefixCache::insert_tail(BlockId parent, std::span<const TokenId> tokens, BlockId block, CacheSalt salt) {
  BALTORO_CHECK(!tokens.empty() && tokens.size() < kBlockTokens, "a tail is partly filled");
  if (closest(parent, tokens, salt).tokens == std::ssize(tokens)) return false;
  add(parent, tokens, block, salt);
  return true;
}

void PrefixCache::add(BlockId parent, std::span<const TokenId> tokens, BlockId block, CacheSalt salt) {
  Entry& entry = entries_[index_of(block)];
  BALTORO_CHECK(!entry.known, "a block holds one content");
  BALTORO_CHECK(parent == kNoBlock || contains(parent), "the parent of a cached block is cached");
  std::copy(tokens.begin(), tokens.end(), entry.tokens.begin());
  BlockId& first = first_child_of(parent);
  entry.salt = parent == kNoBlock ? salt : CacheSalt{};
  entry.count = static_cast<std::int32_t>(tokens.size());
  entry.parent = parent;
  entry.next_in_bucket = entry.first_child = entry.later = kNoBlock;
  entry.earlier = first;
  entry.known = true;
  if (first != kNoBlock) entries_[index_of(first)].later = block;
  first = block;
  ++num_known_;
}

std::optional<BlockId> PrefixCache::take_covered_tail(BlockId block) {
  const Entry& whole = entries_[index_of(block)];
  BlockId child = first_child_of(whole.parent);
  for (int i = 0; i < kMaxSiblings && child != kNoBlock; ++i, child = entries_[index_of(child)].earlier) {
    const Entry& tail = entries_[index_of(child)];
    if (!tail.unused || tail.count == kBlockTokens || !is_child(tail, whole.parent, whole.salt)) continue;
    if (shared_tokens(tail, whole.tokens) < tail.count) continue;
    forget(child);
    return child;
  }
  return std::nullopt;
}

PartialMatch PrefixCache::closest(BlockId parent, std::span<const TokenId> tokens, CacheSalt salt) const {
  PartialMatch best;
  BlockId child = parent == kNoBlock ? first_root_ : entries_[index_of(parent)].first_child;
  for (int i = 0; i < kMaxSiblings && child != kNoBlock; ++i, child = entries_[index_of(child)].earlier) {
    const Entry& entry = entries_[index_of(child)];
    if (!is_child(entry, parent, salt)) continue;
    const std::int64_t shared = shared_tokens(entry, tokens);
    const bool goes_on = shared < entry.count;
    const bool better = shared > best.tokens || (shared == best.tokens && goes_on && !best.next);
    if (!better && best.block != kNoBlock) continue;
    best = {.block = child, .tokens = shared, .next = std::nullopt};
    if (goes_on) best.next = entry.tokens[static_cast<std::size_t>(shared)];
  }
  return best;
}

void PrefixCache::mark_unused(BlockId block) {
  Entry& entry = entries_[index_of(block)];
  BALTORO_CHECK(entry.known && !entry.unused, "only a known block in use can fall out of use");
  entry.unused = true;
  entry.older = newest_;
  entry.newer = kNoBlock;
  (newest_ == kNoBlock ? oldest_ : entries_[index_of(newest_)].newer) = block;
  newest_ = block;
  ++num_unused_;
}

void PrefixCache::mark_unused_before_parent(BlockId block) {
  Entry& entry = entries_[index_of(block)];
  if (entry.parent == kNoBlock || !entries_[index_of(entry.parent)].unused) return mark_unused(block);
  BALTORO_CHECK(entry.known && !entry.unused, "only a known block in use can fall out of use");
  Entry& parent = entries_[index_of(entry.parent)];
  entry.unused = true;
  entry.newer = entry.parent;
  entry.older = parent.older;
  (parent.older == kNoBlock ? oldest_ : entries_[index_of(parent.older)].newer) = block;
  parent.older = block;
  ++num_unused_;
}

void PrefixCache::mark_used(BlockId block) {
  Entry& entry = entries_[index_of(block)];
  BALTORO_CHECK(entry.known && entry.unused, "only an unused block can come back into use");
  unlink_unused(entry);
}

void PrefixCache::unlink_unused(Entry& entry) {
  (entry.older == kNoBlock ? oldest_ : entries_[index_of(entry.older)].newer) = entry.newer;
  (entry.newer == kNoBlock ? newest_ : entries_[index_of(entry.newer)].older) = entry.older;
  entry.unused = false;
  --num_unused_;
}

std::optional<BlockId> PrefixCache::evict() {
  if (oldest_ == kNoBlock) return std::nullopt;
  const BlockId block = oldest_;
  forget(block);
  return block;
}

void PrefixCache::forget(BlockId block) {
  Entry& entry = entries_[index_of(block)];
  BALTORO_CHECK(entry.first_child == kNoBlock, "a chain is released tail first");
  unlink_unused(entry);
  if (entry.count == kBlockTokens) {
    BlockId* link = &buckets_[bucket_of(entry.parent, entry.tokens, entry.salt)];
    while (*link != block) link = &entries_[index_of(*link)].next_in_bucket;
    *link = entry.next_in_bucket;
  }
  if (entry.earlier != kNoBlock) entries_[index_of(entry.earlier)].later = entry.later;
  (entry.later == kNoBlock ? first_child_of(entry.parent) : entries_[index_of(entry.later)].earlier) = entry.earlier;
  entry.known = false;
  --num_known_;
}

Status PrefixCache::check_integrity() const {
  std::int64_t known = 0, full = 0, unused = 0, listed = 0, chained = 0;
  for (const Entry& entry : entries_) {
    known += entry.known;
    unused += entry.unused;
    full += entry.known && entry.count == kBlockTokens;
    if (entry.unused && !entry.known)
      return Error{Errc::kInternal, "[prefix_cache] an unknown block is listed as unused"};
    if (!entry.known || entry.parent == kNoBlock) continue;
    const Entry& parent = entries_[index_of(entry.parent)];
    if (!parent.known || parent.count != kBlockTokens)
      return Error{Errc::kInternal, "[prefix_cache] a block's parent is not known"};
    if (parent.unused && !entry.unused) return Error{Errc::kInternal, "[prefix_cache] a used block's parent is unused"};
  }
  std::vector<bool> passed(entries_.size(), false);
  for (BlockId block = oldest_; block != kNoBlock; block = entries_[index_of(block)].newer) {
    const Entry& entry = entries_[index_of(block)];
    if (++listed > unused || !entry.unused) return Error{Errc::kInternal, "[prefix_cache] the unused list is broken"};
    if (entry.parent != kNoBlock && passed[index_of(entry.parent)])
      return Error{Errc::kInternal, "[prefix_cache] a parent would be evicted before its child"};
    passed[index_of(block)] = true;
  }
  for (std::size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    for (BlockId block = buckets_[bucket]; block != kNoBlock; block = entries_[index_of(block)].next_in_bucket) {
      const Entry& entry = entries_[index_of(block)];
      if (++chained > full || !entry.known || bucket_of(entry.parent, entry.tokens, entry.salt) != bucket)
        return Error{Errc::kInternal, "[prefix_cache] a hash chain is broken"};
    }
  }
  if (known != num_known_ || unused != num_unused_ || listed != unused || chained != full)
    return Error{Errc::kInternal, "[prefix_cache] the counts do not agree"};
  return check_siblings();
}

Status PrefixCache::check_siblings() const {
  std::int64_t found = 0;
  const auto walk = [&](BlockId parent, BlockId first) {
    BlockId later = kNoBlock;
    for (BlockId child = first; child != kNoBlock; child = entries_[index_of(child)].earlier) {
      const Entry& entry = entries_[index_of(child)];
      if (++found > num_known_ || !entry.known || entry.parent != parent || entry.later != later) return false;
      later = child;
    }
    return true;
  };
  bool whole = walk(kNoBlock, first_root_);
  for (std::size_t i = 0; i < entries_.size(); ++i)
    if (entries_[i].known) whole = whole && walk(BlockId{static_cast<std::int32_t>(i)}, entries_[i].first_child);
  if (!whole || found != num_known_) return Error{Errc::kInternal, "[prefix_cache] a list of children is broken"};
  return {};
}

}  // namespace baltoro::engine
