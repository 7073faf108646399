// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "baltoro/base/huge_pages.h"
#include "baltoro/base/result.h"
#include "baltoro/model/config.h"
#include "baltoro/tensor/matrix_view.h"

namespace baltoro::model {

class Checkpoint;        // checkpoint.h: the mapped shards
struct StreamedWeights;  // streamed_weights.h: memory and files of a checkpoint that is not mapped

// SwiGLU FFN: gate, up [M, D], down [D, M].
struct FfnWeights {
  tensor::MatrixView gate, up, down;
};

// The two halves of kv_b as our own copy: [H * nope, R], kInt8RowGroup, and [H * v, R], kInt8Group.
struct KvBCopy {
  tensor::MatrixView w_uk, w_uv;
};

struct MlaWeights {
  std::optional<tensor::MatrixView> q_a;  // [q_lora_rank, D]; absent when q_lora_rank is
  std::vector<float> q_a_norm;            // [q_lora_rank] or empty
  tensor::MatrixView q_b;                 // [H * (nope + rope), q_lora_rank], or q_proj [.., D]
  tensor::MatrixView kv_a;                // [R + rope, D]
  std::vector<float> kv_a_norm;           // [R]
  tensor::MatrixView kv_b;                // [H * (nope + v), R]: per head nope rows of w_uk, then v rows of w_uv
  std::optional<KvBCopy> kv_b_copy;       // read instead of kv_b; see dense_copy.h
  tensor::MatrixView o;                   // [D, H * v]
};

// visit(matrix) for each matrix of the attention that steps read, in their order.
template <typename Visit>
void visit_matrices(const MlaWeights& w, const Visit& visit) {
  if (w.q_a) visit(*w.q_a);
  visit(w.kv_a);
  visit(w.q_b);
  if (w.kv_b_copy) {
    visit(w.kv_b_copy->w_uk);
    visit(w.kv_b_copy->w_uv);
  } else {
    visit(w.kv_b);
  }
  visit(w.o);
}

struct MoeWeights {
  tensor::MatrixView router;                   // [E, D]
  std::vector<float> e_score_correction_bias;  // [E]
  std::vector<FfnWeights> experts;             // [E]
  std::optional<FfnWeights> shared;            // width moe_intermediate_size * n_shared_experts
};

struct LayerWeights {
  std::vector<float> input_norm, post_attention_norm;  // [D]
  MlaWeights attention;
  std::optional<FfnWeights> dense;  // exactly one of dense and moe
  std::optional<MoeWeights> moe;
};

// All weights of a checkpoint: views into its mapped files (norms and biases, a few KB each, are widened to f32).
// Immutable; safe to share between threads.
struct Weights {
  ModelConfig config;
  tensor::MatrixView embed;                 // [V, D]
  std::vector<LayerWeights> layers;         // [L]
  std::vector<float> norm;                  // [D]
  tensor::MatrixView lm_head;               // [V, D]; embed's view when tied
  std::shared_ptr<const Checkpoint> files;  // keeps the mappings alive
  // Set by open_streamed_weights: the experts' views have no data, see there.
  std::shared_ptr<const StreamedWeights> streamed;
  std::shared_ptr<const HugeBuffer> copy;  // of the views that are not into files; null: none. See dense_copy.h
};

// Opens a released folder in place: reads config.json, the index and the shard headers, checks every tensor's name,
// dtype, shape, offset and size, and touches no weight page except norms and biases.
// kNotFound: no such folder or file. kCorrupt: a tensor missing, of another shape or dtype than expected, out of its
// file's bounds, or overlapping; the message names it with expected and found. kUnsupported: see parse_config.
Result<std::unique_ptr<const Weights>> open_weights(const std::string& dir);

}  // namespace baltoro::model
