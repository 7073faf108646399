// SPDX-License-Identifier: Apache-2.0
// Products of up to four tokens straight from codes: all columns of few rows, partial sums in registers.

constexpr std::int64_t kCodesAhead = 8192;    // bytes
constexpr std::int64_t kScaleRowsAhead = 8;   // rows
constexpr std::int64_t kWideColumns = 10000;  // of x, all tokens: more leave no room for rows side by side

// What memory is asked for while N runs of R rows at column c are computed, some KiB before it is used: the processor's
// own prefetchers do not see a stream in runs of several rows. Codes are asked for in the order they lie in, a few
// lines at a time. Panels follow each other, so the end of one asks for the next.
template <class W, int R>
[[gnu::always_inline]] inline const std::byte* codes_ahead(const CodedPanel& panel, std::int64_t r, std::int64_t c) {
  const std::int64_t group = R * panel.row_bytes;
  return panel.codes + r * panel.row_bytes + R * W::bytes(c) + (group > kCodesAhead ? group : kCodesAhead);
}
template <int R>
[[gnu::always_inline]] inline void prefetch_scales(const CodedPanel& panel, std::int64_t r, std::int64_t c) {
  for (int i = 0; i < R; ++i) {
    _mm_prefetch(panel.stored_scales + (r + i + kScaleRowsAhead) * panel.scale_row_bytes + c / 16, _MM_HINT_T0);
  }
}

// Files align nothing: bytes may begin within a line, and end in one more.
[[gnu::always_inline]] inline void prefetch_bytes(const std::byte* from, std::int64_t bytes) {
  _mm_prefetch(from, _MM_HINT_T0);
  for (std::int64_t at = 63; at < bytes; at += 64) _mm_prefetch(from + at, _MM_HINT_T0);
}

// Vector K of a code vector of N runs and R rows: acc += x . codes. Runs and rows take turns, so that few products wait
// for the one before them.
template <class W, int K, int T, int R, int N, int V>
[[gnu::always_inline]] inline void add_vectors(const bf16* x, const __m512i (&q)[N][R], F (&acc)[N][T][R]) {
  for (int m = 0; m < N; ++m) {
    Pairs weights[R];
    for (int i = 0; i < R; ++i) weights[i] = W::template expand<K>(q[m][i]);
    for (int t = 0; t < T; ++t) {
      const Pairs values = load_pairs(x + (m * T + t) * V * 32);
      for (int i = 0; i < R; ++i) acc[m][t][i] = dot_pairs(acc[m][t][i], values, weights[i]);
    }
  }
}

template <class W, int T, int R, int N, int V>
[[gnu::always_inline]] inline void add_code_vector(const bf16* x, const __m512i (&q)[N][R], F (&acc)[N][T][R]) {
  add_vectors<W, 0, T, R, N, V>(x, q, acc);
  add_vectors<W, 1, T, R, N, V>(x + 32, q, acc);
  if constexpr (W::kExpand == 4) {
    add_vectors<W, 2, T, R, N, V>(x + 64, q, acc);
    add_vectors<W, 3, T, R, N, V>(x + 96, q, acc);
  }
}

// Whether codes of four vectors are read twice, so that half of a run is in registers beside the sums. One and two
// tokens have room for all, and are slower so where memory is fast.
template <class W, int T, int V>
constexpr bool kInHalves = W::kExpand == 4 && V == 16 && T > 2;

// Part of the codes of N runs of R rows as vectors.
template <class W, int T, int R, int N, int V, int S>
[[gnu::always_inline]] inline void load_coded_runs(const CodedPanel& panel, std::int64_t r, int part, std::int64_t c,
                                                   std::int64_t n, __m512i (&q)[S][N][R]) {
  for (int m = 0; m < N; ++m) {
    for (int i = 0; i < R; ++i) {
      const std::byte* codes = panel.codes + (r + i) * panel.row_bytes + W::bytes(c + m * kBlock);
      __m512i loaded[kInHalves<W, T, V> ? 2 : 4];
      if constexpr (kInHalves<W, T, V>) {
        W::load_half(codes, part, n, loaded);
      } else {
        W::template load<V>(codes, part, n, loaded);
      }
      for (int j = 0; j < S; ++j) q[j][m][i] = loaded[j];
    }
  }
}

// N runs of V vectors of rows [r, r + R), the first at column c and each of n columns: acc = x . codes. ahead: as many
// codes to ask memory for, or null.
template <class W, int T, int R, int N, int V>
[[gnu::always_inline]] inline void dot_coded_runs(const CodedPanel& panel, std::int64_t r, const bf16* x,
                                                  std::int64_t c, std::int64_t n, const std::byte* ahead,
                                                  F (&acc)[N][T][R]) {
  constexpr int kCodeVectors = V / W::kExpand;
  constexpr int kParts = kInHalves<W, T, V> ? 2 : (kCodeVectors + 3) / 4, kVectors = kCodeVectors / kParts;
  for (auto& run : acc) {
    for (auto& row : run) {
      for (F& lanes : row) lanes = zero();
    }
  }
  for (int part = 0; part < kParts; ++part) {
    if constexpr (kInHalves<W, T, V>) asm volatile("" ::: "memory");  // else GCC keeps what it has read for both
    __m512i q[kVectors][N][R];
    load_coded_runs<W, T, R, N, V>(panel, r, part, c, n, q);
    for (int j = 0; j < kVectors; ++j, x += 32 * W::kExpand) {
      for (int i = 0; ahead != nullptr && i < R * N; ++i, ahead += 64) _mm_prefetch(ahead, _MM_HINT_T0);
      add_code_vector<W, T, R, N, V>(x, q[j], acc);
    }
  }
}

template <class W, int T, int R, int N, int V>
[[gnu::always_inline]] inline void add_coded_runs(const CodedPanel& panel, std::int64_t r, const bf16* x,
                                                  std::int64_t c, std::int64_t n, const std::byte* ahead,
                                                  F (&sums)[T][R]) {
  F acc[N][T][R];
  dot_coded_runs<W, T, R, N, V>(panel, r, x, c, n, ahead, acc);
  for (int m = 0; m < N; ++m) {
    for (int i = 0; i < R; ++i) {
      const F scale = W::template scales<V>(panel.scales[r + i], c + m * kBlock, n);
      for (int t = 0; t < T; ++t) sums[t][i] = fma(acc[m][t][i], scale, sums[t][i]);
    }
  }
}

// All columns of rows [r, r + R) for few tokens, N runs at a time; partial sums stay in registers.
template <class W, int T, int R, int N>
[[gnu::always_inline]] inline void coded_rows(const CodedPanel& panel, std::int64_t r, const bf16* x, float* to) {
  F sums[T][R];
  for (auto& row : sums) {
    for (F& lanes : row) lanes = zero();
  }
  std::int64_t c = 0;
  for (; c + N * kBlock <= panel.cols; c += N * kBlock) {
    prefetch_scales<R>(panel, r, c);
    add_coded_runs<W, T, R, N, 16>(panel, r, x + c * T, c, kBlock, codes_ahead<W, R>(panel, r, c), sums);
  }
  for (; N > 1 && c + kBlock <= panel.cols; c += kBlock) {
    prefetch_scales<R>(panel, r, c);
    add_coded_runs<W, T, R, 1, 16>(panel, r, x + c * T, c, kBlock, codes_ahead<W, R>(panel, r, c), sums);
  }
  if (c < panel.cols) {
    const std::int64_t n = panel.cols - c;
    const int vectors = W::vectors(n);
    if constexpr (W::kShortRuns) {
      if (vectors == 8) add_coded_runs<W, T, R, 1, 8>(panel, r, x + c * T, c, n, nullptr, sums);
      if (vectors == 4) add_coded_runs<W, T, R, 1, 4>(panel, r, x + c * T, c, n, nullptr, sums);
    }
    if (vectors == 16) add_coded_runs<W, T, R, 1, 16>(panel, r, x + c * T, c, n, nullptr, sums);
  }
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) store(to + t * kSums + (r + i) * 16, sums[t][i]);
  }
}

template <class W, int T, int R, int N>
[[gnu::noinline]] void add_coded_rows(const CodedPanel& panel, std::int64_t r, const bf16* x, float* to) {
  coded_rows<W, T, R, N>(panel, r, x, to);
}

// Rows of a run or two are one loop: what a call takes to begin shows there. Longer ones are faster as calls, whose
// addresses stay in registers.
template <class W, int T, int R, int N>
[[gnu::noinline]] void add_short_rows(const CodedPanel& given, const bf16* x, float* sums) {
  const CodedPanel panel = given;  // a copy, which the stores to sums cannot change
  std::int64_t r = 0;
  for (; r + R <= panel.rows; r += R) coded_rows<W, T, R, N>(panel, r, x, sums);
  for (; r < panel.rows; ++r) coded_rows<W, T, 1, N>(panel, r, x, sums);
}

template <class W, int T, int R, int N>
void add_grouped_rows(const CodedPanel& panel, const bf16* x, float* sums) {
  if (panel.cols <= 2 * kBlock) return add_short_rows<W, T, R, N>(panel, x, sums);
  std::int64_t r = 0;
  for (; r + R <= panel.rows; r += R) add_coded_rows<W, T, R, N>(panel, r, x, sums);
  for (; r < panel.rows; ++r) add_coded_rows<W, T, 1, N>(panel, r, x, sums);
}

// One or two tokens wait for memory: few rows at a time, so that it is read nearly from end to end, and fewer where x
// takes much of the first cache. More wait for the products: rows share the loads of x.
template <class W, int T>
void add_tile_codes(const CodedPanel& panel, const bf16* x, float* sums) {
  if constexpr (T <= 2) {
    if (panel.cols < 2 * kBlock) return add_grouped_rows<W, T, 4, 1>(panel, x, sums);
    return T * panel.cols > kWideColumns ? add_grouped_rows<W, T, 1, 2>(panel, x, sums)
                                         : add_grouped_rows<W, T, 2, 2>(panel, x, sums);
  } else {
    add_grouped_rows<W, T, T <= W::kFourRows ? 4 : 2, 1>(panel, x, sums);
  }
}
