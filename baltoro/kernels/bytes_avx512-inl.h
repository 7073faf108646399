// SPDX-License-Identifier: Apache-2.0
// The vector of 64 bytes or 16 whole sums, AVX-512 BW and VNNI; behind vec_avx512-inl.h. bytes_avx2-inl.h gives the
// same names for 32 bytes.

using I = __m512i;
constexpr std::int64_t kInt8TileTokens = 6;  // 24 sums, 4 weights, 1 activation in 32 registers
constexpr std::int64_t kInt8TileRows = 4;

[[gnu::always_inline]] inline I load_bytes(const void* p) { return _mm512_loadu_si512(p); }
[[gnu::always_inline]] inline void store_bytes(void* p, I v) { _mm512_storeu_si512(p, v); }
[[gnu::always_inline]] inline I unpack_low_32(I a, I b) { return _mm512_unpacklo_epi32(a, b); }
[[gnu::always_inline]] inline I unpack_high_32(I a, I b) { return _mm512_unpackhi_epi32(a, b); }
[[gnu::always_inline]] inline I unpack_low_64(I a, I b) { return _mm512_unpacklo_epi64(a, b); }
[[gnu::always_inline]] inline I unpack_high_64(I a, I b) { return _mm512_unpackhi_epi64(a, b); }
[[gnu::always_inline]] inline I low_nibbles(I v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
[[gnu::always_inline]] inline I high_nibbles(I v) {
  return _mm512_and_si512(_mm512_srli_epi32(v, 4), _mm512_set1_epi8(15));
}
template <int kBits>
[[gnu::always_inline]] inline I shift_left(I v) {
  return kBits == 0 ? v : _mm512_slli_epi32(v, kBits);
}
[[gnu::always_inline]] inline F to_f32(I v) { return _mm512_cvtepi32_ps(v); }
// VPDPBUSD does not saturate. By name: around the intrinsic GCC 12 keeps 17 of a tile's 24 sums in memory, which is a
// quarter of the speed.
[[gnu::always_inline]] inline I dot(I sum, I w, I x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
  return sum;
}
struct Small {
  [[gnu::always_inline]] static I begin(I start) { return start; }
  [[gnu::always_inline]] static I add(I sum, I w, I x) { return dot(sum, w, x); }
  [[gnu::always_inline]] static I end(I sum, I) { return sum; }
};
using Whole = Small;
// Sums over the lanes of 16 vectors, as the tree of sum_of_lanes().
[[gnu::always_inline]] inline void sixteen_sums(const float* v, float* sums) { store(sums, sums_of_lanes(v)); }
