// SPDX-License-Identifier: Apache-2.0
// Attention by VDPBF16PS: a word of the scores is a pair of columns, a word of the mix a pair of positions.

struct AttendPairs : MultiplyPairs {
  static constexpr int kWidth = 2;
  using Element = bf16;
  static F load(const bf16* p) { return _mm512_castsi512_ps(load_pairs(p)); }
  static F load(const bf16* p, std::int64_t n) { return _mm512_castsi512_ps(load_pairs(p, n)); }

  // Nearest even, as BF16's bits in the high half. A weight is never negative, nor infinite.
  static __m512i rounded(F weight) {
    const __m512i bits = _mm512_castps_si512(weight);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
    return _mm512_and_si512(sum, _mm512_set1_epi32(-0x10000));
  }
  // Rounds the weights of two positions and joins them.
  static F join(F (&weights)[2]) {
    const __m512i first = rounded(weights[0]), second = rounded(weights[1]);
    weights[0] = _mm512_castsi512_ps(first);
    weights[1] = _mm512_castsi512_ps(second);
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_srli_epi32(first, 16), second));
  }
  static void pack(const bf16* first, const bf16* second, float* to) {
    store_pairs(load_pairs(first), load_pairs(second), to);
  }
  // Only so many columns; no second row counts as zeros.
  static void pack(const bf16* first, const bf16* second, std::int64_t columns, float* to) {
    const auto load = [columns](const bf16* row) {
      return columns < kStep ? load_pairs(row, columns) : load_pairs(row);
    };
    store_pairs(load(first), second == nullptr ? _mm512_setzero_si512() : load(second), to);
  }
};

void attend_bf16(const AttendArgs& args, std::int64_t part, float* state) { attend<AttendPairs>(args, part, state); }
