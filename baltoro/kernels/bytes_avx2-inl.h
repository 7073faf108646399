// SPDX-License-Identifier: Apache-2.0
// The vector of 32 bytes or 8 whole sums, AVX2; behind vec_avx2-inl.h. bytes_avx512-inl.h gives the same names for 64.

using I = __m256i;
constexpr std::int64_t kInt8TileTokens = 2;  // 8 sums, 4 weights, 1 activation, 3 for a product in 16 registers
constexpr std::int64_t kInt8TileRows = 4;

[[gnu::always_inline]] inline I load_bytes(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
[[gnu::always_inline]] inline void store_bytes(void* p, I v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
[[gnu::always_inline]] inline I unpack_low_32(I a, I b) { return _mm256_unpacklo_epi32(a, b); }
[[gnu::always_inline]] inline I unpack_high_32(I a, I b) { return _mm256_unpackhi_epi32(a, b); }
[[gnu::always_inline]] inline I unpack_low_64(I a, I b) { return _mm256_unpacklo_epi64(a, b); }
[[gnu::always_inline]] inline I unpack_high_64(I a, I b) { return _mm256_unpackhi_epi64(a, b); }
[[gnu::always_inline]] inline I low_nibbles(I v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
[[gnu::always_inline]] inline I high_nibbles(I v) {
  return _mm256_and_si256(_mm256_srli_epi32(v, 4), _mm256_set1_epi8(15));
}
template <int kBits>
[[gnu::always_inline]] inline I shift_left(I v) {
  return kBits == 0 ? v : _mm256_slli_epi32(v, kBits);
}
[[gnu::always_inline]] inline F to_f32(I v) { return _mm256_cvtepi32_ps(v); }
// VPMADDUBSW saturates at 16 bits: a pair of codes below 16 reaches 15 * 127 * 2 at most.
[[gnu::always_inline]] inline I dot_small(I sum, I w, I x) {
  const I pairs = _mm256_maddubs_epi16(w, x);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
// Even and odd bytes as 16-bit numbers, so that no product is clipped.
[[gnu::always_inline]] inline I dot(I sum, I w, I x) {
  const I even =
      _mm256_madd_epi16(_mm256_and_si256(w, _mm256_set1_epi16(255)), _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
  const I odd = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), _mm256_srai_epi16(x, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}
// Sums over the 16 lanes of 16 pairs of vectors, as the tree of scalar_int8.cc.
inline void sixteen_sums(const float* v, float* sums) {
  for (int r = 0; r < 16; ++r) sums[r] = sum_of_lanes(add(load_f32(v + r * 16), load_f32(v + r * 16 + 8)));
}
