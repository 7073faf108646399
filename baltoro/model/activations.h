// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "baltoro/kernels/kernels.h"
#include "baltoro/model/config.h"
#include "baltoro/model/math.h"
#include "baltoro/model/router.h"

namespace baltoro::model {

struct FfnWeights;

// One expert of a step and the tokens it serves. A dense FFN and the shared experts are an expert of all tokens.
struct ExpertTokens {
  const FfnWeights* weights = nullptr;
  const std::int32_t* rows = nullptr;  // [tokens] of x and y, ascending; null: all, in order
  const float* mix = nullptr;          // [tokens] weight of its result; null: stores y, where others add to it
  std::int64_t tokens = 0;
  std::byte* activated = nullptr;  // [tokens, width] operand: silu(gate) * up
  std::int64_t piece_rows = 0;     // rows of gate and up that a worker takes at a time,
  std::int64_t first_piece = 0;    // and the pieces of the experts before this one
};

// Most tokens, rows and values of a piece of gate and up, which a worker holds in f32.
inline constexpr std::int64_t kFfnTokens = kernels::kTokensAtOnce, kFfnRows = 2048, kFfnValues = kFfnTokens * 640;

// Queries of the attention that are worked on together: heads [head, head + heads) of neighbouring tokens.
struct AttendItem {
  std::int32_t query, tokens, head, heads;
  std::int32_t parts;  // of kernels::kAttendPart positions
};

// What one worker thread needs to itself.
struct WorkerScratch {
  std::byte* linear = nullptr;         // kernels::linear_scratch_bytes of the largest weight
  float* attend = nullptr;             // kernels::attend_scratch_floats
  float* attend_states[2] = {};        // kernels::attend_state_floats each
  float* rows = nullptr;               // [max(T, kAttendLanes), R] f32 results before they are rounded
  float* gate = nullptr;               // a piece: tokens x rows
  float* up = nullptr;                 // the same
  const std::byte** blocks = nullptr;  // [max_position_embeddings / kBlockTokens] one sequence's KV blocks
  RouterScratch router;
};

// Every buffer of a step, cut once from one arena. T is max_batch_tokens here. Buffers marked "operand" hold what a
// linear reads, in rows of operand_row_bytes; "element": BF16, or F32 in `f32`. The MLA and FFN groups share memory: no
// value crosses.
struct Activations {
  float* x = nullptr;            // [T, D] residual stream
  float* normed = nullptr;       // [T, D]
  float* delta = nullptr;        // [T, D] what a sublayer adds to x
  float* cos = nullptr;          // [T, rope / 2]
  float* sin = nullptr;          // [T, rope / 2]
  std::byte* operand = nullptr;  // [T, widest input of a linear outside the experts] operand

  // MLA
  float* c_q = nullptr;                // [T, q_lora_rank]
  float* q = nullptr;                  // [T, H, nope + rope]
  float* kv = nullptr;                 // [T, R + rope]
  std::byte* q_latent = nullptr;       // [T, H, R + rope] element: q_nope absorbed by w_uk, then q_pe
  std::byte* z = nullptr;              // [T, H, R] operand: the attended latents
  float* heads = nullptr;              // [T, H, v]
  AttendItem* attend_items = nullptr;  // [T * ceil(H / kAttendLanes)]
  std::vector<float*> attend_states;   // of parts that are worked on side by side
  std::vector<float*> attend_scores;   // of those that are worked on in stages, at most as many

  // FFN and MoE; slots (one chosen expert of one token) are ordered by expert, then token
  std::byte* activated = nullptr;      // [T, intermediate] operand, or the shared experts' [T, width] and [T * K, M]
  float* scores = nullptr;             // [T, E]
  std::int32_t* experts = nullptr;     // [T, K] chosen, ascending
  float* weights = nullptr;            // [T, K]
  std::int32_t* slot_token = nullptr;  // [T * K]
  float* slot_weight = nullptr;        // [T * K]
  std::int32_t* first_slot = nullptr;  // [E + 1] expert e owns slots [first_slot[e], first_slot[e + 1])
  std::int32_t* active = nullptr;      // [E] experts that have slots, ascending
  ExpertTokens* wave = nullptr;        // [1 + E] those computed together

  std::vector<WorkerScratch> workers;
};

// Bytes of a row of n values that a linear reads: BF16 or F32 elements, in `fast` followed by their 8-bit form
// (kernels::quantize_row) from a multiple of 64 bytes on. Never a multiple of
// kernels::kSameSetsBytes.
std::int64_t operand_row_bytes(Math math, std::int64_t n);

// Sizes that the buffers follow from.
struct ActivationSizes {
  Math math = Math::kExact;
  std::int64_t batch_tokens = 0;  // T
  int threads = 1;
};

// Lays the buffers out from `base`, 64-byte aligned, and adds the bytes they take to *bytes. With a null base it only
// counts. So the plan and the real thing cannot differ.
Activations lay_out_activations(const ModelConfig& config, const ActivationSizes& sizes, std::byte* base,
                                std::int64_t* bytes);

}  // namespace baltoro::model
