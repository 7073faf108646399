// SPDX-License-Identifier: Apache-2.0
// Transpositions and sums over the lanes of several vectors of 16 dwords, and loads of short ends. A "quad" is one of
// the four 128-bit parts.

// The first n of 64 bytes, the rest zero; nothing is read for n <= 0.
[[gnu::always_inline]] inline __m512i load_bytes(const std::byte* p, std::int64_t n) {
  if (n >= 64) return _mm512_loadu_si512(p);
  return _mm512_maskz_loadu_epi8(static_cast<__mmask64>(n > 0 ? (std::uint64_t{1} << n) - 1 : 0), p);
}

// to[j], quad q, dword i = from[i], quad q, dword j.
[[gnu::always_inline]] inline void transpose_dwords(const __m512i (&from)[4], __m512i (&to)[4]) {
  const __m512i low01 = _mm512_unpacklo_epi32(from[0], from[1]);
  const __m512i low23 = _mm512_unpacklo_epi32(from[2], from[3]);
  const __m512i high01 = _mm512_unpackhi_epi32(from[0], from[1]);
  const __m512i high23 = _mm512_unpackhi_epi32(from[2], from[3]);
  to[0] = _mm512_unpacklo_epi64(low01, low23);
  to[1] = _mm512_unpackhi_epi64(low01, low23);
  to[2] = _mm512_unpacklo_epi64(high01, high23);
  to[3] = _mm512_unpackhi_epi64(high01, high23);
}

// to[j], quad q = from[q], quad j.
[[gnu::always_inline]] inline void transpose_quads(const __m512i (&from)[4], __m512i (&to)[4]) {
  const __m512i low01 = _mm512_shuffle_i32x4(from[0], from[1], 0x44);  // quads 0 and 1 of both
  const __m512i low23 = _mm512_shuffle_i32x4(from[2], from[3], 0x44);
  const __m512i high01 = _mm512_shuffle_i32x4(from[0], from[1], 0xEE);
  const __m512i high23 = _mm512_shuffle_i32x4(from[2], from[3], 0xEE);
  to[0] = _mm512_shuffle_i32x4(low01, low23, 0x88);
  to[1] = _mm512_shuffle_i32x4(low01, low23, 0xDD);
  to[2] = _mm512_shuffle_i32x4(high01, high23, 0x88);
  to[3] = _mm512_shuffle_i32x4(high01, high23, 0xDD);
}

// Lane r = the sum of the 16 lanes of v[r], added as the tree of sum_of_lanes(): (l, l + 8), (l, l + 4), (l, l + 2),
// (l, l + 1).
[[gnu::always_inline]] inline __m512 sums_of_lanes(const float* v) {
  __m512 four[4];
  for (int i = 0; i < 4; ++i) {
    __m512 eight[2];
    for (int k = 0; k < 2; ++k) {
      const __m512 a = _mm512_loadu_ps(v + (i + 4 * k) * 16);
      const __m512 b = _mm512_loadu_ps(v + (i + 4 * k + 8) * 16);
      eight[k] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
    }
    four[i] =
        _mm512_add_ps(_mm512_shuffle_f32x4(eight[0], eight[1], 0x88), _mm512_shuffle_f32x4(eight[0], eight[1], 0xDD));
  }
  __m512 two[2];
  for (int i = 0; i < 2; ++i) {
    two[i] = _mm512_add_ps(_mm512_unpacklo_ps(four[2 * i], four[2 * i + 1]),
                           _mm512_unpackhi_ps(four[2 * i], four[2 * i + 1]));
  }
  const __m512 sums = _mm512_add_ps(_mm512_shuffle_ps(two[0], two[1], 0x44), _mm512_shuffle_ps(two[0], two[1], 0xEE));
  return _mm512_shuffle_f32x4(sums, sums, 0xD8);  // quads hold rows 0, 8, 4, 12
}
