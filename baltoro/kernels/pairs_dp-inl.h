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

// Columns of a run, of which short rows are one.
constexpr std::int64_t kPairRun = 1024, kLongPairRun = 1536;
constexpr std::int64_t pair_run(std::int64_t cols) { return cols <= kLongPairRun ? kLongPairRun : kPairRun; }

// Some rows times some tokens over a run.
struct PairTile {
  const bf16* x = nullptr;  // [step, T, 32]
  const std::byte* w = nullptr;
  std::int64_t w_stride = 0;
  std::int64_t columns = 0;
  float* sums = nullptr;           // of the first row: [T, kDpPairSums]
  bool first = false;              // sums hold nothing yet
  const std::byte* ahead[3] = {};  // rows to ask memory for, as many columns of them
};

// Not inlined, few arguments: GCC 12 keeps addresses that find no register in vectors, and reading one back waits for
// all products before it. kColumns: the tile's columns, or 0.
template <int T, int R, std::int64_t kColumns>
[[gnu::noinline]] void add_pair_tile(const PairTile& tile) {
  const std::int64_t columns = kColumns > 0 ? kColumns : tile.columns;
  const bf16* x = tile.x;
  const std::byte* w = tile.w;
  const std::byte* ahead[3] = {tile.ahead[0], tile.ahead[1], tile.ahead[2]};
  const std::int64_t w_stride = tile.w_stride;
  float* sums = tile.sums;
  const __mmask16 mask = tile.first ? 0 : 0xFFFF;
  F acc[T][R];
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) acc[t][i] = _mm512_maskz_loadu_ps(mask, sums + t * kDpPairSums + i * 16);
  }
  std::int64_t c = 0;
  for (; c + kStep <= columns; c += kStep, x += T * kStep) {
    for (const std::byte* row : ahead) _mm_prefetch(row + c * 2 + 63, _MM_HINT_T0);  // files align nothing
    add_step<T, R, true>(x, kStep, w + c * 2, w_stride, kStep, acc);
  }
  if (kColumns == 0 && c < columns) add_step<T, R, false>(x, kStep, w + c * 2, w_stride, columns - c, acc);
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
  float* sums = nullptr;            // [tokens, kDpPairSums]
  bool first = false;
};

// Six rows stay in the first cache while all tokens pass in the order they are read, and the six after them are asked
// for. The other way round the rows, which in a file begin anywhere, came from the second cache two lines a read.
template <std::int64_t kColumns>
void add_pair_run(const PairRun& run) {
  using Add = void (*)(const PairTile&);
  static constexpr Add kAdd[2][kDpHeldRows] = {
      {add_pair_tile<3, 1, kColumns>, add_pair_tile<3, 2, kColumns>, add_pair_tile<3, 3, kColumns>,
       add_pair_tile<3, 4, kColumns>, add_pair_tile<3, 5, kColumns>, add_pair_tile<3, 6, kColumns>},
      {add_pair_tile<4, 1, kColumns>, add_pair_tile<4, 2, kColumns>, add_pair_tile<4, 3, kColumns>,
       add_pair_tile<4, 4, kColumns>, add_pair_tile<4, 5, kColumns>, add_pair_tile<4, 6, kColumns>}};
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
    PairTile tile{
        .w = run.w + row * run.w_stride, .w_stride = run.w_stride, .columns = run.columns, .first = run.first};
    tile.x = run.x;
    tile.sums = run.sums + row * 16;
    for (std::int64_t i = 0; i < tiles; ++i) {
      ahead.turns.begin();
      for (const std::byte*& asked : tile.ahead) asked = ahead.take(tile.w);
      const std::int64_t count = tile_count(run.tokens, tiles, i);
      kAdd[count - 3][rows - 1](tile);
      tile.x += count * width;
      tile.sums += count * kDpPairSums;
    }
  }
}
