// SPDX-License-Identifier: Apache-2.0
// AVX-512 with VDPBF16PS: the linear layers of BF16 activations, in pairs of columns. All else is AVX-512's.
#include <immintrin.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "baltoro/base/check.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/panel.h"
#include "baltoro/kernels/tables.h"

namespace baltoro::kernels {
namespace {

// BF16 bits of the value of each code: q of an offset-binary nibble (twice), and E4M3 of the codes without a sign bit,
// lower and upper bytes; the same of the whole numbers below 128. pairs: word 8 s + 2 i + h is column 8 i + s + 4 h of
// an INT4 group; int8_pairs: column 8 i + s / 2 + 2 (s % 2) + 4 h of an INT8 group.
struct CodeTables {
  alignas(64) bf16 int4[32];
  alignas(64) std::uint8_t f8[256];
  alignas(64) std::uint8_t whole[256];
  alignas(64) std::uint16_t pairs[32];
  alignas(64) std::uint16_t int8_pairs[32];
};

consteval bf16 exact_bf16(float value) { return static_cast<bf16>(std::bit_cast<std::uint32_t>(value) >> 16); }

consteval CodeTables make_tables() {
  CodeTables tables{};
  for (int i = 0; i < 32; ++i) tables.int4[i] = exact_bf16(static_cast<float>(i % 16 - 8));
  for (int i = 0; i < 128; ++i) {
    const int exponent = i / 8;
    float value = static_cast<float>(exponent == 0 ? i % 8 : 8 + i % 8);
    for (int e = exponent == 0 ? 1 : exponent; e < 10; ++e) value /= 2;
    for (int e = 10; e < exponent; ++e) value *= 2;
    const bf16 bits = i == 127 ? bf16{0x7FC0} : exact_bf16(value);  // the last is NaN
    tables.f8[i] = static_cast<std::uint8_t>(bits);
    tables.f8[128 + i] = static_cast<std::uint8_t>(bits >> 8);
    const bf16 whole = exact_bf16(static_cast<float>(i));
    tables.whole[i] = static_cast<std::uint8_t>(whole);
    tables.whole[128 + i] = static_cast<std::uint8_t>(whole >> 8);
  }
  for (int i = 0; i < 32; ++i) {
    const int s = i / 8, first = i % 8 / 2 * 8 + i % 2 * 4;
    tables.pairs[i] = static_cast<std::uint16_t>(first + s);
    tables.int8_pairs[i] = static_cast<std::uint16_t>(first + s / 2 + s % 2 * 2);
  }
  return tables;
}

constexpr CodeTables kTables = make_tables();

}  // namespace
}  // namespace baltoro::kernels

#if defined(__clang__)
#pragma clang attribute push(                                                                          \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi,avx2,fma,f16c"))), \
    apply_to = function)
#else
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // _mm512_undefined_ps() of GCC's own header (its bug 105593)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vbmi,avx2,fma,f16c")
#endif

namespace baltoro::kernels {

using tensor::MatrixView;
using tensor::WeightFormat;

namespace avx512_bf16 {
namespace {

// clang-format off
#include "baltoro/kernels/vec_avx512-inl.h"
#include "baltoro/kernels/vec-inl.h"
#include "baltoro/kernels/tiles-inl.h"
#include "baltoro/kernels/lanes_avx512-inl.h"
#include "baltoro/kernels/codes_dp-inl.h"
#include "baltoro/kernels/int8_codes_dp-inl.h"
#include "baltoro/kernels/linear_dp-inl.h"
#include "baltoro/kernels/pairs_dp-inl.h"
#include "baltoro/kernels/codes_few_dp-inl.h"
#include "baltoro/kernels/codes_tiles_dp-inl.h"
#include "baltoro/kernels/codes_lanes_dp-inl.h"
#include "baltoro/kernels/codes_held_dp-inl.h"
#include "baltoro/kernels/linear_dp_calls-inl.h"
#include "baltoro/kernels/product-inl.h"
#include "baltoro/kernels/product_dp-inl.h"
#include "baltoro/kernels/product_int8_dp-inl.h"
#include "baltoro/kernels/attend-inl.h"
#include "baltoro/kernels/attend_stages-inl.h"
#include "baltoro/kernels/attend_dp-inl.h"
// clang-format on

void linear_bf16(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin, std::int64_t row_end,
                 std::byte* scratch) {
  BALTORO_DCHECK(row_begin >= 0 && row_begin <= row_end && row_end <= w.rows, "row range out of range");
  if (args.tokens == 0) return;
  if (w.format == WeightFormat::kBF16) return linear_pairs(w, args, row_begin, row_end, scratch);
  if (w.format == WeightFormat::kInt4Group && w.group % kScaleCols == 0) {
    return linear_codes<Int4Codes>(w, args, row_begin, row_end, scratch);
  }
  if (w.format == WeightFormat::kFp8Block && w.block_cols % 128 == 0) {
    return linear_codes<F8Codes>(w, args, row_begin, row_end, scratch);
  }
  if (w.format == WeightFormat::kInt8Group) return linear_codes<Int8Codes>(w, args, row_begin, row_end, scratch);
  avx512_kernels().linear_bf16(w, args, row_begin, row_end, scratch);  // weights that BF16 cannot hold exactly
}

void linear_transposed_bf16(const MatrixView& w, const LinearArgs<bf16>& args, std::byte* scratch) {
  if (w.format == WeightFormat::kBF16 && w.rows % 2 == 0 && w.rows <= kTransposedRows) {
    return transposed_pairs(w, args);
  }
  if (w.format == WeightFormat::kInt8RowGroup) return transposed_int8(w, args, scratch);
  avx512_kernels().linear_transposed_bf16(w, args, scratch);  // in f32
}

}  // namespace
}  // namespace avx512_bf16
}  // namespace baltoro::kernels

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace baltoro::kernels {
namespace {

Kernels make_table() {
  Kernels table = avx512_kernels();
  table.isa = Isa::kAvx512Bf16;
  table.linear_bf16 = avx512_bf16::linear_bf16;
  table.linear_transposed_bf16 = avx512_bf16::linear_transposed_bf16;
  table.attend_bf16 = avx512_bf16::attend_bf16;
  table.attend_stages_bf16 = avx512_bf16::kAttendStages<avx512_bf16::AttendPairs>;
  return table;
}

}  // namespace

const Kernels& avx512_bf16_kernels() {
  static const Kernels kTable = make_table();
  return kTable;
}

}  // namespace baltoro::kernels
