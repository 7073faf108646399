// SPDX-License-Identifier: Apache-2.0
// Products of many tokens with codes that cost much to expand (FP8, INT8). A run of some rows is expanded once into
// BF16 pairs, which stay in the first cache while all tokens pass in the order they are read. The rows behind them are
// expanded between those products, and memory is asked for the run after that.

// Rows of a panel over one run, and where their pairs go.
template <class W>
struct RowsToExpand {
  const std::byte* codes = nullptr;
  std::int64_t row_bytes = 0;
  const std::byte* ask = nullptr;  // the run behind it
  const std::byte* ask_scales = nullptr;
  std::int64_t scale_row_bytes = 0;
  const RowScales* scales = nullptr;  // of each row
  std::int64_t column = 0;
  std::int64_t columns = 0;
  std::byte* pairs = nullptr;    // [rows, kBlock]
  float* lane_scales = nullptr;  // [rows, 16]
  EvenTurns turns;               // of rows

  [[gnu::always_inline]] void expand_row() {
    prefetch_bytes(ask, W::bytes(kBlock));
    if constexpr (W::kScalesOfRows) _mm_prefetch(ask_scales + 31, _MM_HINT_T0);
    for (int part = 0; part < 16 / W::kExpand / 4; ++part) {
      __m512i q[4];
      W::template load<16>(codes, part, columns, q);
      for (int j = 0; j < 4; ++j) {
        std::byte* to = pairs + (part * 4 + j) * 64 * W::kExpand;
        _mm512_store_si512(to, W::template expand<0>(q[j]));
        _mm512_store_si512(to + 64, W::template expand<1>(q[j]));
      }
    }
    store(lane_scales, W::template scales<16>(*scales, column, columns));
    codes += row_bytes;
    ask += row_bytes;
    ask_scales += scale_row_bytes;
    ++scales;
    pairs += kBlock * 2;
    lane_scales += 16;
  }
  [[gnu::always_inline]] void take_turn() {
    for (turns.begin(); turns.take();) expand_row();
  }
};

// Expanded rows times some tokens over a run.
struct HeldTile {
  const bf16* x = nullptr;        // [16, T, 32]
  const std::byte* w = nullptr;   // [R, kBlock]
  const float* scales = nullptr;  // [R, 16]
  float* sums = nullptr;          // of the first row: [T, kSums]
  bool first = false;             // sums hold nothing yet
};

template <int T, int R>
[[gnu::noinline]] void add_held_tile(const HeldTile& tile) {
  const bf16* x = tile.x;
  const std::byte* w = tile.w;
  const float* scales = tile.scales;
  float* sums = tile.sums;
  const __mmask16 mask = tile.first ? 0 : 0xFFFF;
  F acc[T][R];
  for (auto& row : acc) {
    for (F& lanes : row) lanes = zero();
  }
#pragma GCC unroll 1
  for (int v = 0; v < 16; ++v) add_step<T, R, true>(x + v * T * 32, 32, w + v * 64, kBlock * 2, 32, acc);
  for (int i = 0; i < R; ++i) {
    const F scale = load_f32(scales + i * 16);
    for (int t = 0; t < T; ++t) {
      float* sum = sums + t * kSums + i * 16;
      store(sum, fma(acc[t][i], scale, _mm512_maskz_loadu_ps(mask, sum)));
    }
  }
}

// Two groups of rows: those that tokens pass, and those that are expanded meanwhile.
struct HeldRows {
  std::byte* pairs[2] = {};
  float* lane_scales[2] = {};
  int now = 0;
  bool filled = false;

  template <class W>
  void place_next(RowsToExpand<W>& next) const {
    next.pairs = pairs[1 - now];
    next.lane_scales = lane_scales[1 - now];
  }
};

// Group g of a panel's rows at column c; behind the last column, the first of the next panel of the call.
template <class W>
RowsToExpand<W> rows_at(const CodedPanel& panel, std::int64_t g, std::int64_t c) {
  const bool behind = c >= panel.cols;
  const std::int64_t rows = behind ? panel.rows_behind : panel.rows, at = behind ? 0 : c;
  const std::int64_t groups = count_tiles(rows, kDpHeldRows), begin = groups == 0 ? 0 : part_begin(rows, groups, g);
  const std::int64_t row = (behind ? panel.rows : 0) + begin;
  const bool last = at + kBlock >= panel.cols;
  const std::int64_t ask_row = last ? row + panel.rows : row, ask = last ? 0 : at + kBlock;
  return {.codes = panel.codes + row * panel.row_bytes + W::bytes(at),
          .row_bytes = panel.row_bytes,
          .ask = panel.codes + ask_row * panel.row_bytes + W::bytes(ask),
          .ask_scales = panel.stored_scales + ask_row * panel.scale_row_bytes + ask / 16,
          .scale_row_bytes = panel.scale_row_bytes,
          .scales = panel.scales + row,
          .column = at,
          .columns = clamp(panel.cols - at, kBlock),
          .turns = {.items = groups == 0 ? 0 : part_begin(rows, groups, g + 1) - begin}};
}

// All columns of a panel. x: all tokens' activations as order_tiles<W> puts them.
template <class W>
void add_held_runs(const CodedPanel& panel, const bf16* x, std::int64_t tokens, float* sums, HeldRows& held) {
  using Add = void (*)(const HeldTile&);
  static constexpr Add kAdd[2][kDpHeldRows] = {{add_held_tile<3, 1>, add_held_tile<3, 2>, add_held_tile<3, 3>,
                                                add_held_tile<3, 4>, add_held_tile<3, 5>, add_held_tile<3, 6>},
                                               {add_held_tile<4, 1>, add_held_tile<4, 2>, add_held_tile<4, 3>,
                                                add_held_tile<4, 4>, add_held_tile<4, 5>, add_held_tile<4, 6>}};
  const std::int64_t tiles = count_tiles(tokens, kDpHeldTokens), groups = count_tiles(panel.rows, kDpHeldRows);
  if (!held.filled) {
    RowsToExpand<W> first = rows_at<W>(panel, 0, 0);
    held.place_next(first);
    first.take_turn();
    held.now = 1 - held.now;
  }
  for (std::int64_t c = 0; c < panel.cols; c += kBlock) {
    for (std::int64_t g = 0; g < groups; ++g) {
      RowsToExpand<W> next = g + 1 < groups ? rows_at<W>(panel, g + 1, c) : rows_at<W>(panel, 0, c + kBlock);
      next.turns.turns = tiles;
      held.place_next(next);
      const std::int64_t row = part_begin(panel.rows, groups, g), rows = part_begin(panel.rows, groups, g + 1) - row;
      HeldTile tile{.x = x + c * tokens,
                    .w = held.pairs[held.now],
                    .scales = held.lane_scales[held.now],
                    .sums = sums + row * 16,
                    .first = c == 0};
      for (std::int64_t i = 0; i < tiles; ++i) {
        next.take_turn();
        const std::int64_t count = tile_count(tokens, tiles, i);
        kAdd[count - 3][rows - 1](tile);
        tile.x += count * kBlock;
        tile.sums += count * kSums;
      }
      held.now = 1 - held.now;
    }
  }
  held.filled = panel.rows_behind > 0;
}
