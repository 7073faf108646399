// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "baltoro/engine/block_manager.h"
#include "baltoro/engine/kv_store.h"
#include "baltoro/engine/model_runner.h"
#include "baltoro/engine/scheduler.h"

namespace baltoro::engine {

struct KvTierStats {
  std::int64_t blocks_unwritten = 0;  // full, not on disk yet
  std::int64_t blocks_restored = 0;   // since start
  std::int64_t requests_held = 0;     // that wait for pages
  std::int64_t requests_restored = 0;
};

// The step between the KV cache in memory and the store on disk. Each block goes to the store when it is full, at once:
// what a process that dies had not yet written is little. A request whose next blocks are on disk is held until they
// are in memory, where the scheduler finds them like any others; what is missing or bad is computed. Pages take the
// place of the least recently used blocks, never of referenced ones. Engine thread only.
class KvTier final : public BlockObserver {
 public:
  KvTier(std::unique_ptr<KvStore> store, ModelRunner& runner);

  void on_full(const BlockManager& blocks, BlockId block, const Sequence& sequence, std::int64_t index) override;
  void on_finish(const Sequence& sequence) override;

  // Takes the sequence over where pages of it are to come first; else, also without memory for that, leaves it.
  void hold(std::unique_ptr<Sequence>& sequence, BlockManager& blocks);
  // Moves what can be moved in either direction without waiting; `ready` gets the sequences whose pages have come.
  void pump(BlockManager& blocks, const std::function<void(std::unique_ptr<Sequence>)>& ready);
  void drop(const RequestState& owner);  // its pages are not wanted any more
  void clear();                          // all blocks are forgotten, nobody is held

  bool holds() const { return !held_.empty(); }
  KvTierStats stats() const;
  KvStore& store() { return *store_; }
  const KvStore& store() const { return *store_; }

  // The block tables are the scheduler's; here are the tokens of who is held. For check_integrity.
  template <typename Visit>
  void for_each(const Visit& visit) {
    for (Held& held : held_) visit(*held.sequence);
  }

 private:
  struct Held {
    std::unique_ptr<Sequence> sequence;
    std::uint64_t ticket = 0;
    std::vector<ChainKey> keys;  // keys[0]: in front of the first wanted block; keys[i + 1]: with wanted block i
    std::int64_t first = 0;      // index of the first wanted block
    std::size_t asked = 0, placed = 0, in_flight = 0;
    BlockId last = kNoBlock;  // holds the block in front of the next
    bool failed = false;
    std::size_t wanted() const { return keys.size() - 1; }
  };
  void find_pages(std::unique_ptr<Sequence>& sequence, BlockManager& blocks);
  PageId page_of(const ChainKey& before, const ChainKey& key, std::int64_t index,
                 std::span<const TokenId> tokens) const;
  bool is_still(const BlockManager& blocks, BlockId block, const ChainKey& key) const;
  void write_some(const BlockManager& blocks);
  void ask();
  void take(BlockManager& blocks, const KvPage& page);
  bool place(BlockManager& blocks, Held& held, std::span<const std::byte> kv);

  const std::unique_ptr<KvStore> store_;
  ModelRunner& runner_;
  std::vector<ChainKey> keys_;         // [num_blocks] of each full block that is known
  std::vector<std::int64_t> indices_;  // [num_blocks] its place in its sequence
  std::vector<BlockId> unwritten_;     // a ring of num_blocks, each block once at most
  std::vector<bool> is_unwritten_;     // [num_blocks]
  std::size_t begin_ = 0, count_ = 0;  // of the ring
  std::list<Held> held_;
  std::uint64_t tickets_ = 0;
  KvTierStats stats_;
};

}  // namespace baltoro::engine
