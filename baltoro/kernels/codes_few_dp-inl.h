// SPDX-License-Identifier: Apache-2.0
// Products of a tile of tokens straight from the codes of a panel. Expanding a code again for each tile of up to seven
// tokens costs little: it runs on ports that the products leave free, and codes are a quarter of what pairs are.

constexpr std::int64_t kCodesAhead = 8192;    // bytes
constexpr std::int64_t kWideColumns = 10000;  // of x, all tokens: more leave no room for rows side by side

// Asks memory for codes in the order they lie in, some KiB before they are used: the processor's own prefetchers do not
// see a stream in runs of several rows. Panels follow each other, so the end of one asks for the next.
template <class W, int R, int N>
[[gnu::always_inline]] inline void prefetch_codes(const CodedPanel& panel, std::int64_t r, std::int64_t c) {
  const std::int64_t group = R * panel.row_bytes;
  const std::byte* codes =
      panel.codes + r * panel.row_bytes + R * W::bytes(c) + (group > kCodesAhead ? group : kCodesAhead);
  for (std::int64_t line = 0; line < R * N * W::bytes(kBlock); line += 64) _mm_prefetch(codes + line, _MM_HINT_T0);
}

// The codes that prefetch_codes() takes for asked already: before the first panel of a call.
inline void prefetch_start(const std::byte* codes, std::int64_t bytes) {
  const std::int64_t end = bytes < kCodesAhead ? bytes : kCodesAhead;
  for (std::int64_t at = 0; at < end; at += 64) _mm_prefetch(codes + at, _MM_HINT_T0);
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

// N runs of V vectors of rows [r, r + R), the first at column c and each of n columns: acc = x . codes.
template <class W, int T, int R, int N, int V>
[[gnu::always_inline]] inline void dot_coded_runs(const CodedPanel& panel, std::int64_t r, const bf16* x,
                                                  std::int64_t c, std::int64_t n, F (&acc)[N][T][R]) {
  constexpr int kCodeVectors = V / W::kExpand, kParts = (kCodeVectors + 3) / 4, kVectors = kCodeVectors / kParts;
  for (auto& run : acc) {
    for (auto& row : run) {
      for (F& lanes : row) lanes = zero();
    }
  }
  for (int part = 0; part < kParts; ++part) {
    __m512i q[kVectors][N][R];
    for (int m = 0; m < N; ++m) {
      for (int i = 0; i < R; ++i) {
        __m512i loaded[4];
        W::template load<V>(panel.codes + (r + i) * panel.row_bytes + W::bytes(c + m * kBlock), part, n, loaded);
        for (int j = 0; j < kVectors; ++j) q[j][m][i] = loaded[j];
      }
    }
    if constexpr (T <= 4) {
      for (int j = 0; j < kVectors; ++j, x += 32 * W::kExpand) add_code_vector<W, T, R, N, V>(x, q[j], acc);
    } else {
#pragma GCC unroll 1
      for (int j = 0; j < kVectors; ++j, x += 32 * W::kExpand) add_code_vector<W, T, R, N, V>(x, q[j], acc);
    }
  }
}

template <class W, int T, int R, int N, int V>
[[gnu::always_inline]] inline void add_coded_runs(const CodedPanel& panel, std::int64_t r, const bf16* x,
                                                  std::int64_t c, std::int64_t n, F (&sums)[T][R]) {
  F acc[N][T][R];
  dot_coded_runs<W, T, R, N, V>(panel, r, x, c, n, acc);
  for (int m = 0; m < N; ++m) {
    for (int i = 0; i < R; ++i) {
      const F scale = W::template scales<V>(panel.scales[r + i], c + m * kBlock, n);
      for (int t = 0; t < T; ++t) sums[t][i] = fma(acc[m][t][i], scale, sums[t][i]);
    }
  }
}

// All columns of rows [r, r + R) for few tokens, N runs at a time; partial sums stay in registers.
template <class W, int T, int R, int N>
void add_coded_rows(const CodedPanel& panel, std::int64_t r, const bf16* x, float* to) {
  F sums[T][R];
  for (auto& row : sums) {
    for (F& lanes : row) lanes = zero();
  }
  std::int64_t c = 0;
  for (; c + N * kBlock <= panel.cols; c += N * kBlock) {
    prefetch_codes<W, R, N>(panel, r, c);
    add_coded_runs<W, T, R, N, 16>(panel, r, x + c * T, c, kBlock, sums);
  }
  for (; N > 1 && c + kBlock <= panel.cols; c += kBlock) {
    prefetch_codes<W, R, 1>(panel, r, c);
    add_coded_runs<W, T, R, 1, 16>(panel, r, x + c * T, c, kBlock, sums);
  }
  if (c < panel.cols) {
    const std::int64_t n = panel.cols - c;
    const int vectors = W::vectors(n);
    if constexpr (W::kShortRuns) {
      if (vectors == 8) add_coded_runs<W, T, R, 1, 8>(panel, r, x + c * T, c, n, sums);
      if (vectors == 4) add_coded_runs<W, T, R, 1, 4>(panel, r, x + c * T, c, n, sums);
    }
    if (vectors == 16) add_coded_runs<W, T, R, 1, 16>(panel, r, x + c * T, c, n, sums);
  }
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) store(to + t * kSums + (r + i) * 16, sums[t][i]);
  }
}

template <class W, int T, int R, int N>
void add_grouped_rows(const CodedPanel& panel, const bf16* x, float* sums) {
  std::int64_t r = 0;
  for (; r + R <= panel.rows; r += R) add_coded_rows<W, T, R, N>(panel, r, x, sums);
  for (; r < panel.rows; ++r) add_coded_rows<W, T, 1, N>(panel, r, x, sums);
}

// One or two tokens wait for memory: few rows at a time, so that it is read nearly from end to end, and fewer where x
// takes much of the first cache. More wait for the products: rows share the loads of x.
template <class W, int T>
void add_tile_codes(const CodedPanel& panel, const bf16* x, float* sums) {
  if constexpr (T <= 2) {
    return T * panel.cols > kWideColumns ? add_grouped_rows<W, T, 1, 2>(panel, x, sums)
                                         : add_grouped_rows<W, T, 2, 2>(panel, x, sums);
  } else {
    add_grouped_rows<W, T, T <= W::kFourRows ? 4 : 2, 1>(panel, x, sums);
  }
}

// Part `part` of all parts of the values at x, into the first cache.
[[gnu::always_inline]] inline void prefetch_part(const bf16* x, std::int64_t values, std::int64_t part,
                                                 std::int64_t parts) {
  const std::int64_t end = values * (part + 1) / parts;
  for (std::int64_t i = values * part / parts; i < end; i += 32) _mm_prefetch(x + i, _MM_HINT_T0);
}

// A tile over one run.
struct CodedRun {
  const bf16* x = nullptr;       // [T, V vectors]
  const bf16* next_x = nullptr;  // what the tile reads after it: as many
  std::int64_t column = 0;
  std::int64_t columns = 0;
  float* sums = nullptr;  // [T, kDpRows, 16]; nothing yet at column 0
  bool fetch = false;     // codes come from memory, not from a cache
};

template <class W, int T, int R, int V>
[[gnu::always_inline]] inline void add_coded_run(const CodedPanel& panel, std::int64_t r, const CodedRun& run,
                                                 std::int64_t columns) {
  F acc[1][T][R];
  dot_coded_runs<W, T, R, 1, V>(panel, r, run.x, run.column, columns, acc);
  for (int i = 0; i < R; ++i) {
    const F scale = W::template scales<V>(panel.scales[r + i], run.column, columns);
    for (int t = 0; t < T; ++t) {
      float* sum = run.sums + t * kSums + (r + i) * 16;
      store(sum, fma(acc[0][t][i], scale, run.column == 0 ? zero() : load_f32(sum)));
    }
  }
}

// kWhole: run.columns is kBlock.
template <class W, int T, int V, bool kWhole>
void add_coded_panel_run(const CodedPanel& given, const CodedRun& given_run) {
  const CodedPanel panel = given;  // copies, which the stores to sums cannot change
  const CodedRun run = given_run;
  const std::int64_t columns = kWhole ? kBlock : run.columns;
  const bool last = run.column + run.columns >= panel.cols;  // then the first run of the next panel
  const std::int64_t next = last ? panel.rows * panel.row_bytes : W::bytes(run.column + kBlock);
  std::int64_t r = 0;
  for (; r + 2 <= panel.rows; r += 2) {
    prefetch_part(run.next_x, T * V * 32, r / 2, kDpRows / 2);
    for (std::int64_t line = 0; run.fetch && line < W::bytes(kBlock); line += 64) {
      _mm_prefetch(panel.codes + r * panel.row_bytes + next + line, _MM_HINT_T0);
      _mm_prefetch(panel.codes + (r + 1) * panel.row_bytes + next + line, _MM_HINT_T0);
    }
    add_coded_run<W, T, 2, V>(panel, r, run, columns);
  }
  for (; r < panel.rows; ++r) add_coded_run<W, T, 1, V>(panel, r, run, columns);
}

// A tile that is not the only one, or too big for add_tile_codes: run after run, so that x and sums stay in the first
// cache. x as TokenTile says.
template <class W, int T>
void add_tile_runs(const CodedPanel& panel, const bf16* x, bool fetch, float* sums) {
  for (std::int64_t c = 0; c < panel.cols; c += kBlock) {
    const std::int64_t n = clamp(panel.cols - c, kBlock);
    const std::int64_t width = W::vectors(n) * 32;
    const CodedRun run{
        .x = x + c * T, .next_x = x + (c + width) * T, .column = c, .columns = n, .sums = sums, .fetch = fetch};
    if (n == kBlock) {
      add_coded_panel_run<W, T, 16, true>(panel, run);
    } else if (!W::kShortRuns || W::vectors(n) == 16) {
      add_coded_panel_run<W, T, 16, false>(panel, run);
    } else if constexpr (W::kShortRuns) {
      W::vectors(n) == 8 ? add_coded_panel_run<W, T, 8, false>(panel, run)
                         : add_coded_panel_run<W, T, 4, false>(panel, run);
    }
  }
}
