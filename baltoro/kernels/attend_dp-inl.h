// SPDX-License-Identifier: Apache-2.0
// Attention by VDPBF16PS: a step of the scores is a pair of columns, a step of the mix a pair of positions.

struct AttendPairs {
  static constexpr int kWidth = 2;
  using Element = bf16;
  [[gnu::always_inline]] static F multiply_add(F acc, F lanes, F one) {
    return dot_pairs(acc, _mm512_castps_si512(lanes), _mm512_castps_si512(one));
  }
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
  // (row 0's column c, row 1's column c) for each of 32 columns.
  static void pack(const bf16* const (&rows)[2], std::int64_t columns, float* to) {
    const __mmask32 mask = columns < kStep ? (1u << columns) - 1 : ~0u;
    const __m512i first = rows[0] == nullptr ? _mm512_setzero_si512() : _mm512_maskz_loadu_epi16(mask, rows[0]);
    const __m512i second = rows[1] == nullptr ? _mm512_setzero_si512() : _mm512_maskz_loadu_epi16(mask, rows[1]);
    const __m512i low = _mm512_unpacklo_epi16(first, second), high = _mm512_unpackhi_epi16(first, second);
    const __m512i left = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0),
                  right = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    _mm512_storeu_si512(to, _mm512_permutex2var_epi64(low, left, high));
    _mm512_storeu_si512(to + kLanes, _mm512_permutex2var_epi64(low, right, high));
  }
};

void attend_bf16(const AttendArgs& args, std::int64_t part, float* state) { attend<AttendPairs>(args, part, state); }
