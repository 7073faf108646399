// SPDX-License-Identifier: Apache-2.0
// Products of many tokens with BF16 rows. A run of a panel's columns meets all tokens before the next run, so that what
// it takes from memory, asked for in small parts beside the products, is used again from the second cache.

constexpr int kPairRows = 4;  // of a tile

// Four rows times some tokens over one run of columns.
struct PairTile {
  const bf16* x = nullptr;
  std::int64_t x_stride = 0;
  const std::byte* w = nullptr;
  std::int64_t w_stride = 0;
  std::int64_t columns = 0;
  float* sums = nullptr;          // [tokens, kDpRows, 16] of the first row
  bool first = false;             // sums hold nothing yet
  const std::byte* next[2] = {};  // rows to ask memory for, over the same columns
};

// kColumns: of a whole run; 0: any. All strides but one are constants there: GCC 12 keeps addresses that do not fit the
// registers in vectors, and reading one back waits for all products before it.
template <int T, int R, int kColumns>
[[gnu::noinline]] void add_pair_tile(const PairTile& tile) {
  const std::int64_t columns = kColumns > 0 ? kColumns : tile.columns;
  const std::int64_t x_stride = tile.x_stride;
  const bf16* x = tile.x;
  const std::byte* w = tile.w;
  const std::int64_t w_stride = tile.w_stride;
  const std::byte* next0 = tile.next[0];
  const std::byte* next1 = tile.next[1];
  float* sums = tile.sums;
  F acc[T][R];
  const __mmask16 mask = tile.first ? 0 : 0xFFFF;
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) acc[t][i] = _mm512_maskz_loadu_ps(mask, sums + t * kSums + i * 16);
  }
  std::int64_t c = 0;
  for (; c + 32 <= columns; c += 32) {
    _mm_prefetch(next0 + c * 2, _MM_HINT_T0);
    _mm_prefetch(next1 + c * 2, _MM_HINT_T0);
    add_step<T, R, true>(x + c, x_stride, w + c * 2, w_stride, 32, acc);
  }
  if (kColumns == 0 && c < columns) add_step<T, R, false>(x + c, x_stride, w + c * 2, w_stride, columns - c, acc);
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) store(sums + t * kSums + i * 16, acc[t][i]);
  }
}

// Hands out the rows of what comes next: row by row, evenly over `turns` calls of at most two rows.
struct RowsAhead {
  const std::byte* row = nullptr;
  std::int64_t stride = 0;
  std::int64_t rows = 0;
  std::int64_t turns = 1;
  std::int64_t due = 0;
  const std::byte* take(const std::byte* none) {
    if (due < turns) return none;
    due -= turns;
    const std::byte* taken = row;
    row += stride;
    return taken;
  }
};

// One run of a panel of BF16 rows, for all tiles.
template <int kColumns>
void add_panel_run(const MatrixView& w, std::int64_t row, std::int64_t rows, std::int64_t c, std::int64_t columns,
                   const bf16* x, std::int64_t x_stride, std::int64_t tokens, std::int64_t tiles, float* sums) {
  using Add = void (*)(const PairTile&);
  static constexpr Add kAdd[] = {add_pair_tile<3, kPairRows, kColumns>, add_pair_tile<4, kPairRows, kColumns>,
                                 add_pair_tile<5, kPairRows, kColumns>, add_pair_tile<6, kPairRows, kColumns>};
  static constexpr Add kAddOne[] = {add_pair_tile<3, 1, kColumns>, add_pair_tile<4, 1, kColumns>,
                                    add_pair_tile<5, 1, kColumns>, add_pair_tile<6, 1, kColumns>};
  const std::byte* panel = w.data + row * w.row_bytes();
  const bool last = c + columns >= w.cols;
  RowsAhead ahead{.row = last ? panel + rows * w.row_bytes() : panel + (c + columns) * 2,
                  .stride = w.row_bytes(),
                  .rows = rows,
                  .turns = tiles * (rows / kPairRows)};
  for (std::int64_t i = 0; i < tiles; ++i) {
    const std::int64_t begin = tokens * i / tiles, count = tokens * (i + 1) / tiles - begin;
    PairTile tile{.x = x + begin * x_stride,
                  .x_stride = x_stride,
                  .w_stride = w.row_bytes(),
                  .columns = columns,
                  .first = c == 0};
    std::int64_t r = 0;
    for (; r + kPairRows <= rows; r += kPairRows) {
      tile.w = panel + r * w.row_bytes() + c * 2;
      tile.sums = sums + begin * kSums + r * 16;
      ahead.due += rows;
      tile.next[0] = ahead.take(tile.w);
      tile.next[1] = ahead.take(tile.w);
      kAdd[count - 3](tile);
    }
    for (; r < rows; ++r) {
      tile.w = panel + r * w.row_bytes() + c * 2;
      tile.sums = sums + begin * kSums + r * 16;
      tile.next[0] = tile.next[1] = tile.w;
      kAddOne[count - 3](tile);
    }
  }
}
