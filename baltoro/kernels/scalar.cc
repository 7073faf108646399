// SPDX-License-Identifier: Apache-2.0
// The slow truth: plain loops, one f32 operation after another, in the order the formulas are written.
#include <algorithm>
#include <cmath>
#include <limits>

#include "baltoro/base/check.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/tables.h"

namespace baltoro::kernels {
namespace {

using tensor::MatrixView;
using tensor::WeightFormat;

inline float widen(float value) { return value; }
inline float widen(bf16 value) { return tensor::bf16_to_f32(value); }

void copy_row(const MatrixView& w, std::int64_t row, float* y) {
  BALTORO_DCHECK(row >= 0 && row < w.rows, "row out of range");
  for (std::int64_t c = 0; c < w.cols; ++c) y[c] = tensor::matrix_element(w, row, c);
}

template <typename T>
void store(const LinearArgs<T>& args, std::int64_t t, std::int64_t column, float value) {
  float* y = args.y_row(t) + column;
  *y = args.y_weights != nullptr ? *y + args.y_weights[t] * value : value;
}

template <typename T>
void linear(const MatrixView& w, const LinearArgs<T>& args, std::int64_t row_begin, std::int64_t row_end,
            std::byte* scratch) {
  BALTORO_DCHECK(row_begin >= 0 && row_begin <= row_end && row_end <= w.rows, "row range out of range");
  auto* row = reinterpret_cast<float*>(scratch);
  for (std::int64_t r = row_begin; r < row_end; ++r) {
    copy_row(w, r, row);
    for (std::int64_t t = 0; t < args.tokens; ++t) {
      const T* x = args.x_row(t);
      float sum = 0;
      for (std::int64_t c = 0; c < w.cols; ++c) sum += widen(x[c]) * row[c];
      store(args, t, r, sum);
    }
  }
}

template <typename T>
void linear_transposed(const MatrixView& w, const LinearArgs<T>& args, std::byte*) {
  for (std::int64_t c = 0; c < w.cols; ++c) {
    for (std::int64_t t = 0; t < args.tokens; ++t) {
      const T* x = args.x_row(t);
      float sum = 0;
      for (std::int64_t r = 0; r < w.rows; ++r) sum += widen(x[r]) * tensor::matrix_element(w, r, c);
      store(args, t, c, sum);
    }
  }
}

// The state of a query: maximum, sum, z [rank].
float* query_state(float* state, std::int64_t query, std::int64_t rank) { return state + query * (rank + 2); }

template <typename T>
const T* cache_row(const AttendArgs& args, std::int64_t p) {
  return reinterpret_cast<const T*>(args.blocks[p / kAttendBlock]) + p % kAttendBlock * args.kv_dim;
}

template <typename T>
const T* attend_query(const AttendArgs& args, std::int64_t i) {
  return static_cast<const T*>(args.q) + i / args.heads * args.q_stride + i % args.heads * args.kv_dim;
}

// Scores of positions [begin, end) of a query.
template <typename T>
void score_query(const AttendArgs& args, const T* q, std::int64_t begin, std::int64_t end, float* scores) {
  for (std::int64_t p = begin; p < end; ++p) {
    float dot = 0;
    for (std::int64_t c = 0; c < args.kv_dim; ++c) dot += widen(q[c]) * widen(cache_row<T>(args, p)[c]);
    scores[p - begin] = args.scale * dot;
  }
}

// Scores become weights.
void weigh_query(float* scores, std::int64_t count, float* state) {
  state[0] = *std::max_element(scores, scores + count);
  state[1] = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    scores[i] = std::exp(scores[i] - state[0]);
    state[1] += scores[i];
  }
}

// z [columns] from column c on.
template <typename T>
void mix_query(const AttendArgs& args, const float* weights, std::int64_t begin, std::int64_t end, std::int64_t c,
               std::int64_t columns, float* z) {
  std::fill_n(z, columns, 0.0f);
  for (std::int64_t p = begin; p < end; ++p) {
    for (std::int64_t i = 0; i < columns; ++i) z[i] += weights[p - begin] * widen(cache_row<T>(args, p)[c + i]);
  }
}

// The position behind the last one of a part that query i attends.
std::int64_t attended_end(const AttendArgs& args, std::int64_t part, std::int64_t i) {
  return std::min((part + 1) * kAttendPart, args.position + i / args.heads + 1);
}

template <typename T>
void attend(const AttendArgs& args, std::int64_t part, float* state) {
  BALTORO_DCHECK(args.tokens * args.heads <= kAttendLanes && args.rank <= args.kv_dim, "attend takes a few queries");
  const std::int64_t begin = part * kAttendPart;
  for (std::int64_t i = 0; i < args.tokens * args.heads; ++i) {
    const std::int64_t end = attended_end(args, part, i);
    float* to = query_state(state, i, args.rank);
    score_query(args, attend_query<T>(args, i), begin, end, args.scratch);
    weigh_query(args.scratch, end - begin, to);
    mix_query<T>(args, args.scratch, begin, end, 0, args.rank, to + 2);
  }
}

// scores [queries, kAttendPart].
template <typename T>
void attend_score(const AttendArgs& args, std::int64_t part, std::int64_t begin, std::int64_t end, float* scores) {
  const std::int64_t first = part * kAttendPart;
  for (std::int64_t i = 0; i < args.tokens * args.heads; ++i) {
    score_query(args, attend_query<T>(args, i), first + begin, std::min(first + end, attended_end(args, part, i)),
                scores + i * kAttendPart + begin);
  }
}

void attend_weigh(const AttendArgs& args, std::int64_t part, std::int64_t begin, std::int64_t end, float* scores,
                  float* state) {
  for (std::int64_t i = begin; i < end; ++i) {
    weigh_query(scores + i * kAttendPart, attended_end(args, part, i) - part * kAttendPart,
                query_state(state, i, args.rank));
  }
}

template <typename T>
void attend_mix(const AttendArgs& args, std::int64_t part, std::int64_t begin, std::int64_t end, const float* scores,
                float* state) {
  for (std::int64_t i = 0; i < args.tokens * args.heads; ++i) {
    mix_query<T>(args, scores + i * kAttendPart, part * kAttendPart, attended_end(args, part, i), begin, end - begin,
                 query_state(state, i, args.rank) + 2 + begin);
  }
}

template <typename T>
constexpr AttendStages kAttendStages = {attend_score<T>, attend_weigh, attend_mix<T>};

void attend_fold(std::int64_t, std::int64_t rank, float* const* states, std::int64_t count, std::int64_t begin,
                 std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i) {
    float* to = query_state(states[0], i, rank);
    for (std::int64_t k = 1; k < count; ++k) {
      const float* from = query_state(states[k], i, rank);
      const float highest = std::max(to[0], from[0]);
      const float keep = std::exp(to[0] - highest), take = std::exp(from[0] - highest);
      to[0] = highest;
      for (std::int64_t c = 1; c < rank + 2; ++c) to[c] = to[c] * keep + from[c] * take;
    }
  }
}

void attend_finish(std::int64_t, std::int64_t rank, const float* state, std::int64_t begin, std::int64_t end,
                   float* z) {
  for (std::int64_t i = begin; i < end; ++i, z += rank) {
    const float* from = state + i * (rank + 2);
    for (std::int64_t c = 0; c < rank; ++c) z[c] = from[2 + c] / from[1];
  }
}

void rmsnorm(const float* x, const float* w, float eps, float* y, std::int64_t n) {
  float squares = 0;
  for (std::int64_t i = 0; i < n; ++i) squares += x[i] * x[i];
  const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(n) + eps);
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] * inverse * w[i];
}

void silu_mul(const float* gate, const float* up, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

float largest(const float* x, std::int64_t n, bool* finite) {
  float most = x[0];
  bool all = true;
  for (std::int64_t i = 0; i < n; ++i) {
    most = std::max(most, x[i]);
    all &= std::isfinite(x[i]);
  }
  if (finite != nullptr) *finite = all;
  return most;
}

void softmax_weights(const float* x, float maximum, float temperature, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = std::exp((x[i] - maximum) / temperature);
}

void add(const float* x, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] += x[i];
}

void to_bf16(const float* x, bf16* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = tensor::f32_to_bf16(x[i]);
}

void rope(float* x, const float* cos, const float* sin, std::int64_t n) {
  for (std::int64_t i = 0; i < n / 2; ++i) {
    const float a = x[2 * i];
    const float b = x[2 * i + 1];
    x[2 * i] = a * cos[i] - b * sin[i];
    x[2 * i + 1] = a * sin[i] + b * cos[i];
  }
}

constexpr Kernels kTable{.isa = Isa::kScalar,
                         .linear_bf16 = linear<bf16>,
                         .linear_f32 = linear<float>,
                         .linear_int8 = scalar_linear_int8,
                         .linear_transposed_bf16 = linear_transposed<bf16>,
                         .linear_transposed_f32 = linear_transposed<float>,
                         .attend_bf16 = attend<bf16>,
                         .attend_f32 = attend<float>,
                         .attend_stages_bf16 = kAttendStages<bf16>,
                         .attend_stages_f32 = kAttendStages<float>,
                         .attend_fold = attend_fold,
                         .attend_finish = attend_finish,
                         .rmsnorm = rmsnorm,
                         .silu_mul = silu_mul,
                         .maximum = largest,
                         .softmax_weights = softmax_weights,
                         .add = add,
                         .to_bf16 = to_bf16,
                         .quantize_row = scalar_quantize_row,
                         .copy_row = copy_row,
                         .rope = rope};

}  // namespace

const Kernels& scalar_kernels() { return kTable; }

}  // namespace baltoro::kernels
