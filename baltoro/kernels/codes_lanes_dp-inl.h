// SPDX-License-Identifier: Apache-2.0
// Products of many tokens with codes whose order is not that of the lanes (INT4). A run of a panel is put in lanes once
// for all tiles, row by row between the products of the run before it, while memory is asked for the run behind it.
// Tiles then have room for four rows, and expand a code again each: that runs on ports that products leave free, and
// codes are a quarter of what pairs are.

// Bytes of a row's run in lanes.
template <class W>
constexpr std::int64_t kLaneBytes = 16 / W::kExpand * 64;
constexpr int kLaneRows = 4;  // rows of a tile: what the registers hold beside six tokens

template <class W, int V, bool kWhole>
[[gnu::always_inline]] inline void put_in_lanes(const std::byte* codes, std::int64_t columns, std::byte* to) {
  static_assert(W::kExpand == 4);
  __m512i q[4];
  W::template load<V>(codes, 0, kWhole ? kBlock : columns, q);
  for (int j = 0; j < V / W::kExpand; ++j) _mm512_store_si512(to + j * 64, q[j]);
}

template <class W>
void put_short_in_lanes(const std::byte* codes, std::int64_t columns, std::byte* to) {
  if (W::vectors(columns) == 8) return put_in_lanes<W, 8, false>(codes, columns, to);
  if (W::vectors(columns) == 4) return put_in_lanes<W, 4, false>(codes, columns, to);
  put_in_lanes<W, 16, false>(codes, columns, to);
}

// Rows of the next run.
template <class W>
struct NextRun {
  const std::byte* codes = nullptr;
  std::int64_t row_bytes = 0;
  std::int64_t columns = 0;
  std::byte* to = nullptr;
  const std::byte* ask = nullptr;  // the run behind it
  const std::byte* ask_scales = nullptr;
  std::int64_t scale_row_bytes = 0;
  EvenTurns turns;  // of rows

  [[gnu::always_inline]] void put_row() {
    prefetch_bytes(ask, kLaneBytes<W>);
    _mm_prefetch(ask_scales + 31, _MM_HINT_T0);
    columns == kBlock ? put_in_lanes<W, 16, true>(codes, kBlock, to) : put_short_in_lanes<W>(codes, columns, to);
    codes += row_bytes;
    to += kLaneBytes<W>;
    ask += row_bytes;
    ask_scales += scale_row_bytes;
  }
  [[gnu::always_inline]] void take_turn() {
    for (turns.begin(); turns.take();) put_row();
  }
};

// A tile over one run.
struct LaneRun {
  const bf16* x = nullptr;            // [T, V vectors]
  const std::byte* codes = nullptr;   // in lanes
  const RowScales* scales = nullptr;  // of each row
  std::int64_t rows = 0;
  std::int64_t column = 0;
  std::int64_t columns = 0;
  float* sums = nullptr;  // [T, kSums]; nothing yet at column 0
};

template <class W, int T, int R, int V>
[[gnu::always_inline]] inline void add_lane_rows(const LaneRun& run, std::int64_t r) {
  F acc[1][T][R];
  for (auto& row : acc[0]) {
    for (F& lanes : row) lanes = zero();
  }
  const std::byte* codes = run.codes + r * kLaneBytes<W>;
#pragma GCC unroll 4
  for (int j = 0; j < V / W::kExpand; ++j) {
    __m512i q[1][R];
    for (int i = 0; i < R; ++i) q[0][i] = _mm512_load_si512(codes + i * kLaneBytes<W> + j * 64);
    add_code_vector<W, T, R, 1, V>(run.x + j * 32 * W::kExpand, q, acc);
  }
  for (int i = 0; i < R; ++i) {
    const F scale = W::template scales<V>(run.scales[r + i], run.column, run.columns);
    for (int t = 0; t < T; ++t) {
      float* sum = run.sums + t * kSums + (r + i) * 16;
      store(sum, fma(acc[0][t][i], scale, run.column == 0 ? zero() : load_f32(sum)));
    }
  }
}

template <class W, int T, int V>
void add_lane_tile(const LaneRun& given, NextRun<W>& given_next) {
  const LaneRun run = given;  // copies, which the stores to sums cannot change
  NextRun<W> next = given_next;
  std::int64_t r = 0;
  for (; r + kLaneRows <= run.rows; r += kLaneRows) {
    next.take_turn();
    add_lane_rows<W, T, kLaneRows, V>(run, r);
  }
  for (; r < run.rows; ++r) {
    next.take_turn();
    add_lane_rows<W, T, 1, V>(run, r);
  }
  given_next = next;
}

template <class W, int T>
void add_lane_tile_of(const LaneRun& run, NextRun<W>& next) {
  if (W::vectors(run.columns) == 8) return add_lane_tile<W, T, 8>(run, next);
  if (W::vectors(run.columns) == 4) return add_lane_tile<W, T, 4>(run, next);
  add_lane_tile<W, T, 16>(run, next);
}

// Codes in lanes: the run to be multiplied, and room for the next one.
struct LaneBuffers {
  std::byte* now = nullptr;
  std::byte* next = nullptr;
  bool filled = false;
};

// The run at column c of a panel, or, behind its last one, the first of the next panel of the call.
template <class W>
NextRun<W> run_at(const CodedPanel& panel, std::int64_t c) {
  const bool behind = c >= panel.cols;
  const std::int64_t at = behind ? 0 : c;
  NextRun<W> run{.codes = panel.codes,
                 .row_bytes = panel.row_bytes,
                 .columns = clamp(panel.cols - at, kBlock),
                 .ask_scales = panel.stored_scales,
                 .scale_row_bytes = panel.scale_row_bytes,
                 .turns = {.items = behind ? panel.rows_behind : panel.rows}};
  if (behind) {
    run.codes += panel.rows * panel.row_bytes;
    run.ask_scales += panel.rows * panel.scale_row_bytes;
  }
  const bool last = at + kBlock >= panel.cols;
  run.ask = run.codes + (last ? panel.rows * panel.row_bytes : W::bytes(at + kBlock));
  run.ask_scales += last ? panel.rows * panel.scale_row_bytes : (at + kBlock) / 16;
  run.codes += W::bytes(at);
  return run;
}

// All columns of a panel. x: all tokens' activations, [run, token, run width].
template <class W>
void add_lane_runs(const CodedPanel& panel, const bf16* x, std::int64_t tokens, float* sums, LaneBuffers& lanes) {
  using Add = void (*)(const LaneRun&, NextRun<W>&);
  static constexpr Add kAdd[] = {add_lane_tile_of<W, 3>, add_lane_tile_of<W, 4>, add_lane_tile_of<W, 5>,
                                 add_lane_tile_of<W, 6>};
  static_assert(kDpLaneTokens == 6 && kDpCodeTokens >= 5);  // more are cut into tiles of three to six
  const std::int64_t tiles = count_tiles(tokens, kDpLaneTokens);
  if (!lanes.filled) {
    NextRun<W> first = run_at<W>(panel, 0);
    first.to = lanes.now;
    first.take_turn();
    lanes.filled = true;
  }
  for (std::int64_t c = 0; c < panel.cols; c += kBlock) {
    const std::int64_t n = clamp(panel.cols - c, kBlock), width = W::vectors(n) * 32;
    NextRun<W> next = run_at<W>(panel, c + kBlock);
    next.to = lanes.next;
    next.turns.turns = tiles * (panel.rows / kLaneRows + panel.rows % kLaneRows);
    for (std::int64_t i = 0; i < tiles; ++i) {
      const std::int64_t begin = part_begin(tokens, tiles, i), count = part_begin(tokens, tiles, i + 1) - begin;
      kAdd[count - kDpLaneTokens / 2]({.x = x + c * tokens + begin * width,
                                       .codes = lanes.now,
                                       .scales = panel.scales,
                                       .rows = panel.rows,
                                       .column = c,
                                       .columns = n,
                                       .sums = sums + begin * kSums},
                                      next);
    }
    std::swap(lanes.now, lanes.next);
  }
}
