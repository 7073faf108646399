// SPDX-License-Identifier: Apache-2.0
// How codes become vectors of 16 BF16 pairs, so that each lane stays within one scale: a run of 512 columns (kBlock) is
// 16 vectors whose f32 sums share one multiplication by a vector of 16 scales. Activations are put in the same order.
//
// INT4: 32 columns are 4 dwords of 8 nibbles. Lane 4q + i holds columns [32 (4i + q), + 32); vector 4j + s holds of its
// dword j the nibbles s and s + 4, which one shift brings to the low ends of the two words. A short end of at most 256
// or 128 columns is 8 or 4 vectors, where 2 or 4 lanes share a group.
// FP8: lane 4q + i holds columns of [128 q, + 128), vectors in the order of the columns.
// INT8: int8_codes_dp-inl.h.

using Pairs = __m512i;     // 32 BF16
constexpr int kStep = 32;  // columns of a vector of pairs
constexpr int kBlock = 512;

[[gnu::always_inline]] inline F dot_pairs(F acc, Pairs a, Pairs b) {
  return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
}
[[gnu::always_inline]] inline Pairs load_pairs(const void* p) { return _mm512_loadu_si512(p); }
[[gnu::always_inline]] inline std::int64_t clamp(std::int64_t n, std::int64_t most) {
  return n < 0 ? 0 : (n < most ? n : most);
}
[[gnu::always_inline]] inline __mmask16 first_lanes(std::int64_t n, std::int64_t most) {
  return static_cast<__mmask16>((1u << clamp(n, most)) - 1);
}
// The first n of 32, the rest zero.
[[gnu::always_inline]] inline Pairs load_pairs(const void* p, std::int64_t n) {
  return _mm512_maskz_loadu_epi16(static_cast<__mmask32>((std::uint64_t{1} << clamp(n, 32)) - 1), p);
}

// Scales of a row: the 16-bit ones as stored, or widened to one f32 for each 32 columns.
struct RowScales {
  const std::byte* stored = nullptr;
  const float* widened = nullptr;
};

struct Int4Codes {
  static constexpr std::int64_t run(std::int64_t) { return kBlock; }  // columns at a time
  static constexpr bool kShortRuns = true;
  static constexpr int kExpand = 4;            // vectors of pairs in a vector of codes
  static constexpr bool kInLanes = true;       // expanded again for each tile
  static constexpr bool kScalesOfRows = true;  // each row has 16-bit scales of its own
  static constexpr int kFourRows = 4;          // most tokens for which 4 rows of a run fit the registers
  static int vectors(std::int64_t n) { return n > 256 ? 16 : (n > 128 ? 8 : 4); }
  static constexpr std::int64_t bytes(std::int64_t columns) { return columns / 2; }

  // Codes [0, n) of a run of V vectors: lanes as said above.
  template <int V>
  [[gnu::always_inline]] static void load(const std::byte* codes, int part, std::int64_t n, __m512i (&q)[4]) {
    static_cast<void>(part);
    const std::int64_t size = n / 2;
    if constexpr (V == 16) {
      const __m512i rows[4] = {load_bytes(codes, size), load_bytes(codes + 64, size - 64),
                               load_bytes(codes + 128, size - 128), load_bytes(codes + 192, size - 192)};
      transpose_dwords(rows, q);
    } else if constexpr (V == 8) {
      const __m512i a = load_bytes(codes, size);
      const __m512i b = load_bytes(codes + 64, size - 64);
      q[0] = _mm512_unpacklo_epi32(a, b);
      q[1] = _mm512_unpackhi_epi32(a, b);
    } else {
      q[0] = load_bytes(codes, size);
    }
  }
  // Half of a run of 16 vectors: q[0] and q[1] are what load() gives as q[2 part] and q[2 part + 1].
  [[gnu::always_inline]] static void load_half(const std::byte* codes, int part, std::int64_t n, __m512i (&q)[2]) {
    const std::int64_t size = n / 2;
    const __m512i a = load_bytes(codes, size), b = load_bytes(codes + 64, size - 64);
    const __m512i c = load_bytes(codes + 128, size - 128), d = load_bytes(codes + 192, size - 192);
    const __m512i ab = part == 0 ? _mm512_unpacklo_epi32(a, b) : _mm512_unpackhi_epi32(a, b);
    const __m512i cd = part == 0 ? _mm512_unpacklo_epi32(c, d) : _mm512_unpackhi_epi32(c, d);
    q[0] = _mm512_unpacklo_epi64(ab, cd);
    q[1] = _mm512_unpackhi_epi64(ab, cd);
  }
  template <int K>
  [[gnu::always_inline]] static Pairs expand(__m512i q) {
    return _mm512_permutexvar_epi16(_mm512_srli_epi32(q, 4 * K), _mm512_load_si512(kTables.int4));
  }

  static RowScales row_scales(const MatrixView& w, std::int64_t row, float* widened) {
    if (w.group == kScaleCols && w.scale_dtype == tensor::DType::kBF16) {
      return {.stored = w.scale + row * w.scale_cols() * 2};
    }
    widen_scales(w, row, widened);
    return {.widened = widened};
  }
  // The group of each lane, in units of 32 columns.
  template <int V>
  [[gnu::always_inline]] static __m512i lane_groups() {
    if constexpr (V == 16) return _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    if constexpr (V == 8) return _mm512_setr_epi32(0, 4, 0, 4, 1, 5, 1, 5, 2, 6, 2, 6, 3, 7, 3, 7);
    return _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  }
  // Scales of the run that begins at column c, n columns; zero beyond.
  template <int V>
  [[gnu::always_inline]] static F scales(const RowScales& row, std::int64_t c, std::int64_t n) {
    const __mmask16 mask = first_lanes(n / kScaleCols, 16);
    if (row.stored != nullptr) {  // a BF16 is the upper half of an f32
      const __m512i both = _mm512_castsi256_si512(_mm256_maskz_loadu_epi16(mask, row.stored + c / kScaleCols * 2));
      const __m512i index = _mm512_slli_epi32(lane_groups<V>(), 16);
      return _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xAAAAAAAA, index, both));
    }
    return _mm512_permutexvar_ps(lane_groups<V>(), _mm512_maskz_loadu_ps(mask, row.widened + c / kScaleCols));
  }

  // Activations of a run of V vectors in their order; kWhole: n fills them. words: of a group, as kTables.pairs.
  template <int V, bool kWhole>
  [[gnu::always_inline]] static void order_run(const std::uint16_t* words, const bf16* x, std::int64_t n, bf16* to) {
    const __m512i shuffle = _mm512_load_si512(words);
    for (int q = 0; q < 4; ++q) {
      __m512i rows[4];  // quad s = pairs s of the dwords of group 4 i + q
      for (int i = 0; i < V / 4; ++i) {
        const int g = 4 * i + q;
        const Pairs group = kWhole ? load_pairs(x + g * 32) : load_pairs(x + g * 32, n - g * 32);
        rows[i] = _mm512_permutexvar_epi16(shuffle, group);
      }
      __m512i vectors[4];
      if constexpr (V == 16) {
        transpose_dwords(rows, vectors);
      } else if constexpr (V == 8) {
        vectors[0] = _mm512_unpacklo_epi32(rows[0], rows[1]);
        vectors[1] = _mm512_unpackhi_epi32(rows[0], rows[1]);
      } else {
        vectors[0] = rows[0];
      }
      for (int j = 0; j < V / 4; ++j) _mm512_store_si512(to + (4 * j + q) * 32, vectors[j]);
    }
    for (int j = 0; j < V / 4; ++j) {
      __m512i quads[4], out[4];
      for (int q = 0; q < 4; ++q) quads[q] = _mm512_load_si512(to + (4 * j + q) * 32);
      transpose_quads(quads, out);
      for (int q = 0; q < 4; ++q) _mm512_store_si512(to + (4 * j + q) * 32, out[q]);
    }
  }
  static void order_block(const std::uint16_t* words, const bf16* x, std::int64_t n, bf16* to) {
    n == kBlock ? order_run<16, true>(words, x, n, to) : order_run<16, false>(words, x, n, to);
  }
  static void order(const bf16* x, std::int64_t n, bf16* to) {
    if (vectors(n) == 16) return order_block(kTables.pairs, x, n, to);
    vectors(n) == 8 ? order_run<8, false>(kTables.pairs, x, n, to) : order_run<4, false>(kTables.pairs, x, n, to);
  }
};

struct F8Codes {
  static constexpr std::int64_t run(std::int64_t) { return kBlock; }  // columns at a time
  static constexpr bool kShortRuns = false;
  static constexpr int kExpand = 2;
  static constexpr bool kInLanes = false;
  static constexpr bool kScalesOfRows = false;
  static constexpr int kFourRows = 3;
  static int vectors(std::int64_t) { return 16; }
  static constexpr std::int64_t bytes(std::int64_t columns) { return columns; }

  // Half of a run: q[j], quad b = columns [128 b + 64 part + 16 j, + 16).
  template <int V>
  [[gnu::always_inline]] static void load(const std::byte* codes, int part, std::int64_t n, __m512i (&q)[4]) {
    static_assert(V == 16);
    __m512i rows[4];
    for (int b = 0; b < 4; ++b) {
      const std::int64_t at = 128 * b + 64 * part;
      rows[b] = load_bytes(codes + at, n - at);
    }
    transpose_quads(rows, q);
  }
  template <int K>
  [[gnu::always_inline]] static Pairs expand(__m512i q) {
    const std::uint8_t* table = kTables.f8;
    const __m512i low = _mm512_permutex2var_epi8(_mm512_load_si512(table), q, _mm512_load_si512(table + 64));
    const __m512i magnitude =
        _mm512_permutex2var_epi8(_mm512_load_si512(table + 128), q, _mm512_load_si512(table + 192));
    const __m512i high = _mm512_ternarylogic_epi32(magnitude, q, _mm512_set1_epi8(-128), 0xF8);  // a | (b & c)
    return K == 0 ? _mm512_unpacklo_epi8(low, high) : _mm512_unpackhi_epi8(low, high);
  }
  static RowScales row_scales(const MatrixView& w, std::int64_t row, float* widened) {
    if (w.block_cols == 128)
      return {.stored = w.scale + (row + w.scale_row_offset) / w.block_rows * w.scale_cols() * 4};
    widen_scales(w, row, widened);
    return {.widened = widened};
  }
  template <int V>
  [[gnu::always_inline]] static F scales(const RowScales& row, std::int64_t c, std::int64_t n) {
    if (row.stored != nullptr) {
      const __m512 four = _mm512_maskz_loadu_ps(first_lanes((n + 127) / 128, 4), row.stored + c / 128 * 4);
      return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3), four);
    }
    const __m512i lanes = _mm512_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
    const __mmask16 mask = first_lanes((n + kScaleCols - 1) / kScaleCols, 16);
    return _mm512_permutexvar_ps(lanes, _mm512_maskz_loadu_ps(mask, row.widened + c / kScaleCols));
  }
  template <bool kWhole>
  [[gnu::always_inline]] static void order_run(const bf16* x, std::int64_t n, bf16* to) {
    for (int m = 0; m < 4; ++m) {
      __m512i rows[4];
      __m512i out[4];
      for (int b = 0; b < 4; ++b) {
        const std::int64_t at = 128 * b + 32 * m;
        rows[b] = kWhole ? load_pairs(x + at) : load_pairs(x + at, n - at);
      }
      transpose_quads(rows, out);
      for (int c = 0; c < 4; ++c) _mm512_store_si512(to + (4 * m + c) * 32, out[c]);
    }
  }
  static void order(const bf16* x, std::int64_t n, bf16* to) {
    n == kBlock ? order_run<true>(x, n, to) : order_run<false>(x, n, to);
  }
};
