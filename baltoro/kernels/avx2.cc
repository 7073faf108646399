// SPDX-License-Identifier: Apache-2.0
// The kernels for AVX2, FMA and F16C. The target region, not a compiler flag, holds the wide instructions: inlined
// library code outside of it stays runnable everywhere.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "baltoro/base/check.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/panel.h"
#include "baltoro/kernels/tables.h"
#include "baltoro/tensor/int8_layout.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

namespace baltoro::kernels {

using tensor::MatrixView;
using tensor::WeightFormat;

namespace avx2 {
namespace {

// clang-format off
#include "baltoro/kernels/vec_avx2-inl.h"
#include "baltoro/kernels/vec-inl.h"
#include "baltoro/kernels/tiles-inl.h"
#include "baltoro/kernels/linear-inl.h"
#include "baltoro/kernels/ordered_avx2-inl.h"
#include "baltoro/kernels/ordered_calls_avx2-inl.h"
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

constexpr Kernels kTable{.isa = Isa::kAvx2,
                         .linear_bf16 = linear_bf16,
                         .linear_f32 = linear<float>,
                         .linear_int8 = avx2_linear_int8,
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
                         .quantize_row = avx2_quantize_row,
                         .copy_row = copy_row,
                         .rope = rope};

}  // namespace
}  // namespace avx2

}  // namespace baltoro::kernels

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace baltoro::kernels {

const Kernels& avx2_kernels() { return avx2::kTable; }

}  // namespace baltoro::kernels
