// SPDX-License-Identifier: Apache-2.0
// 8-bit activation rows with AVX2: one group of 32 columns after the other, the bits of scalar_quantize_row.

// 32 columns: codes, the group's scale and where its sums start.
inline void quantize_group(const float* x, std::int64_t i, std::byte* chunk) {
  const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
  __m256 values[4];
  __m256i highest = _mm256_setzero_si256();  // bits of magnitudes grow as they do; NaN and infinity are the largest
  for (int v = 0; v < 4; ++v) {
    values[v] = _mm256_loadu_ps(x + v * 8);
    highest = _mm256_max_epi32(highest, _mm256_and_si256(_mm256_castps_si256(values[v]), magnitude));
  }
  __m128i four = _mm_max_epi32(_mm256_castsi256_si128(highest), _mm256_extracti128_si256(highest, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1));
  const int bits = _mm_cvtsi128_si32(four);
  const float largest = __builtin_bit_cast(float, bits);
  const bool finite = bits < 0x7F800000;
  const bool zero = !finite || largest < kSmallestGroup;
  const __m256 inverse = _mm256_set1_ps(zero ? 0 : 127.0f / largest);
  __m256i codes[4];
  __m256i sums = _mm256_setzero_si256();
  for (int v = 0; v < 4; ++v) {
    // A group that is not finite has no codes: NaN and infinity times zero must not reach the conversion.
    const __m256 value = finite ? values[v] : _mm256_setzero_ps();
    codes[v] = _mm256_cvtps_epi32(_mm256_mul_ps(value, inverse));
    sums = _mm256_add_epi32(sums, codes[v]);
  }
  // Bytes in order; then, of eight columns, the even ones and the odd ones as two words.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i bytes = _mm256_permutevar8x32_epi32(
      _mm256_packs_epi16(_mm256_packs_epi32(codes[0], codes[1]), _mm256_packs_epi32(codes[2], codes[3])), order);
  const __m256i split =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
  alignas(32) std::int32_t words[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), _mm256_shuffle_epi8(bytes, split));
  const std::int64_t lane = tensor::int8_lane(i);
  for (std::int64_t v = 0; v < tensor::kInt8Vectors; ++v) {
    __builtin_memcpy(chunk + (v * tensor::kInt8Lanes + lane) * 4, words + v, 4);
  }
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1));
  const std::int32_t offset = -8 * _mm_cvtsi128_si32(sum);
  const float scale = finite ? (zero ? 0 : largest / 127.0f) : __builtin_nanf("");
  __builtin_memcpy(chunk + kRowScales + lane * 4, &scale, 4);
  __builtin_memcpy(chunk + kRowOffsets + lane * 4, &offset, 4);
}

void quantize_row(const float* x, std::byte* row, std::int64_t begin, std::int64_t end, std::int64_t cols) {
  BALTORO_DCHECK(begin % tensor::kInt8LaneCols == 0 && (end % tensor::kInt8LaneCols == 0 || end == cols),
                 "whole groups");
  const std::int64_t padded = end == cols ? tensor::int8_chunks(cols) * tensor::kInt8Chunk : end;
  for (std::int64_t c = begin; c < padded; c += tensor::kInt8LaneCols) {
    std::byte* chunk = row + c / tensor::kInt8Chunk * kRowChunkBytes;
    const std::int64_t group = c % tensor::kInt8Chunk / tensor::kInt8LaneCols;
    if (c + tensor::kInt8LaneCols <= end) {
      quantize_group(x + (c - begin), group, chunk);
    } else {
      alignas(64) float some[tensor::kInt8LaneCols] = {};
      if (c < end) __builtin_memcpy(some, x + (c - begin), static_cast<std::size_t>(end - c) * 4);
      quantize_group(some, group, chunk);
    }
  }
}
