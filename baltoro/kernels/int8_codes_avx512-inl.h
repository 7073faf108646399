// SPDX-License-Identifier: Apache-2.0
// 8-bit products straight from the codes of a panel, for VNNI; behind int8_calls-inl.h. Codes are expanded again for
// each tile of tokens: it runs on ports that the products leave free, and an unpacked panel would be written to the
// second cache and read from it. Scales are BF16 in groups of 32 and are widened where they are used.

constexpr std::int64_t kInt8CodeTokens = 8;  // of a tile: 16 sums, 8 vectors of codes, 2 of weights, 1 of activations
constexpr std::int64_t kInt8CodesAhead = 8192;    // bytes that memory is asked for early
constexpr std::int64_t kInt8StreamTokens = 4;     // at most so many read whole rows
constexpr std::int64_t kInt8StreamChunks = 28;    // of x, all tokens: more leave no room in the first cache
constexpr std::int64_t kInt8CloseBytes = 400000;  // of x, all tokens: more do not stay in the second cache
constexpr std::int64_t kInt8FewRows = 16;         // of an INT8 panel for one tile: two runs stay in the first cache
constexpr std::int64_t kInt8ManyTokens = 128;     // from here on INT8 rows are copied close together
// Floats between the sums of two tokens: a multiple of 4 KiB would make loads wait for stores to other tokens' sums.
constexpr std::int64_t kInt8CodeSums = (kInt8PanelRows + 2) * tensor::kInt8Lanes;

struct Int8CodesOfInt4 {
  static constexpr std::int64_t kBytes = 256;
  static constexpr int kShift = 0, kParts = 1, kExpand = 2;
  [[gnu::always_inline]] static void load(const std::byte* codes, int, I (&q)[4]) {
    I packed[4];
    for (int k = 0; k < 4; ++k) packed[k] = load_bytes(codes + k * 64);
    transpose_words(packed, q);
  }
  // The first `bytes` of a chunk, the rest zero.
  [[gnu::always_inline]] static void load_some(const std::byte* codes, int, std::int64_t bytes, I (&q)[4]) {
    I packed[4];
    for (int k = 0; k < 4; ++k) packed[k] = load_bytes(codes + k * 64, bytes - k * 64);
    transpose_words(packed, q);
  }
  template <int K>
  [[gnu::always_inline]] static I expand(I q) {
    return K == 0 ? low_nibbles(q) : high_nibbles(q);
  }
};
struct Int8CodesOfInt8 {
  static constexpr std::int64_t kBytes = 512;
  static constexpr int kShift = 4, kParts = 2, kExpand = 1;
  [[gnu::always_inline]] static void load(const std::byte* codes, int part, I (&q)[4]) {
    for (int k = 0; k < 4; ++k) q[k] = load_bytes(codes + (part * 4 + k) * 64);
  }
  [[gnu::always_inline]] static void load_some(const std::byte* codes, int part, std::int64_t, I (&q)[4]) {
    load(codes, part, q);  // rows have whole chunks
  }
  template <int K>
  [[gnu::always_inline]] static I expand(I q) {
    return q;
  }
};

// 16 BF16 scales in the order of groups, as f32 in the order of lanes.
[[gnu::always_inline]] inline F lane_order_scales(__m256i stored) {
  const I order = _mm512_set_epi16(15, 0, 11, 0, 7, 0, 3, 0, 14, 0, 10, 0, 6, 0, 2, 0, 13, 0, 9, 0, 5, 0, 1, 0, 12, 0,
                                   8, 0, 4, 0, 0, 0);
  return _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xAAAAAAAA, order, _mm512_castsi256_si512(stored)));
}

// Scales of one row's chunk; of one that is not whole, zero where there are no columns.
template <class W, bool kWhole>
[[gnu::always_inline]] inline F code_scales(const Int8Panel& panel, std::int64_t row, std::int64_t c) {
  const std::byte* from = panel.stored_scales + row * panel.scale_bytes + c * 32;
  if (kWhole) return lane_order_scales(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  const auto some = static_cast<__mmask16>((1 << (panel.scale_bytes - c * 32) / 2) - 1);
  return lane_order_scales(_mm256_maskz_loadu_epi16(some, from));
}

template <class W, int K, int T, int R>
[[gnu::always_inline]] inline void dot_vector(const std::byte* const (&x)[T], std::int64_t at, const I (&q)[R][4],
                                              int j, I (&sum)[T][R]) {
  I weights[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) weights[r] = W::template expand<K>(q[r][j]);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const I value = load_bytes(x[t] + at);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[t][r] = dot(sum[t][r], weights[r], value);
  }
}

// sum = one chunk of T tokens times R rows of codes; x_at is where it begins in a row of activations.
template <class W, int T, int R, bool kWhole>
[[gnu::always_inline]] inline void dot_codes(const Int8Panel& panel, std::int64_t row, std::int64_t c,
                                             const std::byte* const (&x)[T], std::int64_t x_at, I (&sum)[T][R]) {
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const I start = first_sum<W>(x[t] + x_at, 0);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[t][r] = start;
  }
  // One or two sums would wait for each other's products: two more take turns with them.
  constexpr bool kTurns = T * R <= 2 && W::kExpand == 2;
  [[maybe_unused]] I other[T][R];
  if constexpr (kTurns) {
    for (auto& token : other) {
      for (I& lanes : token) lanes = _mm512_setzero_si512();
    }
  }
#pragma GCC unroll 2
  for (int part = 0; part < W::kParts; ++part) {
    I q[R][4];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const std::byte* codes = panel.codes + (row + r) * panel.row_bytes + c * W::kBytes;
      if (kWhole) {
        W::load(codes, part, q[r]);
      } else {
        W::load_some(codes, part, panel.row_bytes - c * W::kBytes, q[r]);
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const std::int64_t at = x_at + (part * 4 + j) * W::kExpand * 64;
      dot_vector<W, 0, T, R>(x, at, q, j, sum);
      if constexpr (kTurns) {
        dot_vector<W, 1, T, R>(x, at + 64, q, j, other);
      } else if constexpr (W::kExpand == 2) {
        dot_vector<W, 1, T, R>(x, at + 64, q, j, sum);
      }
    }
  }
  if constexpr (kTurns) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sum[t][r] = _mm512_add_epi32(sum[t][r], other[t][r]);
    }
  }
}

// Rows [row, row + R) over all columns; partial sums stay in registers.
template <class W, int T, int R>
[[gnu::always_inline]] inline void stream_rows(const Int8Panel& panel, std::int64_t row, const std::byte* const (&x)[T],
                                               float* sums) {
  F lanes[T][R];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) lanes[t][r] = zero();
  }
  const std::int64_t group = R * panel.row_bytes;
  const std::byte* ahead = panel.codes + row * panel.row_bytes + (group > kInt8CodesAhead ? group : kInt8CodesAhead);
  const std::byte* scales_ahead = panel.stored_scales + (row + 16) * panel.scale_bytes;
  const auto add_chunk = [&]<bool kWhole>(std::int64_t c) __attribute__((always_inline)) {
#pragma GCC unroll 1
    for (std::int64_t line = 0; line < R * W::kBytes; line += 256) {
      _mm_prefetch(ahead + R * c * W::kBytes + line, _MM_HINT_T0);
      _mm_prefetch(ahead + R * c * W::kBytes + line + 64, _MM_HINT_T0);
      _mm_prefetch(ahead + R * c * W::kBytes + line + 128, _MM_HINT_T0);
      _mm_prefetch(ahead + R * c * W::kBytes + line + 192, _MM_HINT_T0);
    }
    _mm_prefetch(scales_ahead + c * R * 32, _MM_HINT_T0);
    I sum[T][R];
    dot_codes<W, T, R, kWhole>(panel, row, c, x, c * kRowChunkBytes, sum);
    F scales[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) scales[r] = code_scales<W, kWhole>(panel, row + r, c);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const F x_scales = chunk_scales(x[t] + c * kRowChunkBytes, 0);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) lanes[t][r] = fma(to_f32(sum[t][r]), mul(scales[r], x_scales), lanes[t][r]);
    }
  };
  const std::int64_t whole = panel.row_bytes / W::kBytes;
  for (std::int64_t c = 0; c < whole; ++c) add_chunk.template operator()<true>(c);
  if (whole < panel.chunks) add_chunk.template operator()<false>(whole);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) store(sums + t * kInt8CodeSums + (row + r) * tensor::kInt8Lanes, lanes[t][r]);
  }
}

template <class W, int T, int R>
[[gnu::noinline]] void stream_codes(const Int8Panel& panel, std::int64_t row, const std::byte* const* x_rows,
                                    float* sums) {
  const std::byte* x[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) x[t] = x_rows[t];
  stream_rows<W, T, R>(panel, row, x, sums);
}

// Rows of one chunk are one loop: what a call takes to begin shows there.
template <class W, int T>
[[gnu::noinline]] void stream_short_panel(const Int8Panel& given, const std::byte* const* x_rows, float* sums) {
  const Int8Panel panel = given;  // a copy, which the stores to sums cannot change
  const std::byte* x[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) x[t] = x_rows[t];
  for (std::int64_t r = 0; r < panel.rows; ++r) stream_rows<W, T, 1>(panel, r, x, sums);
}

template <class W, int T>
void stream_codes_panel(const Int8Panel& panel, const std::byte* const* x, float* sums) {
  if (panel.chunks == 1) return stream_short_panel<W, T>(panel, x, sums);
  // One row is one stream, which memory serves best. Three and four tokens of INT4 wait for the products instead, where
  // two rows share the loads of x.
  constexpr int kRows = W::kExpand == 2 && T > 2 ? 2 : 1;
  std::int64_t r = 0;
  for (; r + kRows <= panel.rows; r += kRows) stream_codes<W, T, kRows>(panel, r, x, sums);
  if constexpr (kRows > 1) {
    for (; r < panel.rows; ++r) stream_codes<W, T, 1>(panel, r, x, sums);
  }
}

// One chunk of a panel for a tile of tokens.
struct Int8CodedRun {
  const std::byte* const* x = nullptr;
  std::int64_t chunk = 0;
  float* sums = nullptr;                     // [tokens, kInt8CodeSums]
  bool fetch = false;                        // codes come from memory, not from a cache
  const std::byte* const* next_x = nullptr;  // rows of the next tile; null where x stays in the second cache
};

template <class W, int T, int R, bool kWhole, bool kFirst>
[[gnu::always_inline]] inline void add_coded(const Int8Panel& panel, std::int64_t row, std::int64_t c,
                                             const std::byte* const (&x)[T], float* to) {
  I sum[T][R];
  dot_codes<W, T, R, kWhole>(panel, row, c, x, 0, sum);
  F scales[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) scales[r] = code_scales<W, kWhole>(panel, row + r, c);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const F x_scales = chunk_scales(x[t], 0);
    float* lanes = to + t * kInt8CodeSums + row * tensor::kInt8Lanes;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r, lanes += tensor::kInt8Lanes) {
      store(lanes, fma(to_f32(sum[t][r]), mul(scales[r], x_scales), kFirst ? zero() : load_f32(lanes)));
    }
  }
}

template <class W, int T, bool kWhole, bool kFirst>
[[gnu::noinline]] void add_coded_run(const Int8Panel& given, const Int8CodedRun& run) {
  const Int8Panel panel = given;  // a copy, which the stores to sums cannot change
  const std::int64_t c = run.chunk;
  float* const sums = run.sums;
  const bool fetch = run.fetch;
  const std::byte* const* const next_x = run.next_x == nullptr || c + 1 == panel.chunks ? run.next_x : run.x;
  const std::int64_t next_x_at = c + 1 == panel.chunks ? 0 : (c + 1) * kRowChunkBytes;
  const std::byte* x[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) x[t] = run.x[t] + c * kRowChunkBytes;
  const std::int64_t next = c + 1 < panel.chunks ? (c + 1) * W::kBytes : panel.rows * panel.row_bytes;
  std::int64_t r = 0;
  for (; r + 2 <= panel.rows; r += 2) {
    if (next_x != nullptr && r < 2 * T) {
      const std::byte* x_row = next_x[r / 2] + next_x_at;
      asm("" : "+r"(x_row));
#pragma GCC unroll 16
      for (std::int64_t line = 0; line < kRowChunkBytes; line += 64) _mm_prefetch(x_row + line, _MM_HINT_T0);
    }
    if (fetch) {
      const std::byte* codes = panel.codes + r * panel.row_bytes + next;
      for (std::int64_t line = 0; line < W::kBytes; line += 64) {
        _mm_prefetch(codes + line, _MM_HINT_T0);
        _mm_prefetch(codes + panel.row_bytes + line, _MM_HINT_T0);
      }
      if (c % 2 == 0) {
        _mm_prefetch(panel.stored_scales + (panel.rows + r) * panel.scale_bytes + c * 32, _MM_HINT_T1);
        _mm_prefetch(panel.stored_scales + (panel.rows + r + 1) * panel.scale_bytes + c * 32, _MM_HINT_T1);
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) asm("" : "+r"(x[t]));  // else each vector's address is kept, in memory
    add_coded<W, T, 2, kWhole, kFirst>(panel, r, c, x, sums);
  }
  for (; r < panel.rows; ++r) add_coded<W, T, 1, kWhole, kFirst>(panel, r, c, x, sums);
}

template <class W, int T>
void add_coded_tile(const Int8Panel& panel, const std::byte* const* x, const std::byte* const* next_x, bool fetch,
                    float* sums) {
  const std::int64_t whole = panel.row_bytes / W::kBytes;
  for (std::int64_t c = 0; c < panel.chunks; ++c) {
    const Int8CodedRun run{.x = x, .chunk = c, .sums = sums, .fetch = fetch, .next_x = next_x};
    if (c < whole) {
      c == 0 ? add_coded_run<W, T, true, true>(panel, run) : add_coded_run<W, T, true, false>(panel, run);
    } else {
      c == 0 ? add_coded_run<W, T, false, true>(panel, run) : add_coded_run<W, T, false, false>(panel, run);
    }
  }
}
