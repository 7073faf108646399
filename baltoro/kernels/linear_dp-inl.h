// SPDX-License-Identifier: Apache-2.0
// y = x W^T by VDPBF16PS: a lane adds two products at a time in f32 (denormal operands and sums count as zero), and
// each (token, row) has one vector of 16 partial sums, added as a tree at the end.
//   BF16: lane l of a step of 32 columns takes columns 2l and 2l + 1; steps in ascending order.
//   INT4, FP8: a run of 512 columns is summed unscaled, in the order of codes_dp-inl.h; its sums times the lanes'
//   scales are added to the partial sums. Codes are exact in BF16, so a weight is never rounded.
// Which tokens and rows share a tile changes none of this.
//
// Few tokens meet whole rows, BF16 only while their activations stay near. Else: panels of 32 rows (BF16: 48), tiles of
// few tokens and rows, runs of columns. A run of a panel meets all tokens before the next run does, so that it comes
// from memory once, asked for in small parts beside the products. Of a run, six rows at a time (BF16: three to six)
// stay in the first cache while all tokens pass in the order they are read (BF16, FP8, INT8), or a tile of tokens stays
// while all rows pass (INT4). Partial sums of all tokens, [tokens, rows of a panel, 16 lanes], wait in the second cache
// meanwhile. Here: what all formats share; pairs_dp-inl.h: BF16; codes_few_dp-inl.h, codes_tiles_dp-inl.h: up to four,
// and five or six tokens that meet the codes straight; of more, codes_lanes_dp-inl.h: those of INT4, for which a run of
// codes is put in order; codes_held_dp-inl.h: the others, for which rows are expanded.

constexpr int kDpRows = kDpPanelRows;
constexpr int kSums = kDpSums;

// A part of n, where the first parts have one more than the others.
constexpr std::int64_t tile_count(std::int64_t n, std::int64_t parts, std::int64_t i) {
  return n / parts + (i < n % parts ? 1 : 0);
}

// Items handed out evenly over turns.
struct EvenTurns {
  std::int64_t items = 0;  // of all turns
  std::int64_t turns = 1;
  std::int64_t due = 0;  // in parts of an item: turns are one

  [[gnu::always_inline]] void begin() { due += items; }
  [[gnu::always_inline]] bool take() {  // one more this turn
    if (due < turns) return false;
    due -= turns;
    return true;
  }
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

// Asks for columns [row, row + rows) of the results of tokens [first, first + n), which are read where they are added
// to: they lie a row apart, so nothing else fetches them. Into the second cache, as the products fill the first.
inline void prefetch_results(const LinearArgs<bf16>& args, std::int64_t first, std::int64_t n, std::int64_t row,
                             std::int64_t rows) {
  for (std::int64_t t = first; t < first + n; ++t) {
    const float* y = args.y_row(t) + row;
    for (std::int64_t r = 0; r < rows; r += 16) _mm_prefetch(y + r, _MM_HINT_T1);
  }
}

// The first `rows` of 16 dots of one token, to columns `row` and on of its result.
inline void store_sums(const LinearArgs<bf16>& args, std::int64_t t, std::int64_t row, std::int64_t rows,
                       const float* sums) {
  const __mmask16 mask = first_lanes(rows, 16);
  F dots = sums_of_lanes(sums);
  float* y = args.y_row(t) + row;
  if (args.y_weights != nullptr) dots = add(_mm512_maskz_loadu_ps(mask, y), mul(set1(args.y_weights[t]), dots));
  _mm512_mask_storeu_ps(y, mask, dots);
}

// A panel of a weight in codes.
struct CodedPanel {
  const std::byte* codes = nullptr;
  std::int64_t row_bytes = 0;
  std::int64_t rows = 0;
  std::int64_t rows_behind = 0;  // of the next panel of the call
  std::int64_t cols = 0;
  const RowScales* scales = nullptr;  // of each row
  // Those of the first row as stored, to ask memory for; any address and 0 where they are widened.
  const std::byte* stored_scales = nullptr;
  std::int64_t scale_row_bytes = 0;
};
