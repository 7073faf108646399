// SPDX-License-Identifier: Apache-2.0
// The vector of 8 floats, AVX2, FMA and F16C. Included inside a target region and a namespace of its own;
// vec_avx512-inl.h gives the same names for 16 floats and says what each does.

using F = __m256;
constexpr int kLanes = 8;
constexpr int kTileTokens =
    2;  // tokens a tile holds: kTileTokens x 4 accumulators, 4 weights, 1 activation in 16 registers

[[gnu::always_inline]] inline F zero() { return _mm256_setzero_ps(); }
[[gnu::always_inline]] inline F set1(float value) { return _mm256_set1_ps(value); }
[[gnu::always_inline]] inline F load_f32(const void* p) { return _mm256_loadu_ps(static_cast<const float*>(p)); }
[[gnu::always_inline]] inline void store(float* p, F v) { _mm256_storeu_ps(p, v); }
[[gnu::always_inline]] inline F add(F a, F b) { return _mm256_add_ps(a, b); }
[[gnu::always_inline]] inline F sub(F a, F b) { return _mm256_sub_ps(a, b); }
[[gnu::always_inline]] inline F mul(F a, F b) { return _mm256_mul_ps(a, b); }
[[gnu::always_inline]] inline F div(F a, F b) { return _mm256_div_ps(a, b); }
[[gnu::always_inline]] inline F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
[[gnu::always_inline]] inline F max(F a, F b) { return _mm256_max_ps(a, b); }
[[gnu::always_inline]] inline F min(F a, F b) { return _mm256_min_ps(a, b); }
[[gnu::always_inline]] inline F round_even(F a) {
  return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// In two factors, each a normal number, so that only the last product rounds. |n| <= 200.
[[gnu::always_inline]] inline F times_power_of_2(F p, F n) {
  const __m256i whole = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(whole, 1);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256i first = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  const __m256i second = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(whole, half), bias), 23);
  return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(first)), _mm256_castsi256_ps(second));
}

[[gnu::always_inline]] inline __m256 halves_sum(F v) { return v; }
[[gnu::always_inline]] inline __m256 halves_max(F v) { return v; }

// Byte i of each of kLanes words, unsigned.
[[gnu::always_inline]] inline F load_byte_of_words(const void* p, int i) {
  const __m256i bytes = _mm256_srl_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)), _mm_cvtsi32_si128(i * 8));
  return _mm256_cvtepi32_ps(_mm256_and_si256(bytes, _mm256_set1_epi32(255)));
}
[[gnu::always_inline]] inline F load_bf16(const void* p) {
  const __m128i bits = _mm_loadu_si128(static_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
[[gnu::always_inline]] inline F load_f16(const void* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}
[[gnu::always_inline]] inline F load_f8(const void* p) {
  const __m128i code = _mm_cvtepu8_epi16(_mm_loadl_epi64(static_cast<const __m128i*>(p)));
  const __m128i magnitude = _mm_and_si128(code, _mm_set1_epi16(0x7F));
  const __m128i sign = _mm_and_si128(_mm_slli_epi16(code, 8), _mm_set1_epi16(-0x8000));
  const __m128i nan = _mm_cmpeq_epi16(magnitude, _mm_set1_epi16(0x7F));
  const __m128i half = _mm_or_si128(_mm_or_si128(_mm_slli_epi16(magnitude, 7), sign), nan);
  return _mm256_mul_ps(_mm256_cvtph_ps(half), _mm256_set1_ps(256.0f));
}
[[gnu::always_inline]] inline F load_int4(const void* p) {
  int word = 0;
  __builtin_memcpy(&word, p, 4);
  const __m128i bytes = _mm_cvtsi32_si128(word);
  const __m128i low = _mm_and_si128(bytes, _mm_set1_epi8(15));
  const __m128i high = _mm_and_si128(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
  const __m128i q = _mm_sub_epi8(_mm_unpacklo_epi8(low, high), _mm_set1_epi8(8));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
}

[[gnu::always_inline]] inline void store_bf16(void* p, F v) {
  const __m256i bits = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256 nan = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);
  const __m256i kept = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(nan));
  const __m256i high = _mm256_srli_epi32(kept, 16);
  const __m128i packed = _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
  _mm_storeu_si128(static_cast<__m128i*>(p), packed);
}

[[gnu::always_inline]] inline F swap_pairs(F v) { return _mm256_permute_ps(v, 0xB1); }
[[gnu::always_inline]] inline F load_doubled(const float* p) {
  const __m256i twice = _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0);
  return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), twice);
}
[[gnu::always_inline]] inline F fma_sub_add(F a, F b, F c) { return _mm256_fmaddsub_ps(a, b, c); }
[[gnu::always_inline]] inline F unpack_low(F a, F b) { return _mm256_unpacklo_ps(a, b); }
[[gnu::always_inline]] inline F unpack_high(F a, F b) { return _mm256_unpackhi_ps(a, b); }
[[gnu::always_inline]] inline F add_pairs(F low, F high) {
  return _mm256_add_ps(_mm256_shuffle_ps(low, high, 0x88), _mm256_shuffle_ps(low, high, 0xDD));
}
// Lanes 0, 1, 4, 5; then the same again.
[[gnu::always_inline]] inline F first_pairs(F v) {
  return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 1, 4, 5, 0, 1, 4, 5));
}
template <int kBytes>
[[gnu::always_inline]] inline F load_same(const void* p) {
  if constexpr (kBytes == 8) {
    double two = 0;
    __builtin_memcpy(&two, p, 8);
    return _mm256_castpd_ps(_mm256_set1_pd(two));
  } else {
    float one = 0;
    __builtin_memcpy(&one, p, 4);
    return set1(one);
  }
}
[[gnu::always_inline]] inline F select_less(F a, F b, F x, F y) {
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
[[gnu::always_inline]] inline void transpose(F (&rows)[kLanes]) {
  F pairs[kLanes];
  for (int i = 0; i < kLanes; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
  }
  for (int k = 0; k < 2; ++k) {
    const F low = _mm256_shuffle_ps(pairs[k], pairs[2 + k], 0x44),
            high = _mm256_shuffle_ps(pairs[4 + k], pairs[6 + k], 0x44);
    const F low_odd = _mm256_shuffle_ps(pairs[k], pairs[2 + k], 0xEE),
            high_odd = _mm256_shuffle_ps(pairs[4 + k], pairs[6 + k], 0xEE);
    rows[2 * k] = _mm256_permute2f128_ps(low, high, 0x20);
    rows[4 + 2 * k] = _mm256_permute2f128_ps(low, high, 0x31);
    rows[2 * k + 1] = _mm256_permute2f128_ps(low_odd, high_odd, 0x20);
    rows[4 + 2 * k + 1] = _mm256_permute2f128_ps(low_odd, high_odd, 0x31);
  }
}
