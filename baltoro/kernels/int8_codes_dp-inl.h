// SPDX-License-Identifier: Apache-2.0
// INT8 codes of our own copy (tensor/int8_layout.h) as vectors of BF16 pairs, behind codes_dp-inl.h: the lanes are
// those of INT4, and a vector of codes holds four columns of each, of which the even two come first.

struct Int8Codes {
  static constexpr std::int64_t run(std::int64_t) { return kBlock; }  // columns at a time
  static constexpr bool kShortRuns = false;
  static constexpr int kExpand = 2;
  static constexpr bool kInLanes = false;
  static constexpr bool kScalesOfRows = true;
  static constexpr int kFourRows = 3;
  static int vectors(std::int64_t) { return 16; }
  static constexpr std::int64_t bytes(std::int64_t columns) { return columns; }  // rows have whole runs

  template <int V>
  [[gnu::always_inline]] static void load(const std::byte* codes, int part, std::int64_t, __m512i (&q)[4]) {
    static_assert(V == 16);
    for (int j = 0; j < 4; ++j) q[j] = _mm512_loadu_si512(codes + (part * 4 + j) * 64);
  }
  template <int K>
  [[gnu::always_inline]] static Pairs expand(__m512i stored) {
    constexpr __mmask64 kOddBytes = 0xAAAAAAAAAAAAAAAA;
    const std::uint8_t* table = kTables.whole;
    const __m512i q = _mm512_xor_si512(stored, _mm512_set1_epi8(-128));
    const __m512i size = _mm512_abs_epi8(q);
    const __m512i low = _mm512_permutex2var_epi8(_mm512_load_si512(table), size, _mm512_load_si512(table + 64));
    const __m512i magnitude =
        _mm512_permutex2var_epi8(_mm512_load_si512(table + 128), size, _mm512_load_si512(table + 192));
    const __m512i high = _mm512_ternarylogic_epi32(magnitude, q, _mm512_set1_epi8(-128), 0xF8);  // a | (b & c)
    return K == 0 ? _mm512_mask_blend_epi8(kOddBytes, low, _mm512_slli_epi16(high, 8))
                  : _mm512_mask_blend_epi8(kOddBytes, _mm512_srli_epi16(low, 8), high);
  }
  static RowScales row_scales(const MatrixView& w, std::int64_t row, float*) {
    return {.stored = w.scale + row * w.scale_cols() * 2};
  }
  template <int V>
  [[gnu::always_inline]] static F scales(const RowScales& row, std::int64_t c, std::int64_t) {
    return Int4Codes::scales<V>(row, c, kBlock);
  }
  static void order(const bf16* x, std::int64_t n, bf16* to) { Int4Codes::order_block(kTables.int8_pairs, x, n, to); }
};
