// SPDX-License-Identifier: Apache-2.0
// The kernels for AVX-512 without BF16 instructions. The target region, not a compiler flag, holds the wide
// instructions: inlined library code outside of it stays runnable everywhere.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "baltoro/base/check.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/panel.h"
#include "baltoro/kernels/tables.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"))), \
                             apply_to = function)
#else
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // _mm512_undefined_ps() of GCC's own header (its bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")
#endif

namespace baltoro::kernels {

using tensor::MatrixView;
using tensor::WeightFormat;

namespace avx512 {
namespace {

// clang-format off
#include "baltoro/kernels/vec_avx512-inl.h"
#include "baltoro/kernels/vec-inl.h"
#include "baltoro/kernels/tiles-inl.h"
#include "baltoro/kernels/linear-inl.h"
#include "baltoro/kernels/outer-inl.h"
#include "baltoro/kernels/product-inl.h"
#include "baltoro/kernels/attend-inl.h"
#include "baltoro/kernels/attend_stages-inl.h"
#include "baltoro/kernels/attend_single-inl.h"
#include "baltoro/kernels/elementwise-inl.h"
// clang-format on

void attend_bf16(const AttendArgs& args, std::int64_t part, float* state) {
  attend<AttendSingles<bf16>>(args, part, state);
}

constexpr Kernels kTable{.isa = Isa::kAvx512,
                         .linear_bf16 = linear<bf16>,
                         .linear_f32 = linear<float>,
                         .linear_transposed_bf16 = linear_transposed<bf16>,
                         .linear_transposed_f32 = linear_transposed<float>,
                         .attend_bf16 = attend_bf16,
                         .attend_f32 = attend_f32,
                         .attend_stages_bf16 = kAttendStages<AttendSingles<bf16>>,
                         .attend_stages_f32 = kAttendStages<AttendSingles<float>>,
                         .attend_fold = attend_fold,
                         .attend_finish = attend_finish,
                         .rmsnorm = rmsnorm,
                         .silu_mul = silu_mul,
                         .maximum = largest,
                         .softmax_weights = softmax_weights,
                         .add = add,
                         .to_bf16 = to_bf16,
                         .copy_row = copy_row,
                         .rope = rope};

}  // namespace
}  // namespace avx512

}  // namespace baltoro::kernels

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace baltoro::kernels {
namespace {

// The first processors with AVX-512 lack VNNI.
Kernels make_table() {
  const bool vnni = __builtin_cpu_supports("avx512vnni") != 0;
  Kernels table = avx512::kTable;
  table.linear_int8 = vnni ? vnni_linear_int8 : avx2_linear_int8;
  table.quantize_row = vnni ? vnni_quantize_row : avx2_quantize_row;
  return table;
}

}  // namespace

const Kernels& avx512_kernels() {
  static const Kernels kTable = make_table();
  return kTable;
}

}  // namespace baltoro::kernels
