// SPDX-License-Identifier: Apache-2.0
// Pure maths on views: one table of functions per instruction set, chosen at run time. A scalar variant of each never
// leaves the tree and is what the others are tested against. No model words, no threads, no allocation: callers split
// work by rows, columns or tokens and give scratch.
//
// The invariance rule, for every function and every variant: one output element is computed by the same sequence of
// operations whatever the token count, the row range of the call and the neighbours. So the reduction order over a
// dimension is a function of that dimension alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "baltoro/base/result.h"
#include "baltoro/tensor/dtype.h"
#include "baltoro/tensor/matrix_view.h"

namespace baltoro::kernels {

using tensor::bf16;

enum class Isa : std::uint8_t { kScalar, kAvx2, kAvx512, kAvx512Bf16 };
const char* isa_name(Isa isa);  // "scalar", "avx2", "avx512", "avx512_bf16"
bool isa_supported(Isa isa);    // by this CPU and operating system
// The widest supported; the environment variable BALTORO_ISA names another, for tests and comparisons. An unknown or
// unsupported name is an error.
Result<Isa> choose_isa();

// Rows a multiple of this apart share sets of the caches, where few of them find room.
inline constexpr std::int64_t kSameSetsBytes = 4096;

// A product of more tokens is best cut into calls of at most so many, each of many rows: their sums and a part of the
// weight then stay in the caches, and putting them in order is paid for. Changes no result.
inline constexpr std::int64_t kTokensAtOnce = 96;

// Operands of y = x W^T for a batch of tokens.
//   x [tokens, cols] bf16, f32 or, as std::byte, rows of quantize_row (the function says), row stride ldx elements
//   y [tokens, rows] f32, row stride ldy elements; must not alias x
// With x_rows, token t reads row x_rows[t] of x; with y_rows it writes row y_rows[t] of y (entries distinct).
// With y_weights the result is accumulated: y += y_weights[t] * dot; without, it is stored.
template <typename T>
struct LinearArgs {
  const T* x = nullptr;
  std::int64_t ldx = 0;
  const std::int32_t* x_rows = nullptr;
  float* y = nullptr;
  std::int64_t ldy = 0;
  const std::int32_t* y_rows = nullptr;
  const float* y_weights = nullptr;
  std::int64_t tokens = 0;

  [[gnu::always_inline]] const T* x_row(std::int64_t t) const { return x + (x_rows != nullptr ? x_rows[t] : t) * ldx; }
  [[gnu::always_inline]] float* y_row(std::int64_t t) const { return y + (y_rows != nullptr ? y_rows[t] : t) * ldy; }
};

// Attention of some queries (a token and a head each) of one sequence over its paged latent cache (absorbed MLA,
// DeepSeek-V2 section 2.1.2). A query of token t attends positions p <= position + t:
//   s_p = scale * (q . row_p over all kv_dim elements), z = sum_p softmax(s)_p * row_p[0:rank]
// Positions are taken in parts of kAttendPart, each with a softmax of its own, and parts are folded in ascending order:
// a function of the position alone, so that parts may be computed anywhere.
inline constexpr std::int64_t kAttendBlock = 64;  // positions of a block of the cache
inline constexpr std::int64_t kAttendPart = 512;  // positions of a part, a multiple of the block
inline constexpr std::int64_t kAttendLanes = 64;  // most queries of a call
struct AttendArgs {
  const void* q = nullptr;  // token t, head h: kv_dim elements at t * q_stride + h * kv_dim, bf16 or f32 as the cache:
  std::int64_t q_stride = 0;  // [q_absorbed (rank) | q_pe]
  std::int64_t tokens = 1;    // neighbours, whose own positions lie in one block
  std::int64_t heads = 0;     // tokens * heads <= kAttendLanes
  // Block i holds the rows of positions [64 i, 64 i + 64), row-major, 64 rows of memory even where the last are unused.
  const std::byte* const* blocks = nullptr;
  std::int64_t position = 0;  // of the first token
  std::int64_t kv_dim = 0;    // R + rope
  std::int64_t rank = 0;      // R
  float scale = 1;            // > 0
  float* scratch = nullptr;   // attend_scratch_floats(kv_dim), 64-byte aligned
};
constexpr std::int64_t attend_parts(std::int64_t positions) { return (positions + kAttendPart - 1) / kAttendPart; }
std::int64_t attend_scratch_floats(std::int64_t kv_dim);
// What a part, or the fold of several, takes: maximum, sum and unscaled z of each query.
std::int64_t attend_state_floats(std::int64_t queries, std::int64_t rank);

// The stages of a part for several workers, with the bits of the whole: all positions' scores, then all groups'
// weights, then columns of z. Workers share `scores`, attend_stage_floats() long, and `state`; both 64-byte aligned.
inline constexpr std::int64_t kAttendGroup = 16, kAttendColumns = 32;
std::int64_t attend_stage_floats();
struct AttendStages {
  // Positions [begin, end) of the part, multiples of kAttendBlock but for the part's end.
  void (*score)(const AttendArgs& args, std::int64_t part, std::int64_t begin, std::int64_t end,
                float* scores) = nullptr;
  // Queries [begin, end) (in the order token, head), multiples of kAttendGroup but for the last.
  void (*weigh)(const AttendArgs& args, std::int64_t part, std::int64_t begin, std::int64_t end, float* scores,
                float* state) = nullptr;
  // Columns [begin, end), multiples of kAttendColumns but for the last, of all queries.
  void (*mix)(const AttendArgs& args, std::int64_t part, std::int64_t begin, std::int64_t end, const float* scores,
              float* state) = nullptr;
};

struct Kernels {
  Isa isa = Isa::kScalar;

  // y[t, r] for r in [row_begin, row_end), W any format. bf16: BF16 operands, f32 accumulation. Weights are never
  // rounded to BF16: INT4 and FP8 codes are exact in it and their scale multiplies f32 sums of columns that share it
  // (avx512_bf16 and avx2; groups of 32 and blocks of 128 columns or multiples), or code times scale is one f32 product
  // (all others). BF16 products of avx512_bf16 take denormal operands and sums for zero. scratch:
  // linear_scratch_bytes() bytes, 64-byte aligned. A call orders its tokens' activations first (those of BF16
  // weights, for avx512_bf16, only where tokens are gathered or more than six), which costs as much as six to thirty
  // rows: few calls of many rows are better than many of few.
  void (*linear_bf16)(const tensor::MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin,
                      std::int64_t row_end, std::byte* scratch) = nullptr;
  // The same with f32 activations and f32 products: the reference arithmetic and the router.
  void (*linear_f32)(const tensor::MatrixView& w, const LinearArgs<float>& args, std::int64_t row_begin,
                     std::int64_t row_end, std::byte* scratch) = nullptr;
  // The same with 8-bit activations, for weights of which reads_int8() holds. x: rows of quantize_row, 64-byte aligned.
  // Products and sums of 32 columns are whole numbers, exact; each such sum is multiplied by the product (one rounding)
  // of the weight's and the row's scale and added in f32. The same bits on every instruction set.
  // scratch: linear_int8_scratch_bytes bytes, 64-byte aligned.
  void (*linear_int8)(const tensor::MatrixView& w, const LinearArgs<std::byte>& args, std::int64_t row_begin,
                      std::int64_t row_end, std::byte* scratch) = nullptr;
  // y[t, c] = sum_r x[t, r] W[r, c] for all columns (the absorption of w_uk). Rows in ascending order; kInt8RowGroup of
  // avx512_bf16: 32 rows, then their scale. scratch: linear_scratch_bytes() bytes, 64-byte aligned.
  void (*linear_transposed_bf16)(const tensor::MatrixView& w, const LinearArgs<bf16>& args,
                                 std::byte* scratch) = nullptr;
  void (*linear_transposed_f32)(const tensor::MatrixView& w, const LinearArgs<float>& args,
                                std::byte* scratch) = nullptr;

  // state = part `part` of the attention; state is 64-byte aligned, attend_state_floats(tokens * heads, rank) long.
  // bf16: q and cache BF16; avx512_bf16 also rounds the weights exp(s - max) to BF16, and their sum is that of the
  // rounded. exp within 2 ulp of libm's.
  void (*attend_bf16)(const AttendArgs& args, std::int64_t part, float* state) = nullptr;
  void (*attend_f32)(const AttendArgs& args, std::int64_t part, float* state) = nullptr;  // q and cache F32
  AttendStages attend_stages_bf16, attend_stages_f32;
  // states[0] = the fold of `count` states, in their order, for queries [begin, end).
  void (*attend_fold)(std::int64_t queries, std::int64_t rank, float* const* states, std::int64_t count,
                      std::int64_t begin, std::int64_t end) = nullptr;
  // Row i - begin of z [end - begin, rank] f32 is that of query i (in the order token, head).
  void (*attend_finish)(std::int64_t queries, std::int64_t rank, const float* state, std::int64_t begin,
                        std::int64_t end, float* z) = nullptr;

  // y[i] = x[i] * w[i] / sqrt(mean(x^2) + eps)  (Zhang & Sennrich 2019, eq. 4). x, w, y [n] f32; y may alias x.
  void (*rmsnorm)(const float* x, const float* w, float eps, float* y, std::int64_t n) = nullptr;
  // y[i] = silu(gate[i]) * up[i], silu(a) = a / (1 + exp(-a)). y may alias gate or up. exp within 2 ulp of libm's.
  void (*silu_mul)(const float* gate, const float* up, float* y, std::int64_t n) = nullptr;
  // The largest of x [n], n > 0, where no x is NaN. *finite (or null): whether all are finite.
  float (*maximum)(const float* x, std::int64_t n, bool* finite) = nullptr;
  // y[i] = exp((x[i] - maximum) / temperature), temperature > 0, x at most `maximum`. exp as above; 0 below 2e-46.
  void (*softmax_weights)(const float* x, float maximum, float temperature, float* y, std::int64_t n) = nullptr;
  void (*add)(const float* x, float* y, std::int64_t n) = nullptr;     // y += x
  void (*to_bf16)(const float* x, bf16* y, std::int64_t n) = nullptr;  // nearest even
  // Columns [begin, end) of an 8-bit row for linear_int8 of `cols` columns, from x [end - begin]; begin is a multiple
  // of 32, end too or cols, and with cols comes the row's padding. In groups of 32 columns: scale = max |x| / 127, q =
  // x * (127 / max |x|) to the nearest even whole number. A group whose largest value is below 2^-100 counts as zero;
  // one with a NaN or an infinity gets a NaN as its scale, so every dot with it is NaN. row: int8_row_bytes(cols)
  // bytes, 64-byte aligned; only bytes of these columns are touched. The same bits on every instruction set.
  void (*quantize_row)(const float* x, std::byte* row, std::int64_t begin, std::int64_t end,
                       std::int64_t cols) = nullptr;
  // Row `row` of W, widened: the embedding look-up.
  void (*copy_row)(const tensor::MatrixView& w, std::int64_t row, float* y) = nullptr;
  // Interleaved RoPE: (x[2i], x[2i+1]) rotated by cos[i], sin[i], i < n/2. In place.
  void (*rope)(float* x, const float* cos, const float* sin, std::int64_t n) = nullptr;
};

// The table of that instruction set; CHECKs isa_supported.
const Kernels& kernels(Isa isa);

// Scratch that linear_* and linear_transposed_* need for a weight of that shape and that many tokens, any variant. It
// never shrinks with more tokens or rows.
std::int64_t linear_scratch_bytes(std::int64_t rows, std::int64_t cols, std::int64_t tokens);

// Whether linear_int8 takes that weight: kInt8Group, and kInt4Group with groups of whole multiples of 32 columns.
bool reads_int8(const tensor::MatrixView& w);
// Bytes of a row of quantize_row: 640 for each 512 columns, which is 1.25 a column.
std::int64_t int8_row_bytes(std::int64_t cols);
std::int64_t linear_int8_scratch_bytes(std::int64_t cols);

}  // namespace baltoro::kernels
