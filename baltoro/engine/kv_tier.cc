// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/kv_tier.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace baltoro::engine {
namespace {

std::span<const TokenId> tokens_of(const Sequence& sequence, std::int64_t index) {
  return std::span(sequence.tokens).subspan(static_cast<std::size_t>(index * kBlockTokens), kBlockTokens);
}

}  // namespace

KvTier::KvTier(std::unique_ptr<KvStore> store, ModelRunner& runner)
    : store_(std::move(store)),
      runner_(runner),
      keys_(static_cast<std::size_t>(runner.num_blocks())),
      indices_(keys_.size()),
      unwritten_(keys_.size(), kNoBlock),
      is_unwritten_(keys_.size(), false) {}

void KvTier::on_full(const BlockManager& blocks, BlockId block, const Sequence& sequence, std::int64_t index) {
  const ChainKeys& keys = store_->directory().keys();
  const BlockId parent = blocks.known().parent_of(block);
  const ChainKey before = parent == kNoBlock ? keys.root(sequence.owner->request.cache_salt) : keys_[index_of(parent)];
  const ChainKey key = keys.next(before, tokens_of(sequence, index));
  keys_[index_of(block)] = key;
  indices_[index_of(block)] = index;
  if (is_unwritten_[index_of(block)] || store_->directory().contains(key)) return;
  unwritten_[(begin_ + count_++) % unwritten_.size()] = block;
  is_unwritten_[index_of(block)] = true;
}

void KvTier::on_finish(const Sequence& sequence) {
  if (sequence.blocks_cached == 0) return;
  try {
    std::vector<ChainKey> chain;
    for (const BlockId block : std::span(sequence.blocks).first(static_cast<std::size_t>(sequence.blocks_cached)))
      chain.push_back(keys_[index_of(block)]);
    store_->touch(std::move(chain));
  } catch (const std::bad_alloc&) {  // the order in which pages leave is all that suffers
  }
}

// Whether the block still holds what that key names.
bool KvTier::is_still(const BlockManager& blocks, BlockId block, const ChainKey& key) const {
  return blocks.is_full_and_known(block) && keys_[index_of(block)] == key;
}

PageId KvTier::page_of(const ChainKey& before, const ChainKey& key, std::int64_t index,
                       std::span<const TokenId> tokens) const {
  PageId id{.fingerprint = store_->directory().fingerprint(),
            .before = before,
            .key = key,
            .index = static_cast<std::uint64_t>(index)};
  std::copy(tokens.begin(), tokens.end(), id.tokens.begin());
  return id;
}

void KvTier::hold(std::unique_ptr<Sequence>& sequence, BlockManager& blocks) {
  try {
    find_pages(sequence, blocks);
  } catch (const std::bad_alloc&) {  // computed then
  }
}

void KvTier::find_pages(std::unique_ptr<Sequence>& sequence, BlockManager& blocks) {
  const CacheSalt salt = sequence->owner->request.cache_salt;
  const ChainKeys& keys = store_->directory().keys();
  const std::int64_t most = (sequence->length() - 1) / kBlockTokens;  // the last token is always computed
  Held held{.sequence = nullptr, .keys = {keys.root(salt)}};
  std::vector<BlockId> front;  // in memory
  for (; held.first < most; ++held.first) {
    const auto block = blocks.peek(held.last, tokens_of(*sequence, held.first), salt);
    if (!block) break;
    held.last = *block;
    held.keys[0] = keys_[index_of(*block)];
    front.push_back(*block);
  }
  for (std::int64_t index = held.first; index < most; ++index) {
    const ChainKey key = keys.next(held.keys.back(), tokens_of(*sequence, index));
    if (!store_->directory().contains(key)) break;
    held.keys.push_back(key);
  }
  if (held.wanted() == 0) return;
  blocks.touch(front);  // it was used long ago, and the first pages must not take its own blocks' place
  held.ticket = ++tickets_;
  held_.push_back(std::move(held));
  held_.back().sequence = std::move(sequence);
  ++stats_.requests_restored;
}

void KvTier::pump(BlockManager& blocks, const std::function<void(std::unique_ptr<Sequence>)>& ready) {
  store_->take_read([&](const KvPage& page) { take(blocks, page); });
  ask();
  for (auto held = held_.begin(); held != held_.end();) {
    const bool done = held->in_flight == 0 && (held->failed || held->placed == held->wanted());
    if (done) ready(std::move(held->sequence));
    held = done ? held_.erase(held) : std::next(held);
  }
  write_some(blocks);
}

void KvTier::ask() {
  for (Held& held : held_) {
    while (!held.failed && held.asked < held.wanted()) {
      const std::int64_t index = held.first + static_cast<std::int64_t>(held.asked);
      const PageId id =
          page_of(held.keys[held.asked], held.keys[held.asked + 1], index, tokens_of(*held.sequence, index));
      if (!store_->read(held.ticket, id)) return;
      ++held.asked;
      ++held.in_flight;
    }
  }
}

void KvTier::take(BlockManager& blocks, const KvPage& page) {
  const auto held = std::find_if(held_.begin(), held_.end(), [&](const Held& h) { return h.ticket == page.ticket; });
  if (held == held_.end()) return;
  --held->in_flight;
  if (!held->failed) held->failed = !page.found || !place(blocks, *held, page.kv);
}

bool KvTier::place(BlockManager& blocks, Held& held, std::span<const std::byte> kv) {
  const std::int64_t index = held.first + static_cast<std::int64_t>(held.placed);
  const auto tokens = tokens_of(*held.sequence, index);
  const ChainKey& before = held.keys[held.placed];
  const CacheSalt salt = held.sequence->owner->request.cache_salt;
  const auto chain_is_there = [&] { return held.last == kNoBlock || is_still(blocks, held.last, before); };
  if (!chain_is_there()) return false;
  auto block = blocks.peek(held.last, tokens, salt);
  if (!block) {
    block = blocks.allocate();
    if (!block) return false;
    if (!chain_is_there()) {  // memory holds nothing but this chain: its end was just given away
      blocks.release(*block);
      return false;
    }
    const std::span<std::byte> memory = runner_.block_memory(*block);
    std::memcpy(memory.data(), kv.data(), kv.size());
    blocks.adopt(held.last, tokens, *block, salt);
    keys_[index_of(*block)] = held.keys[held.placed + 1];
    indices_[index_of(*block)] = index;
    ++stats_.blocks_restored;
  }
  held.last = *block;
  ++held.placed;
  return true;
}

void KvTier::write_some(const BlockManager& blocks) {
  if (count_ == 0 || !store_->directory().takes_writes()) return;
  for (; count_ > 0; begin_ = (begin_ + 1) % unwritten_.size(), --count_) {
    const BlockId block = unwritten_[begin_];
    const ChainKey& key = keys_[index_of(block)];
    if (blocks.is_full_and_known(block) && !store_->directory().contains(key)) {
      const std::span<std::byte> buffer = store_->write_buffer();
      if (buffer.empty()) return;
      const BlockId parent = blocks.known().parent_of(block);
      const ChainKey before =
          parent == kNoBlock ? store_->directory().keys().root(blocks.known().salt_of(block)) : keys_[index_of(parent)];
      const std::span<const std::byte> memory = runner_.block_memory(block);
      std::memcpy(buffer.data(), memory.data(), memory.size());
      store_->write(page_of(before, key, indices_[index_of(block)], blocks.known().tokens_of(block)));
    }
    is_unwritten_[index_of(block)] = false;
  }
}

void KvTier::drop(const RequestState& owner) {
  held_.remove_if([&](const Held& held) { return held.sequence->owner == &owner; });
}

void KvTier::clear() {
  held_.clear();
  begin_ = count_ = 0;
  is_unwritten_.assign(is_unwritten_.size(), false);
}

KvTierStats KvTier::stats() const {
  KvTierStats stats = stats_;
  const std::int64_t wanted = store_->directory().takes_writes() ? static_cast<std::int64_t>(count_) : 0;
  stats.blocks_unwritten = wanted + store_->pages_on_their_way();
  stats.requests_held = static_cast<std::int64_t>(held_.size());
  return stats;
}

}  // namespace baltoro::engine
