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
const T* x_row(const LinearArgs<T>& args, std::int64_t t) {
  return args.x + (args.x_rows != nullptr ? args.x_rows[t] : t) * args.ldx;
}

template <typename T>
void store(const LinearArgs<T>& args, std::int64_t t, std::int64_t column, float value) {
  float* y = args.y + (args.y_rows != nullptr ? args.y_rows[t] : t) * args.ldy + column;
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
      const T* x = x_row(args, t);
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
      const T* x = x_row(args, t);
      float sum = 0;
      for (std::int64_t r = 0; r < w.rows; ++r) sum += widen(x[r]) * tensor::matrix_element(w, r, c);
      store(args, t, c, sum);
    }
  }
}

// The state of a query: maximum, sum, z [rank].
float* query_state(float* state, std::int64_t query, std::int64_t rank) { return state + query * (rank + 2); }

template <typename T>
void attend_query(const AttendArgs& args, const T* q, std::int64_t begin, std::int64_t end, float* scores,
                  float* state) {
  const auto row = [&](std::int64_t p) {
    return reinterpret_cast<const T*>(args.blocks[p / kAttendBlock]) + p % kAttendBlock * args.kv_dim;
  };
  float highest = -std::numeric_limits<float>::infinity();
  for (std::int64_t p = begin; p < end; ++p) {
    float dot = 0;
    for (std::int64_t c = 0; c < args.kv_dim; ++c) dot += widen(q[c]) * widen(row(p)[c]);
    scores[p - begin] = args.scale * dot;
    highest = std::max(highest, scores[p - begin]);
  }
  float sum = 0;
  float* z = state + 2;
  std::fill_n(z, args.rank, 0.0f);
  for (std::int64_t p = begin; p < end; ++p) {
    const float weight = std::exp(scores[p - begin] - highest);
    sum += weight;
    for (std::int64_t c = 0; c < args.rank; ++c) z[c] += weight * widen(row(p)[c]);
  }
  state[0] = highest;
  state[1] = sum;
}

template <typename T>
void attend(const AttendArgs& args, std::int64_t part, float* state) {
  BALTORO_DCHECK(args.tokens * args.heads <= kAttendLanes && args.rank <= args.kv_dim, "attend takes a few queries");
  const std::int64_t begin = part * kAttendPart;
  for (std::int64_t i = 0; i < args.tokens * args.heads; ++i) {
    const std::int64_t t = i / args.heads, end = std::min(begin + kAttendPart, args.position + t + 1);
    attend_query(args, static_cast<const T*>(args.q) + t * args.q_stride + i % args.heads * args.kv_dim, begin, end,
                 args.scratch, query_state(state, i, args.rank));
  }
}

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
