// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "baltoro/base/thread_pool.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/model/activations.h"
#include "baltoro/model/decoder.h"
#include "baltoro/model/expert_source.h"
#include "baltoro/model/kv_cache.h"

namespace baltoro::model {

// The constants, arithmetic and means of a run. One per decoder; used by one thread at a time.
struct Context {
  const ModelConfig& config;
  Math math;
  float norm_eps;
  float latent_norm_eps;  // of q_a_layernorm and kv_a_layernorm
  float softmax_scale;
  const kernels::Kernels& kernels;
  ThreadPool& pool;
  ExpertSource& experts;
  Activations a;

  std::int64_t operand_bytes() const { return math == Math::kExact ? 2 : 4; }
};

// One call of Decoder::forward, as the layers see it.
struct Step {
  const Batch& batch;
  KvCache& kv;
  const Trace* trace;  // may be null
  std::int64_t tokens() const { return static_cast<std::int64_t>(batch.tokens.size()); }
};

// What a linear reads: rows in the run's operand type (BF16 in `exact`, F32 in `f32`), `stride` elements apart.
struct Operand {
  const std::byte* data = nullptr;
  std::int64_t stride = 0;
};

// One linear over a batch, in the run's arithmetic; fields as in kernels::LinearArgs.
struct LinearCall {
  Operand x;
  const std::int32_t* x_rows = nullptr;
  float* y = nullptr;
  std::int64_t ldy = 0;
  const std::int32_t* y_rows = nullptr;
  const float* y_weights = nullptr;
  std::int64_t tokens = 0;
};

// Output columns [row_begin, row_end) of y = x W^T, on the calling worker.
void linear_rows(const Context& c, const tensor::MatrixView& w, const LinearCall& call, std::int64_t row_begin,
                 std::int64_t row_end, int worker);
// y = x W, on the calling worker.
void linear_transposed(const Context& c, const tensor::MatrixView& w, const LinearCall& call, int worker);
// y [tokens, W.rows] = x W^T, its columns split over the pool.
void linear(const Context& c, const tensor::MatrixView& w, Operand x, float* y, std::int64_t tokens);
// Rows one worker takes at a time when `rows` are split over the pool. Never changes results.
std::int64_t row_grain(const Context& c, std::int64_t rows);

// Rounds n values to the operand type.
void round_row(const Context& c, const float* x, std::byte* y, std::int64_t n);
// Rounds x [tokens, n] into `buffer`.
Operand round_rows(const Context& c, const float* x, std::int64_t tokens, std::int64_t n, std::byte* buffer);
// y [tokens, n] = rmsnorm(x; w), row by row; x rows `ldx` apart. y may alias x.
void norm_rows(const Context& c, const float* x, std::int64_t ldx, std::span<const float> w, float eps, float* y,
               std::int64_t tokens);
// y += x, both [tokens, n].
void add_rows(const Context& c, const float* x, float* y, std::int64_t tokens, std::int64_t n);

}  // namespace baltoro::model
