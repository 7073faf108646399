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
// sum + pairs. By name: GCC 12 else copies sums from register to register, and keeps some of them in memory.
[[gnu::always_inline]] inline I add_words(I sum, I pairs) {
  asm("vpaddw %1, %0, %0" : "+x"(sum) : "x"(pairs));
  return sum;
}
[[gnu::always_inline]] inline I add_dwords(I sum, I pairs) {
  asm("vpaddd %1, %0, %0" : "+x"(sum) : "x"(pairs));
  return sum;
}
// VPMADDUBSW saturates at 16 bits. A pair of codes below 16 reaches 15 * 127 * 2, and eight of them 30,480: so eight
// vectors are added up in 16 bits.
struct Small {
  [[gnu::always_inline]] static I begin(I) { return _mm256_setzero_si256(); }
  [[gnu::always_inline]] static I add(I sum, I w, I x) { return add_words(sum, _mm256_maddubs_epi16(w, x)); }
  [[gnu::always_inline]] static I end(I sum, I start) {
    return _mm256_add_epi32(start, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
  }
};
// Of signed codes: their size, at most 127, times x with their sign. A pair reaches 32,258. A code of no column is -128
// here, whose size is 128, and its x is zero.
struct Whole {
  [[gnu::always_inline]] static I begin(I) { return _mm256_setzero_si256(); }
  [[gnu::always_inline]] static I add(I sum, I w, I x) {
    const I code = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
    const I pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(x, code));
    return add_dwords(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  [[gnu::always_inline]] static I end(I sum, I) { return sum; }
};
// Sums over the 16 lanes of 16 pairs of vectors, as the tree of scalar_int8.cc.
inline void sixteen_sums(const float* v, float* sums) {
  for (int r = 0; r < 16; ++r) sums[r] = sum_of_lanes(add(load_f32(v + r * 16), load_f32(v + r * 16 + 8)));
}
