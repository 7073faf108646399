// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "baltoro/base/block_reader.h"
#include "baltoro/base/result.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/model/expert_stats.h"
#include "baltoro/model/kv_cache.h"
#include "baltoro/model/math.h"
#include "baltoro/model/step_profile.h"
#include "baltoro/model/weights.h"

namespace baltoro::model {

// One step's work: T tokens of any number of sequences, in any mix of chunks. Batch is the only path: one token is a
// batch of one, a prompt is a batch of many.
struct Batch {
  std::span<const std::int32_t> tokens;     // [T], each in [0, V)
  std::span<const std::int32_t> positions;  // [T], absolute, in [0, max_position_embeddings)
  std::span<const std::int32_t> sequences;  // [T], index into block_tables
  // Per sequence, the blocks that hold positions 0.. in order; block i holds positions [64 i, 64 i + 64). Rows of every
  // position before a token's own must have been computed, in earlier steps or earlier in this batch.
  std::span<const std::span<const BlockId>> block_tables;
  std::span<const std::int32_t> logit_rows;  // indices into [0, T), strictly ascending: tokens whose logits are wanted
};

// What a run saw inside, for parity checks. Each callback gets f32 rows for all T tokens of the step.
struct Trace {
  std::function<void(std::int64_t layer, std::span<const float> attn_out)> attention;  // [T, D] before the residual add
  std::function<void(std::int64_t layer, std::span<const float> hidden)> hidden;       // [T, D] after the layer
  // Chosen experts [T, K], ascending by expert, and their mixing weights [T, K].
  std::function<void(std::int64_t layer, std::span<const std::int32_t> experts, std::span<const float> weights)>
      routing;
};

struct DecoderOptions {
  Math math = Math::kExact;
  LatentNormEps latent_norm_eps = LatentNormEps::kConfig;
  DenseWeights dense = DenseWeights::kReleased;    // create() makes the copy
  int threads = 0;                                 // 0: one per CPU of `cpus`, see place_workers
  std::optional<kernels::Isa> isa = std::nullopt;  // absent: kernels::choose_isa(). `f32` always runs the scalar table
  std::int64_t max_batch_tokens = 512;             // largest T; sizes the scratch arena
  std::int64_t max_logit_rows = 64;
  std::int64_t expert_cache_bytes = 0;    // weights of open_streamed_weights: what their experts may take in memory
  OpenBlockReader open_reader = nullptr;  // and how they are read; absent: open_direct_reader
  std::vector<int> cpus = {};             // CPUs to run on, ascending; empty: those of the affinity mask
};

// Token ids to logits. Immutable weights, own scratch and thread pool; forward() allocates nothing.
// Promise (kExact and kFast): the logits of a position are the same bits whatever the chunking, batch neighbours and
// threads.
class Decoder {
 public:
  // kResourceExhausted when scratch or the expert cache cannot be allocated; kInvalidArgument for options out of range
  // and CPUs that this process may not use. The errors of make_dense_int8.
  static Result<std::unique_ptr<Decoder>> create(std::shared_ptr<const Weights> weights, DecoderOptions options);
  ~Decoder();

  // Runs one step: writes the KV rows of all T tokens and logits [logit_rows.size(), V] f32. CHECKs the batch's shape:
  // the caller has validated ids and positions. One thread at a time. An error (weights that could not be read from
  // disk) leaves the KV rows of all T tokens undefined.
  // A `profile` learns where the time goes; without one nothing is timed.
  Status forward(const Batch& batch, KvCache& kv, std::span<float> logits, const Trace* trace = nullptr,
                 StepProfile* profile = nullptr);

  // While on, a forward() that waits for weights from disk, or comes to, returns kCancelled. Any thread.
  void interrupt(bool on);

  // Makes the next step read all experts it wants, where they are streamed from disk. Not beside a forward().
  void drop_experts();

  const Weights& weights() const;  // with the copy, if there is one
  const DecoderOptions& options() const;
  std::int64_t scratch_bytes() const;
  std::optional<ExpertStats> expert_stats() const;  // when experts are streamed. Any thread
  // What create() would allocate, for the memory plan.
  static std::int64_t scratch_bytes(const ModelConfig& config, const DecoderOptions& options);

 private:
  struct Impl;
  explicit Decoder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace baltoro::model
