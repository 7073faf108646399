// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "baltoro/engine/block_manager.h"
#include "baltoro/engine/sequence.h"
#include "baltoro/engine/step_pace.h"

namespace baltoro::engine {

// A run of one sequence's tokens in one step.
struct Chunk {
  Sequence* sequence = nullptr;
  std::int64_t begin = 0, count = 0;                 // positions [begin, begin + count)
  std::int64_t first_logit_row = 0, logit_rows = 0;  // among the step's logit rows
};

struct BlockCopy {
  BlockId from, to;
};

// What one step does: first the copies, in order, then the chunks as one batch.
struct StepPlan {
  std::vector<BlockCopy> copies;
  std::vector<Chunk> chunks;
  std::int64_t tokens = 0, logit_rows = 0;
};

// Told of blocks as they fill. On the engine thread.
class BlockObserver {
 public:
  virtual ~BlockObserver() = default;
  // `block` holds block `index` of the sequence, is full and known.
  virtual void on_full(const BlockManager& blocks, BlockId block, const Sequence& sequence, std::int64_t index) = 0;
  virtual void on_finish(const Sequence& sequence) = 0;  // its blocks are about to be given back
};

struct SchedulerOptions {
  std::int64_t max_batch_tokens = 512, max_logit_rows = 64, max_sequences = 64, num_blocks = 0;
  bool prefix_cache = true;  // false: every prompt is computed whole
  BlockObserver* observer = nullptr;
  std::int64_t max_waiting = 1024;  // room for so many is made at once, so that no step allocates
  // While sequences decode, prompts get only as many tokens of a step as let it end in this time, by what steps have
  // taken so far, but min_prefill_tokens where there is room; 0: no bound.
  double max_gap_seconds = 0;
  std::int64_t min_prefill_tokens = 16;
};

// Decides which tokens are computed next and in which KV blocks (continuous batching with chunked prefill; Kwon et al.
// 2023, Agrawal et al. 2023).
// - Decodes first, longest unserved first when a step cannot hold all; then prompts, within max_gap_seconds: half of
//   what is left for the first in rank, the rest by priority and then shortest first, so that a short prompt overtakes
//   a long one and none starves.
// - A prompt starts when KV for all of it can be had. One that ranks before running ones takes the place of the last of
//   them, if that is enough. When a decode finds no block, the last in rank is preempted. Preempted: it gives its
//   blocks back, waits in its place in line, and is recomputed later. So the first in rank always advances.
// Nobody is let in past one that waits and ranks before it. Engine thread only.
class Scheduler {
 public:
  explicit Scheduler(SchedulerOptions options);

  void add(std::unique_ptr<Sequence> sequence);  // into line, by its rank
  // The next step's work; empty when there is none. Valid until the next call.
  const StepPlan& plan();
  // The planned rows have been computed: advances the sequences and offers full blocks to the prefix cache.
  void commit();
  // How long the step took, for max_gap_seconds. Changes the size of later steps, never a result.
  void note_step_seconds(double seconds);
  // A new choice that shares all of `leader`'s blocks, running. A partly filled one is copied at the first write.
  Sequence& fork(const Sequence& leader, std::int32_t choice);
  // Takes the sequence out of work and gives its blocks back at once; sweep() destroys it.
  void finish(Sequence& sequence);
  void sweep();

  template <typename Visit>
  void for_each(const Visit& visit) {
    for (std::size_t i = 0; i < running_.size(); ++i) visit(*running_[i]);
    for (std::size_t i = 0; i < waiting_.size(); ++i) visit(*waiting_[i]);
  }
  bool idle() const { return running_.empty() && waiting_.empty(); }
  std::int64_t num_running() const { return static_cast<std::int64_t>(running_.size()); }
  std::int64_t num_waiting() const { return static_cast<std::int64_t>(waiting_.size()); }
  std::int64_t num_decoding() const { return num_decoding_; }  // when the last step was planned
  std::int64_t preemptions() const { return preemptions_; }
  const BlockManager& blocks() const { return blocks_; }
  BlockManager& blocks() { return blocks_; }
  const SchedulerOptions& options() const { return options_; }

  // kInternal names the first broken invariant. For tests, between steps.
  Status check_integrity() const;

 private:
  Status check_order() const;
  void plan_decodes(std::int64_t most);
  void plan_prefills();
  void admit();
  bool start(Sequence& sequence);
  bool room_for_next(Sequence& sequence);
  void preempt_last();
  bool make_room(const Sequence& sequence, std::int64_t slots);
  void take_cached_blocks(Sequence& sequence);
  PartialMatch find_partial(const Sequence& sequence) const;
  void take_partial(Sequence& sequence, const PartialMatch& match);
  void keep_tail(const Sequence& sequence);
  void cache_full_blocks(Sequence& sequence);
  void append_chunk(Sequence& sequence, std::int64_t count);
  std::int64_t decode_share() const;
  std::int64_t prefill_budget() const;

  SchedulerOptions options_;
  BlockManager blocks_;
  std::vector<std::unique_ptr<Sequence>> running_;  // by rank
  std::vector<std::unique_ptr<Sequence>> waiting_;  // by rank
  StepPace pace_;
  // The last step that had decodes and parts of prompts, while there are such; tokens 0: none.
  std::int64_t mixed_tokens_ = 0;
  double mixed_seconds_ = 0;
  StepPlan plan_;
  std::vector<Sequence*> picked_;  // scratch of the planners
  std::vector<std::int64_t> grants_;
  std::int64_t num_decoding_ = 0;  // in this step's plan or left out of it for want of room
  std::uint64_t step_ = 0;
  std::int64_t preemptions_ = 0;
};

}  // namespace baltoro::engine
