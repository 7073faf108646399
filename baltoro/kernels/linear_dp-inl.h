// SPDX-License-Identifier: Apache-2.0
// y = x W^T by VDPBF16PS: a lane adds two products at a time in f32 (denormal operands and sums count as zero), and
// each (token, row) has one vector of 16 partial sums, added as a tree at the end.
//   BF16: lane l of a step of 32 columns takes columns 2l and 2l + 1; steps in ascending order.
//   INT4, FP8: a run of 512 columns is summed unscaled, in the order of codes_dp-inl.h; its sums times the lanes'
//   scales are added to the partial sums. Codes are exact in BF16, so a weight is never rounded.
// Which tokens and rows share a tile changes none of this.
//
// Panels of 32 rows, tiles of few tokens, runs of columns. The partial sums of a tile, [tokens, 32 rows, 16 lanes],
// stay in the first cache from run to run. Here: what all formats share, and BF16; codes_few_dp-inl.h: tokens that meet
// the codes straight; codes_many_dp-inl.h: those worth an unpacked panel.

constexpr int kDpRows = kDpPanelRows;
constexpr int kSums = kDpRows * 16;  // floats of a token's partial sums

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
  std::int64_t bytes_left = 0;    // of a row of w, from here on
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
    if constexpr (kFetch) {  // at a row's end, the start of the one R rows on
      const std::int64_t at = c * 2 + kAhead + (c * 2 + kAhead < run.bytes_left ? 0 : (R - 1) * run.w_stride);
      for (int i = 0; i < R; ++i) _mm_prefetch(w + i * run.w_stride + at, _MM_HINT_T0);
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
