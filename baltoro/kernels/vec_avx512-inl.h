// SPDX-License-Identifier: Apache-2.0
// The vector of 16 floats, AVX-512 F, BW, VL, DQ. Included inside a target region and a namespace of its own;
// vec_avx2-inl.h gives the same names for 8 floats.

using F = __m512;
constexpr int kLanes = 16;
constexpr int kTileTokens =
    4;  // tokens a tile holds: kTileTokens x 4 accumulators, 4 weights, 1 activation in 32 registers

[[gnu::always_inline]] inline F zero() { return _mm512_setzero_ps(); }
[[gnu::always_inline]] inline F set1(float value) { return _mm512_set1_ps(value); }
[[gnu::always_inline]] inline F load_f32(const void* p) { return _mm512_loadu_ps(p); }
[[gnu::always_inline]] inline void store(float* p, F v) { _mm512_storeu_ps(p, v); }
[[gnu::always_inline]] inline F add(F a, F b) { return _mm512_add_ps(a, b); }
[[gnu::always_inline]] inline F sub(F a, F b) { return _mm512_sub_ps(a, b); }
[[gnu::always_inline]] inline F mul(F a, F b) { return _mm512_mul_ps(a, b); }
[[gnu::always_inline]] inline F div(F a, F b) { return _mm512_div_ps(a, b); }
[[gnu::always_inline]] inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
// The second operand where either is NaN.
[[gnu::always_inline]] inline F max(F a, F b) { return _mm512_max_ps(a, b); }
[[gnu::always_inline]] inline F min(F a, F b) { return _mm512_min_ps(a, b); }
[[gnu::always_inline]] inline F round_even(F a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// p * 2^n for whole n, rounded once, down to zero through the denormals and up to infinity.
[[gnu::always_inline]] inline F times_power_of_2(F p, F n) { return _mm512_scalef_ps(p, n); }

[[gnu::always_inline]] inline __m256 low_half(F v) { return _mm512_castps512_ps256(v); }
[[gnu::always_inline]] inline __m256 high_half(F v) { return _mm512_extractf32x8_ps(v, 1); }
[[gnu::always_inline]] inline __m256 halves_sum(F v) { return _mm256_add_ps(low_half(v), high_half(v)); }
[[gnu::always_inline]] inline __m256 halves_max(F v) { return _mm256_max_ps(low_half(v), high_half(v)); }

// Byte i of each of kLanes words, unsigned.
[[gnu::always_inline]] inline F load_byte_of_words(const void* p, int i) {
  const __m512i bytes = _mm512_srl_epi32(_mm512_loadu_si512(p), _mm_cvtsi32_si128(i * 8));
  return _mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(255)));
}
[[gnu::always_inline]] inline F load_bf16(const void* p) {
  const __m256i bits = _mm256_loadu_si256(static_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
[[gnu::always_inline]] inline F load_f16(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
// E4M3 codes without their scale. An E4M3 code shifted to the place of an F16 is 2^-8 of its value, denormals included.
[[gnu::always_inline]] inline F load_f8(const void* p) {
  const __m256i code = _mm256_cvtepu8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  const __m256i magnitude = _mm256_and_si256(code, _mm256_set1_epi16(0x7F));
  const __m256i sign = _mm256_and_si256(_mm256_slli_epi16(code, 8), _mm256_set1_epi16(-0x8000));
  const __m256i nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7F));  // all ones is a NaN in F16 too
  const __m256i half = _mm256_or_si256(_mm256_or_si256(_mm256_slli_epi16(magnitude, 7), sign), nan);
  return _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(256.0f));
}
// q of the offset-binary nibbles, low nibble first, without their scale.
[[gnu::always_inline]] inline F load_int4(const void* p) {
  const __m128i bytes = _mm_loadl_epi64(static_cast<const __m128i*>(p));
  const __m128i low = _mm_and_si128(bytes, _mm_set1_epi8(15));
  const __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
  const __m128i q = _mm_sub_epi8(_mm_unpacklo_epi8(low, high), _mm_set1_epi8(8));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q));
}

// Nearest even, NaN kept: the bits of tensor::f32_to_bf16, which the processor's own instruction gives for normal
// numbers only.
[[gnu::always_inline]] inline void store_bf16(void* p, F v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd);
  const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  const __m512i kept = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
  _mm256_storeu_si256(static_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16)));
}

// (x1, x0, x3, x2, ...)
[[gnu::always_inline]] inline F swap_pairs(F v) { return _mm512_permute_ps(v, 0xB1); }
// (p0, p0, p1, p1, ...) of kLanes / 2 floats.
[[gnu::always_inline]] inline F load_doubled(const float* p) {
  const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
  return _mm512_permutexvar_ps(twice, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}
// a * b - c in even lanes, a * b + c in odd ones.
[[gnu::always_inline]] inline F fma_sub_add(F a, F b, F c) { return _mm512_fmaddsub_ps(a, b, c); }
[[gnu::always_inline]] inline F unpack_low(F a, F b) { return _mm512_unpacklo_ps(a, b); }
[[gnu::always_inline]] inline F unpack_high(F a, F b) { return _mm512_unpackhi_ps(a, b); }
// Undoes an unpack_low and unpack_high and adds what they interleaved.
[[gnu::always_inline]] inline F add_pairs(F low, F high) {
  return _mm512_add_ps(_mm512_shuffle_ps(low, high, 0x88), _mm512_shuffle_ps(low, high, 0xDD));
}
// Lanes 0, 1, 4, 5, ..; then the same again.
[[gnu::always_inline]] inline F first_pairs(F v) {
  return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 0, 1, 4, 5, 8, 9, 12, 13), v);
}
// 4 bytes in all lanes, or 8 in all pairs of lanes.
template <int kBytes>
[[gnu::always_inline]] inline F load_same(const void* p) {
  if constexpr (kBytes == 8) {
    double two = 0;
    __builtin_memcpy(&two, p, 8);
    return _mm512_castpd_ps(_mm512_set1_pd(two));
  } else {
    float one = 0;
    __builtin_memcpy(&one, p, 4);
    return set1(one);
  }
}
// x where a < b, else y.
[[gnu::always_inline]] inline F select_less(F a, F b, F x, F y) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
[[gnu::always_inline]] inline F unpack_low_pairs(F a, F b) {
  return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}
[[gnu::always_inline]] inline F unpack_high_pairs(F a, F b) {
  return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}
// Lane j of vector i becomes lane i of vector j.
[[gnu::always_inline]] inline void transpose(F (&rows)[kLanes]) {
  F pairs[kLanes], fours[kLanes];
  for (int i = 0; i < kLanes; i += 2) {
    pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < kLanes; i += 4) {
    for (int k = 0; k < 2; ++k) {
      fours[i + 2 * k] = unpack_low_pairs(pairs[i + k], pairs[i + 2 + k]);
      fours[i + 2 * k + 1] = unpack_high_pairs(pairs[i + k], pairs[i + 2 + k]);
    }
  }
  for (int k = 0; k < 4; ++k) {  // fours[4 i + k]: rows 4 i to 4 i + 3 of columns k, 4 + k, 8 + k, 12 + k
    const F first = _mm512_shuffle_f32x4(fours[k], fours[4 + k], 0x88),
            second = _mm512_shuffle_f32x4(fours[8 + k], fours[12 + k], 0x88);
    const F third = _mm512_shuffle_f32x4(fours[k], fours[4 + k], 0xDD),
            fourth = _mm512_shuffle_f32x4(fours[8 + k], fours[12 + k], 0xDD);
    rows[k] = _mm512_shuffle_f32x4(first, second, 0x88);
    rows[8 + k] = _mm512_shuffle_f32x4(first, second, 0xDD);
    rows[4 + k] = _mm512_shuffle_f32x4(third, fourth, 0x88);
    rows[12 + k] = _mm512_shuffle_f32x4(third, fourth, 0xDD);
  }
}
