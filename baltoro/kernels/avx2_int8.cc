// SPDX-License-Identifier: Apache-2.0
// The 8-bit kernels for AVX2.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "baltoro/base/check.h"
#include "baltoro/kernels/int8.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/tables.h"

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
#include "baltoro/kernels/bytes_avx2-inl.h"
#include "baltoro/kernels/int8-inl.h"
#include "baltoro/kernels/int8_calls-inl.h"
#include "baltoro/kernels/quantize-inl.h"
// clang-format on

}  // namespace
}  // namespace avx2

void avx2_quantize_row(const float* x, std::byte* row, std::int64_t begin, std::int64_t end, std::int64_t cols) {
  avx2::quantize_row(x, row, begin, end, cols);
}
void avx2_linear_int8(const MatrixView& w, const LinearArgs<std::byte>& args, std::int64_t row_begin,
                      std::int64_t row_end, std::byte* scratch) {
  avx2::linear_int8(w, args, row_begin, row_end, scratch);
}

}  // namespace baltoro::kernels

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
