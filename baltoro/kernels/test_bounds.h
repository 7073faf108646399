// SPDX-License-Identifier: Apache-2.0
// How many roundings each instruction set may make: what the tests of this room compute their bounds from.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "baltoro/kernels/kernels.h"

namespace baltoro::kernels {

inline constexpr double kUnit = 0x1p-24;    // half an ulp of f32
inline constexpr double kFlush = 0x1p-126;  // what VDPBF16PS may lose by taking a denormal for zero

inline double gamma(double roundings) { return roundings * kUnit / (1 - roundings * kUnit); }

inline double widen(float value) { return static_cast<double>(value); }
inline double widen(bf16 value) { return static_cast<double>(tensor::bf16_to_f32(value)); }
inline void narrow(float value, float& to) { to = value; }
inline void narrow(float value, bf16& to) { to = tensor::f32_to_bf16(value); }

// Roundings on the longest way from a product to the stored dot: the chain of one lane, the tree over lanes, and six
// for the product q * scale, the product with x, the step's scale, y_weights and the reference's own f32 element.
// coded: INT4 and FP8 weights, which avx512_bf16 takes in runs of 512 columns, 16 steps and a scaled sum each. avx2
// takes INT4 and INT8 in blocks, whose sums begin with minus the offset times the sum of their x: 2 x 32 steps and a
// scaled sum at most, and each error counts for codes with their offset (offset_size).
inline double dot_roundings(Isa isa, std::size_t x_bytes, std::int64_t cols, bool coded = false) {
  const auto chain = [&](std::int64_t lanes) { return static_cast<double>((cols + lanes - 1) / lanes); };
  switch (isa) {
    case Isa::kScalar:
      return static_cast<double>(cols) + 6;
    case Isa::kAvx2:
      return std::max(chain(8), coded && x_bytes == 2 ? 2 * 32 + 2 + chain(128) : 0) + 3 + 6;
    case Isa::kAvx512:
      return chain(16) + 4 + 6;
    case Isa::kAvx512Bf16:  // a step: at most two products and two sums
      if (x_bytes != 2) return chain(16) + 4 + 6;
      return (coded ? (4 * 16 + 1) * chain(512) : 4 * chain(32)) + 4 + 6;
  }
  return 0;
}

inline std::vector<Isa> supported_isas() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (isa_supported(isa)) isas.push_back(isa);
  }
  return isas;
}

}  // namespace baltoro::kernels
