// SPDX-License-Identifier: Apache-2.0
// Attention by VDPBF16PS: a word of the scores is a pair of columns, a word of the mix a pair of positions.

// Element i of one vector, then element i of the other, i < 32.
struct PairOrder {
  alignas(64) std::uint16_t index[64];
};
consteval PairOrder make_pair_order() {
  PairOrder order{};
  for (int i = 0; i < 64; ++i) order.index[i] = static_cast<std::uint16_t>(i / 2 + i % 2 * 32);
  return order;
}
constexpr PairOrder kPairOrder = make_pair_order();

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
  // (first's column c, second's column c) for each of 32 columns.
  static void pack(__m512i first, __m512i second, float* to) {
    _mm512_storeu_si512(to, _mm512_permutex2var_epi16(first, _mm512_load_si512(kPairOrder.index), second));
    _mm512_storeu_si512(to + kLanes,
                        _mm512_permutex2var_epi16(first, _mm512_load_si512(kPairOrder.index + 32), second));
  }
  static void pack(const bf16* first, const bf16* second, float* to) {
    pack(load_pairs(first), load_pairs(second), to);
  }
  // Only so many columns; no second row counts as zeros.
  static void pack(const bf16* first, const bf16* second, std::int64_t columns, float* to) {
    const auto load = [columns](const bf16* row) {
      return columns < kStep ? load_pairs(row, columns) : load_pairs(row);
    };
    pack(load(first), second == nullptr ? _mm512_setzero_si512() : load(second), to);
  }
};

void attend_bf16(const AttendArgs& args, std::int64_t part, float* state) { attend<AttendPairs>(args, part, state); }
