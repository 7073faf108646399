// SPDX-License-Identifier: Apache-2.0
// y = x W^T by VDPBF16PS: a lane adds two products at a time in f32 (denormal operands and sums count as zero), and
// each (token, row) has one vector of 16 partial sums, added as a tree at the end.
//   BF16: lane l of a step of 32 columns takes columns 2l and 2l + 1; steps in ascending order.
//   INT4, FP8: a run of 512 columns is summed unscaled, in the order of codes_dp-inl.h; its sums times the lanes'
//   scales are added to the partial sums. Codes are exact in BF16, so a weight is never rounded.
// Which tokens and rows share a tile changes none of this.
//
// Few tokens meet the codes straight, some rows at a time. More take panels of 32 rows: codes unpacked once, tiles of
// at most 6 tokens, runs of columns, 4 rows. The partial sums of a tile, [tokens, 32 rows, 16 lanes], stay in the first
// cache from run to run, the unpacked panel in the second.

constexpr int kDpRows = kDpPanelRows;
constexpr int kDpTokens = kDpTileTokens;
constexpr std::int64_t kWideColumns = 10000;  // of x, all tokens
constexpr int kSums = kDpRows * 16;           // floats of a token's partial sums

// A tile over one run of columns.
struct Run {
  const bf16* x = nullptr;  // token t's activations: x + t * x_stride, in the order of w
  std::int64_t x_stride = 0;
  const bf16* next_x = nullptr;  // what the tile reads after it: x_stride values a token
  const std::byte* w = nullptr;  // row r: w + r * w_stride
  std::int64_t w_stride = 0;
  std::int64_t rows = 0;  // at most kDpRows
  std::int64_t columns = 0;
  const float* scales = nullptr;  // [rows, 16] of the lanes
  float* sums = nullptr;          // [tokens, kDpRows, 16]
  bool first = false;             // sums hold nothing yet
  bool fetch = false;             // w comes from memory, not from a cache
};

// A step of 32 columns at x and w, or of the first n of them.
template <int T, int R, bool kWhole>
[[gnu::always_inline]] inline void add_step(const bf16* x, std::int64_t x_stride, const std::byte* w,
                                            std::int64_t w_stride, std::int64_t n, F (&acc)[T][R]) {
  Pairs weights[R];
  for (int i = 0; i < R; ++i) weights[i] = kWhole ? load_pairs(w + i * w_stride) : load_pairs(w + i * w_stride, n);
  for (int t = 0; t < T; ++t) {
    const Pairs values = kWhole ? load_pairs(x + t * x_stride) : load_pairs(x + t * x_stride, n);
    for (int i = 0; i < R; ++i) acc[t][i] = dot_pairs(acc[t][i], values, weights[i]);
  }
}

// Rows of BF16 pairs as stored. kFetch: asks memory for them early, as the processor does too little of it.
template <int T, int R, bool kFetch>
[[gnu::always_inline]] inline void add_rows_of_pairs(const Run& run, std::int64_t r) {
  constexpr std::int64_t kAhead = 8192 / R;
  const std::byte* w = run.w + r * run.w_stride;
  float* sums = run.sums + r * 16;
  F acc[T][R];
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) acc[t][i] = run.first ? zero() : load_f32(sums + t * kSums + i * 16);
  }
  std::int64_t c = 0;
  for (; c + 32 <= run.columns; c += 32) {
    if constexpr (kFetch) {
      for (int i = 0; i < R; ++i) _mm_prefetch(w + i * run.w_stride + c * 2 + kAhead, _MM_HINT_T0);
    }
    add_step<T, R, true>(run.x + c, run.x_stride, w + c * 2, run.w_stride, 32, acc);
  }
  if (c < run.columns) add_step<T, R, false>(run.x + c, run.x_stride, w + c * 2, run.w_stride, run.columns - c, acc);
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) store(sums + t * kSums + i * 16, acc[t][i]);
  }
}

template <int T, bool kFetch>
void add_panel_of_pairs(const Run& given) {
  const Run run = given;  // a copy, which the stores to sums cannot change
  constexpr int kRows = T == 1 ? 8 : 4;
  std::int64_t r = 0;
  for (; r + kRows <= run.rows; r += kRows) add_rows_of_pairs<T, kRows, kFetch>(run, r);
  for (; r < run.rows; ++r) add_rows_of_pairs<T, 1, kFetch>(run, r);
}
template <int T>
void add_pairs(const Run& run) {
  return run.fetch && T > 1 ? add_panel_of_pairs<T, true>(run) : add_panel_of_pairs<T, false>(run);
}

// R unpacked rows of V vectors: acc, then acc times the scales into sums. Brings some lines of next_x.
template <int T, int R, int V, bool kFirst>
[[gnu::always_inline]] inline void add_unpacked_rows(const bf16* x, const std::byte* w, const float* scales,
                                                     float* sums, const bf16* next_x) {
  F acc[T][R];
  for (auto& row : acc) {
    for (F& lanes : row) lanes = zero();
  }
#pragma GCC unroll 1
  for (int v = 0; v < V; ++v) {
    _mm_prefetch(next_x + v * 32, _MM_HINT_T0);
    add_step<T, R, true>(x + v * 32, V * 32, w + v * 64, V * 64, 32, acc);
  }
  for (int i = 0; i < R; ++i) {
    const F scale = load_f32(scales + i * 16);
    for (int t = 0; t < T; ++t) {
      float* sum = sums + t * kSums + i * 16;
      store(sum, fma(acc[t][i], scale, kFirst ? zero() : load_f32(sum)));
    }
  }
}

template <int T, int V, bool kFirst>
[[gnu::always_inline]] inline void add_unpacked_panel(const Run& run) {
  std::int64_t r = 0;
  for (; r + 4 <= run.rows; r += 4) {  // the next tokens' activations, one in each of the first T turns
    const std::int64_t next = r / 4 < T ? r / 4 : T - 1;
    add_unpacked_rows<T, 4, V, kFirst>(run.x, run.w + r * V * 64, run.scales + r * 16, run.sums + r * 16,
                                       run.next_x + next * V * 32);
  }
  for (; r < run.rows; ++r) {
    add_unpacked_rows<T, 1, V, kFirst>(run.x, run.w + r * V * 64, run.scales + r * 16, run.sums + r * 16, run.next_x);
  }
}

template <int T, int V>
void add_unpacked(const Run& given) {
  const Run run = given;
  return run.first ? add_unpacked_panel<T, V, true>(run) : add_unpacked_panel<T, V, false>(run);
}

template <class W, int T>
void add_unpacked_run(const Run& run) {
  if constexpr (W::kShortRuns) {
    if (run.columns == 8 * 32) return add_unpacked<T, 8>(run);
    if (run.columns == 4 * 32) return add_unpacked<T, 4>(run);
  }
  add_unpacked<T, 16>(run);
}

// The first `rows` of 16 dots of one token, to columns `row` and on of its result.
inline void store_sums(const LinearArgs<bf16>& args, std::int64_t t, std::int64_t row, std::int64_t rows,
                       const float* sums) {
  const __mmask16 mask = first_lanes(rows, 16);
  F dots = sums_of_lanes(sums);
  float* y = args.y + (args.y_rows != nullptr ? args.y_rows[t] : t) * args.ldy + row;
  if (args.y_weights != nullptr) dots = add(_mm512_maskz_loadu_ps(mask, y), mul(set1(args.y_weights[t]), dots));
  _mm512_mask_storeu_ps(y, mask, dots);
}

// A panel of a weight in codes.
struct CodedPanel {
  const std::byte* codes = nullptr;
  std::int64_t row_bytes = 0;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const RowScales* scales = nullptr;  // of each row
};

// Activations of a tile, packed as [run, token, run width].
struct TokenTile {
  std::int64_t begin = 0;  // of the chunk's tokens
  std::int64_t count = 0;
  const bf16* x = nullptr;
};

// Asks memory for codes in the order they lie in, some KiB before they are used: the processor's own prefetchers do not
// see a stream in runs of several rows. Panels follow each other, so the end of one asks for the next.
template <class W, int R, int N>
[[gnu::always_inline]] inline void prefetch_codes(const CodedPanel& panel, std::int64_t r, std::int64_t c) {
  constexpr std::int64_t kLeast = 8192;
  const std::int64_t group = R * panel.row_bytes;
  const std::byte* codes = panel.codes + r * panel.row_bytes + R * W::bytes(c) + (group > kLeast ? group : kLeast);
  for (std::int64_t line = 0; line < R * N * W::bytes(kBlock); line += 64) _mm_prefetch(codes + line, _MM_HINT_T0);
}

// Vector K of a code vector of N runs and R rows: acc += x . codes. Runs and rows take turns, so that few products wait
// for the one before them.
template <class W, int K, int T, int R, int N, int V>
[[gnu::always_inline]] inline void add_vectors(const bf16* x, const __m512i (&q)[N][R], F (&acc)[N][T][R]) {
  for (int m = 0; m < N; ++m) {
    Pairs values[T];
    for (int t = 0; t < T; ++t) values[t] = load_pairs(x + (m * T + t) * V * 32);
    for (int i = 0; i < R; ++i) {
      const Pairs weights = W::template expand<K>(q[m][i]);
      for (int t = 0; t < T; ++t) acc[m][t][i] = dot_pairs(acc[m][t][i], values[t], weights);
    }
  }
}

// N runs of V vectors of rows [r, r + R), the first at column c and each of n columns: sums += scales * (x . codes).
template <class W, int T, int R, int N, int V>
[[gnu::always_inline]] inline void add_coded_runs(const CodedPanel& panel, std::int64_t r, const bf16* x,
                                                  std::int64_t c, std::int64_t n, F (&sums)[T][R]) {
  constexpr int kCodeVectors = V / W::kExpand, kParts = (kCodeVectors + 3) / 4, kVectors = kCodeVectors / kParts;
  F acc[N][T][R];
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
    for (int j = 0; j < kVectors; ++j) {
      add_vectors<W, 0, T, R, N, V>(x, q[j], acc);
      add_vectors<W, 1, T, R, N, V>(x + 32, q[j], acc);
      if constexpr (W::kExpand == 4) {
        add_vectors<W, 2, T, R, N, V>(x + 64, q[j], acc);
        add_vectors<W, 3, T, R, N, V>(x + 96, q[j], acc);
      }
      x += 32 * W::kExpand;
    }
  }
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

// Codes of a row's run as BF16 pairs, and the scales of its lanes.
template <class W, int V>
[[gnu::always_inline]] inline void unpack_run(const std::byte* codes, const RowScales& scales, std::int64_t c,
                                              std::int64_t n, std::byte* pairs, float* lane_scales) {
  constexpr int kCodeVectors = V / W::kExpand;
  constexpr int kParts = (kCodeVectors + 3) / 4;
  for (int part = 0; part < kParts; ++part) {
    __m512i q[4];
    W::template load<V>(codes, part, n, q);
    for (int j = 0; j < kCodeVectors / kParts; ++j) {
      _mm512_store_si512(pairs, W::template expand<0>(q[j]));
      _mm512_store_si512(pairs + 64, W::template expand<1>(q[j]));
      if constexpr (W::kExpand == 4) {
        _mm512_store_si512(pairs + 128, W::template expand<2>(q[j]));
        _mm512_store_si512(pairs + 192, W::template expand<3>(q[j]));
      }
      pairs += 64 * W::kExpand;
    }
  }
  store(lane_scales, W::template scales<V>(scales, c, n));
}

// While a row's run is unpacked, its next one is fetched; after the last, the first of the next panel.
template <class W, int V>
void unpack_rows(const CodedPanel& panel, std::int64_t c, std::int64_t n, std::byte* pairs, float* lane_scales) {
  const bool last = c + kBlock >= panel.cols;
  const std::int64_t next = last ? panel.rows * panel.row_bytes : W::bytes(c + kBlock);
  for (std::int64_t r = 0; r < panel.rows; ++r) {
    for (std::int64_t line = 0; line < W::bytes(V * 32); line += 64) {
      _mm_prefetch(panel.codes + r * panel.row_bytes + next + line, _MM_HINT_T0);
    }
    unpack_run<W, V>(panel.codes + r * panel.row_bytes + W::bytes(c), panel.scales[r], c, n, pairs + r * V * 64,
                     lane_scales + r * 16);
  }
}

// The run that begins at column c.
template <class W>
void unpack_panel_run(const CodedPanel& panel, std::int64_t c, std::byte* pairs, float* lane_scales) {
  const std::int64_t n = panel.cols - c;
  if (n >= kBlock) return unpack_rows<W, 16>(panel, c, kBlock, pairs, lane_scales);
  if constexpr (W::kShortRuns) {
    if (W::vectors(n) == 8) return unpack_rows<W, 8>(panel, c, n, pairs, lane_scales);
    if (W::vectors(n) == 4) return unpack_rows<W, 4>(panel, c, n, pairs, lane_scales);
  }
  unpack_rows<W, 16>(panel, c, n, pairs, lane_scales);
}
