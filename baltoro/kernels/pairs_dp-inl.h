// SPDX-License-Identifier: Apache-2.0
// Products with BF16 rows as stored: few tokens meet whole rows, more of them meet a panel run by run.

// Few tokens. For more than one, memory is asked for the rows early, as the processor does too little of it.
template <int T, int R>
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
    if constexpr (T > 1) {  // at a row's end, the start of the one R rows on
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

template <int T>
void add_pairs(const Run& given) {
  const Run run = given;  // a copy, which the stores to sums cannot change
  constexpr int kRows = 4;
  std::int64_t r = 0;
  for (; r + kRows <= run.rows; r += kRows) add_rows_of_pairs<T, kRows>(run, r);
  for (; r < run.rows; ++r) add_rows_of_pairs<T, 1>(run, r);
}

constexpr std::int64_t pair_run(std::int64_t cols) { return cols <= kDpLongPairRun ? kDpLongPairRun : kDpPairRun; }

// Some rows times some tokens over a run.
struct PairTile {
  const bf16* x = nullptr;  // [step, T, 32], zero behind the last column
  const std::byte* w = nullptr;
  std::int64_t w_stride = 0;
  std::int64_t columns = 0;        // at least one
  bf16* held = nullptr;            // the rows of w as [step, R, 32], zero behind the last column
  float* sums = nullptr;           // of the first row: [T, kDpPairSums]
  bool first = false;              // sums hold nothing yet
  const std::byte* ahead[3] = {};  // rows to ask memory for, as many columns of them
};

// kHold: the rows come from w and are put into held for the tiles after this one.
// Not inlined, few arguments: GCC 12 keeps addresses that find no register in vectors, and reading one back waits for
// all products before it. The loop tests its end last: sums that might pass it untouched are kept in memory too.
template <int T, int R, bool kHold>
[[gnu::noinline]] void add_pair_tile(const PairTile& tile) {
  const std::int64_t columns = tile.columns, w_stride = tile.w_stride;
  const bf16* x = tile.x;
  const std::byte* w = tile.w;
  bf16* held = tile.held;
  const std::byte* ahead[3] = {tile.ahead[0], tile.ahead[1], tile.ahead[2]};
  float* sums = tile.sums;
  const __mmask16 mask = tile.first ? 0 : 0xFFFF;
  F acc[T][R];
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) acc[t][i] = _mm512_maskz_loadu_ps(mask, sums + t * kDpPairSums + i * 16);
  }
  std::int64_t c = 0;
  do {
    for (const std::byte* row : ahead) _mm_prefetch(row + c * 2 + 63, _MM_HINT_T0);  // files align nothing
    if constexpr (kHold) {
      for (int i = 0; i < R; ++i)
        _mm512_store_si512(held + i * kStep, load_pairs(w + i * w_stride + c * 2, columns - c));
    }
    add_step<T, R, true>(x + c * T, kStep, reinterpret_cast<const std::byte*>(held), kStep * 2, kStep, acc);
    c += kStep;
    held += R * kStep;
  } while (c < columns);
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) store(sums + t * kDpPairSums + i * 16, acc[t][i]);
  }
}

// Rows to ask memory for: some, then others elsewhere.
struct RowsAhead {
  const std::byte* row = nullptr;
  std::int64_t before_others = 0;  // rows from here on
  const std::byte* others = nullptr;
  std::int64_t stride = 0;
  EvenTurns turns;

  const std::byte* take(const std::byte* none) {
    if (!turns.take()) return none;
    if (before_others-- == 0) row = others;
    return std::exchange(row, row + stride);
  }
};

// A run of a panel and all tokens of a chunk.
struct PairRun {
  const bf16* x = nullptr;  // [tile, step, token of the tile, 32]
  std::int64_t tokens = 0;  // more than kDpPairTokens
  const std::byte* w = nullptr;
  std::int64_t w_stride = 0;
  std::int64_t rows = 0;  // at most kDpPairPanelRows
  std::int64_t columns = 0;
  const std::byte* next = nullptr;  // the run after it: the same rows, or those of the next panel
  bf16* held = nullptr;             // kDpHeldRows rows of the run
  float* sums = nullptr;            // [tokens, kDpPairSums]
  bool first = false;
};

// Six rows stay in the first cache, as the first tile has put them there side by side, while all tokens pass in the
// order they are read, and the six after them are asked for. As stored, a row begins anywhere, so that each read takes
// two lines, and rows may share cache sets.
inline void add_pair_run(const PairRun& run) {
  using Add = void (*)(const PairTile&);
  static constexpr Add kAdd[2][2][kDpHeldRows] = {
      {{add_pair_tile<3, 1, false>, add_pair_tile<3, 2, false>, add_pair_tile<3, 3, false>, add_pair_tile<3, 4, false>,
        add_pair_tile<3, 5, false>, add_pair_tile<3, 6, false>},
       {add_pair_tile<4, 1, false>, add_pair_tile<4, 2, false>, add_pair_tile<4, 3, false>, add_pair_tile<4, 4, false>,
        add_pair_tile<4, 5, false>, add_pair_tile<4, 6, false>}},
      {{add_pair_tile<3, 1, true>, add_pair_tile<3, 2, true>, add_pair_tile<3, 3, true>, add_pair_tile<3, 4, true>,
        add_pair_tile<3, 5, true>, add_pair_tile<3, 6, true>},
       {add_pair_tile<4, 1, true>, add_pair_tile<4, 2, true>, add_pair_tile<4, 3, true>, add_pair_tile<4, 4, true>,
        add_pair_tile<4, 5, true>, add_pair_tile<4, 6, true>}}};
  static_assert(kDpHeldTokens == 4 && kDpPairTokens >= 5);  // more are cut into tiles of three and four
  const std::int64_t tiles = count_tiles(run.tokens, kDpHeldTokens), groups = count_tiles(run.rows, kDpHeldRows);
  const std::int64_t width = round_up(run.columns, kStep), first_rows = part_begin(run.rows, groups, 1);
  RowsAhead ahead{.row = run.w + first_rows * run.w_stride,
                  .before_others = run.rows - first_rows,
                  .others = run.next,
                  .stride = run.w_stride,
                  .turns = {.items = run.rows, .turns = tiles * groups}};
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t row = part_begin(run.rows, groups, g), rows = part_begin(run.rows, groups, g + 1) - row;
    PairTile tile{.w = run.w + row * run.w_stride,
                  .w_stride = run.w_stride,
                  .columns = run.columns,
                  .held = run.held,
                  .first = run.first};
    tile.x = run.x;
    tile.sums = run.sums + row * 16;
    for (std::int64_t i = 0; i < tiles; ++i) {
      ahead.turns.begin();
      for (const std::byte*& asked : tile.ahead) asked = ahead.take(tile.w);
      const std::int64_t count = tile_count(run.tokens, tiles, i);
      kAdd[i == 0 ? 1 : 0][count - 3][rows - 1](tile);
      tile.x += count * width;
      tile.sums += count * kDpPairSums;
    }
  }
}
