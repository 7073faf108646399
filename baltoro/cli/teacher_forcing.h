// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "baltoro/base/result.h"
#include "baltoro/model/decoder.h"

namespace baltoro::cli {

// A run of a model over given tokens: what it would have said at each position.
struct TeacherForcing {
  model::DecoderOptions decoder = {};  // batch and logit rows are chosen here
  std::int64_t window_tokens = 0;      // W; 0: as much as the model takes, at most 4096
  std::int64_t stride_tokens = 0;      // S <= W; 0: W. Window k is tokens [k S, k S + W), positions from 0
  std::string out_path = {};           // safetensors: tokens [T] I32, logits [T, V] F32; empty: none
  bool hidden = false;     // also hidden.L [T, D], topk_indices.L I32 and topk_weights.L [T, K] of MoE layers
  bool attention = false;  // also attn_out.L [T, D]
  bool perplexity = false;
  bool force_memory = false;      // run although the memory plan says that it does not fit
  bool show_progress = true;      // on stderr
  std::int64_t memory_bytes = 0;  // > 0: weights are of open_streamed_weights, and the process keeps within this
};

struct TeacherForcingResult {
  std::int64_t tokens = 0;  // T
  std::int64_t windows = 0;
  std::int64_t tokens_scored = 0;  // T - 1: every token but the first
  double nll_sum = 0;              // natural log
  double seconds = 0;

  double nll_mean() const;
  double perplexity() const;  // exp(nll_mean)
};

// Runs the tokens window by window and writes each row once: from the first window that holds it. Logits go to the file
// as they come, so memory is the decoder's plus at most 256 MiB of logits (or one row).
// kInvalidArgument: no tokens, an id outside the vocabulary, a window over the model's context, a stride over the
// window. kResourceExhausted: too little memory. kInternal: a logit that is no number; the message names its position.
Result<TeacherForcingResult> teacher_force(std::shared_ptr<const model::Weights> weights,
                                           std::span<const std::int32_t> tokens, const TeacherForcing& run);

}  // namespace baltoro::cli
