// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "baltoro/base/machine_memory.h"
#include "baltoro/base/result.h"
#include "baltoro/model/decoder.h"
#include "baltoro/model/weights.h"

namespace baltoro::model {

// What is asked for: full contexts of so many sequences at once, and the decoder's options (they size its scratch).
struct MemoryRequest {
  std::int64_t context_tokens = 0;
  std::int64_t sequences = 1;
  DecoderOptions decoder;
  std::int64_t kv_buffer_blocks = 0;  // copies of KV blocks on their way to disk and back
  std::int64_t limit_bytes = 0;       // of all that the process may own; needed with weights of open_streamed_weights
};

// What a run with a limit sets aside for the rest of the process: program and libraries, tokenizer, stacks, requests.
inline constexpr std::int64_t kProcessBytes = std::int64_t{256} << 20;

// Where the memory of a run goes, in bytes.
struct MemoryPlan {
  MemoryRequest request;
  std::int64_t dense_copy = 0;  // weights of DenseWeights::kInt8 in memory of our own
  // Mapped: page cache that the system may drop and read again. With a limit: those that stay in memory, owned.
  std::int64_t weights = 0;
  std::int64_t weights_active = 0;  // of those and the copy, what one token touches
  std::int64_t kv_token = 0;        // a token, all layers
  std::int64_t kv = 0;              // whole blocks for context_tokens of every sequence
  std::int64_t kv_buffers = 0;      // kv_buffer_blocks
  std::int64_t scratch = 0;         // the decoder's arena and the logits of a step
  // With a limit only, otherwise 0.
  std::int64_t process = 0;        // kProcessBytes
  std::int64_t experts = 0;        // what is left for the expert cache, at most all of them; negative: too little
  std::int64_t experts_least = 0;  // that a layer needs for one token
  MachineMemory machine;

  bool limited() const { return request.limit_bytes > 0; }
  std::int64_t owned() const {  // must be there
    return dense_copy + kv + kv_buffers + scratch + process + experts + (limited() ? weights : 0);
  }
  std::int64_t total() const { return limited() ? owned() : weights + owned(); }  // to run at the speed of memory
  bool fits() const { return total() <= machine.usable() && experts >= experts_least; }
};

// Bytes of all weights in their stored formats, and of those that one token uses.
struct WeightBytes {
  std::int64_t total = 0;
  std::int64_t active = 0;
};
WeightBytes count_weight_bytes(const Weights& weights);

// `experts` of the plan is what DecoderOptions::expert_cache_bytes is to be.
// kInvalidArgument: a context outside [1, max_position_embeddings] or sequences outside [1, 65536].
Result<MemoryPlan> plan_memory(const Weights& weights, const MemoryRequest& request, const MachineMemory& machine);

// Refuses to load what cannot fit: kResourceExhausted with the plan's numbers. Two cases, named apart: KV, scratch and
// copied weights alone exceed memory (the process would be killed); or only the weights do not stay resident beside
// them (each token would read them from disk again). `force` (--force-memory) lets both pass. A limit that leaves less
// than experts_least for the experts is refused always.
Status check_memory(const MemoryPlan& plan, bool force);

}  // namespace baltoro::model
