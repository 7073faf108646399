// SPDX-License-Identifier: Apache-2.0
// The 8-bit kernels for AVX-512 with VNNI.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "baltoro/base/check.h"
#include "baltoro/kernels/int8.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/tables.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c"))), \
                             apply_to = function)
#else
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // _mm512_undefined_ps() of GCC's own header (its bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")
#endif

namespace baltoro::kernels {

using tensor::MatrixView;
using tensor::WeightFormat;

namespace avx512_vnni {
namespace {

// clang-format off
#include "baltoro/kernels/vec_avx512-inl.h"
#include "baltoro/kernels/vec-inl.h"
#include "baltoro/kernels/lanes_avx512-inl.h"
#include "baltoro/kernels/bytes_avx512-inl.h"
#include "baltoro/kernels/int8-inl.h"
#include "baltoro/kernels/int8_calls-inl.h"
#include "baltoro/kernels/int8_codes_avx512-inl.h"
#include "baltoro/kernels/int8_codes_calls-inl.h"
#include "baltoro/kernels/quantize-inl.h"
// clang-format on

}  // namespace
}  // namespace avx512_vnni

void vnni_quantize_row(const float* x, std::byte* row, std::int64_t begin, std::int64_t end, std::int64_t cols) {
  avx512_vnni::quantize_row(x, row, begin, end, cols);
}
void vnni_linear_int8(const MatrixView& w, const LinearArgs<std::byte>& args, std::int64_t row_begin,
                      std::int64_t row_end, std::byte* scratch) {
  avx512_vnni::linear_int8_codes(w, args, row_begin, row_end, scratch);
}

}  // namespace baltoro::kernels

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
