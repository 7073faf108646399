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
  constexpr int kRows = T == 1 ? 8 : 4;
  std::int64_t r = 0;
  for (; r + kRows <= run.rows; r += kRows) add_rows_of_pairs<T, kRows>(run, r);
  for (; r < run.rows; ++r) add_rows_of_pairs<T, 1>(run, r);
}

constexpr int kPairRows = 4;  // of a tile
constexpr std::int64_t kPairRun = 1024;

// Some rows times some tokens over a run.
struct PairTile {
  const bf16* x = nullptr;
  std::int64_t x_stride = 0;
  const std::byte* w = nullptr;
  std::int64_t w_stride = 0;
  std::int64_t columns = 0;
  float* sums = nullptr;           // of the first row: [tokens, kSums]
  bool first = false;              // sums hold nothing yet
  const std::byte* ahead[2] = {};  // rows to ask memory for, as many columns of them
};

// Not inlined, few arguments: GCC 12 keeps addresses that find no register in vectors, and reading one back waits for
// all products before it. kWhole: columns are kPairRun.
template <int T, int R, bool kWhole>
[[gnu::noinline]] void add_pair_tile(const PairTile& tile) {
  const std::int64_t columns = kWhole ? kPairRun : tile.columns;
  const bf16* x = tile.x;
  const std::byte* w = tile.w;
  const std::byte* ahead0 = tile.ahead[0];
  const std::byte* ahead1 = tile.ahead[1];
  const std::int64_t x_stride = tile.x_stride, w_stride = tile.w_stride;
  float* sums = tile.sums;
  const __mmask16 mask = tile.first ? 0 : 0xFFFF;
  F acc[T][R];
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) acc[t][i] = _mm512_maskz_loadu_ps(mask, sums + t * kSums + i * 16);
  }
  std::int64_t c = 0;
  for (; c + kStep <= columns; c += kStep) {
    _mm_prefetch(ahead0 + c * 2, _MM_HINT_T0);
    _mm_prefetch(ahead1 + c * 2, _MM_HINT_T0);
    add_step<T, R, true>(x + c, x_stride, w + c * 2, w_stride, kStep, acc);
  }
  if (!kWhole && c < columns) add_step<T, R, false>(x + c, x_stride, w + c * 2, w_stride, columns - c, acc);
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) store(sums + t * kSums + i * 16, acc[t][i]);
  }
}

// Rows to ask memory for, handed out evenly over turns.
struct RowsAhead {
  const std::byte* row = nullptr;
  std::int64_t stride = 0;
  std::int64_t rows = 0;  // of all turns
  std::int64_t turns = 1;
  std::int64_t due = 0;  // in parts of a row: turns are one

  void begin_turn() { due += rows; }
  const std::byte* take(const std::byte* none) {
    if (due < turns) return none;
    due -= turns;
    return std::exchange(row, row + stride);
  }
};

// A run of a panel and all tokens of a chunk.
struct PairRun {
  const bf16* x = nullptr;
  std::int64_t x_stride = 0;
  std::int64_t tokens = 0;  // more than kDpPairTokens
  const std::byte* w = nullptr;
  std::int64_t w_stride = 0;
  std::int64_t rows = 0;  // at most kDpRows
  std::int64_t columns = 0;
  const std::byte* next = nullptr;  // the run after it: the same rows, or those of the next panel
  float* sums = nullptr;            // [tokens, kSums]
  bool first = false;
};

template <bool kWhole>
void add_pair_run(const PairRun& run) {
  using Add = void (*)(const PairTile&);
  static constexpr std::int64_t kLeast = (kDpPairTokens + 1) / 2;  // tokens of a tile that is one of several
  static constexpr Add kAdd[] = {add_pair_tile<kLeast, kPairRows, kWhole>, add_pair_tile<kLeast + 1, kPairRows, kWhole>,
                                 add_pair_tile<kLeast + 2, kPairRows, kWhole>,
                                 add_pair_tile<kLeast + 3, kPairRows, kWhole>};
  static constexpr Add kAddRow[] = {add_pair_tile<kLeast, 1, kWhole>, add_pair_tile<kLeast + 1, 1, kWhole>,
                                    add_pair_tile<kLeast + 2, 1, kWhole>, add_pair_tile<kLeast + 3, 1, kWhole>};
  static_assert(kLeast + 3 == kDpPairTokens);
  const std::int64_t tiles = count_tiles(run.tokens, kDpPairTokens), groups = run.rows / kPairRows;
  RowsAhead ahead{.row = run.next, .stride = run.w_stride, .rows = run.rows, .turns = tiles * groups};
  for (std::int64_t i = 0; i < tiles; ++i) {
    const std::int64_t begin = part_begin(run.tokens, tiles, i), count = part_begin(run.tokens, tiles, i + 1) - begin;
    PairTile tile{.x = run.x + begin * run.x_stride,
                  .x_stride = run.x_stride,
                  .w = run.w,
                  .w_stride = run.w_stride,
                  .columns = run.columns,
                  .sums = run.sums + begin * kSums,
                  .first = run.first};
    for (std::int64_t g = 0; g < groups; ++g) {
      ahead.begin_turn();
      for (const std::byte*& row : tile.ahead) row = ahead.take(tile.w);
      kAdd[count - kLeast](tile);
      tile.w += kPairRows * run.w_stride;
      tile.sums += kPairRows * 16;
    }
    for (std::int64_t r = groups * kPairRows; r < run.rows; ++r) {
      for (const std::byte*& row : tile.ahead) row = tile.w;
      kAddRow[count - kLeast](tile);
      tile.w += run.w_stride;
      tile.sums += 16;
    }
  }
}
