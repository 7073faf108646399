// SPDX-License-Identifier: Apache-2.0
// A call of linear_bf16 cut into chunks of tokens, panels of rows and tiles; see linear_dp-inl.h.

struct PlainPairs {  // BF16 weights
  static constexpr std::int64_t kRun = 1024;
  static std::int64_t vectors(std::int64_t n) { return (n + 31) / 32; }
  static void order(const bf16* x, std::int64_t n, bf16* to) {
    for (std::int64_t c = 0; c < n; c += 32) _mm512_storeu_si512(to + c, load_pairs(x + c, n - c));
  }
};

// Cuts n tokens into the fewest tiles, of sizes that differ by one at most: tile i of them.
inline TokenTile cut_tile(std::int64_t n, std::int64_t tiles, std::int64_t i, const bf16* x, std::int64_t padded_cols) {
  const std::int64_t begin = n * i / tiles;
  return {.begin = begin, .count = n * (i + 1) / tiles - begin, .x = x + begin * padded_cols};
}
inline std::int64_t count_tiles(std::int64_t n, std::int64_t most) { return (n + most - 1) / most; }
template <class W>
std::int64_t code_tiles(std::int64_t n) {
  return count_tiles(n, n < W::kUnpackFrom ? kDpCodeTokens : kDpUnpackedTokens);
}

// BF16 values that a run of that many columns takes.
template <class W>
std::int64_t run_width(std::int64_t columns) {
  return W::vectors(columns) * 32;
}

// Activations of tokens [first, first + n) in the order of W, as that many tiles want them.
template <class W>
void order_tokens(const LinearArgs<bf16>& args, std::int64_t cols, std::int64_t first, std::int64_t n,
                  std::int64_t tiles, bf16* packed) {
  for (std::int64_t i = 0; i < tiles; ++i) {
    const TokenTile tile = cut_tile(n, tiles, i, packed, dp_padded_cols(cols));
    bf16* to = packed + tile.begin * dp_padded_cols(cols);
    for (std::int64_t t = 0; t < tile.count; ++t) {
      const bf16* x = x_row(args, first + tile.begin + t);
      for (std::int64_t c = 0; c < cols; c += W::kRun) {
        const std::int64_t columns = clamp(cols - c, W::kRun);
        W::order(x + c, columns, to + c * tile.count + t * run_width<W>(columns));
      }
    }
  }
}

// Scratch of a call, in this order.
struct DpScratch {
  bf16* x = nullptr;             // [dp_chunk_tokens, padded cols]
  std::byte* pairs = nullptr;    // [runs, kDpRows, 512] BF16
  float* lane_scales = nullptr;  // [runs, kDpRows, 16]
  float* widened = nullptr;      // [kDpRows, scratch_scale_floats]
};
inline DpScratch cut_scratch(std::byte* scratch, std::int64_t cols, std::int64_t tokens) {
  const std::int64_t padded = dp_padded_cols(cols);
  DpScratch s;
  s.x = reinterpret_cast<bf16*>(scratch);
  s.pairs = scratch + clamp(tokens, dp_chunk_tokens(cols)) * padded * 2;
  s.lane_scales = reinterpret_cast<float*>(s.pairs + kDpRows * padded * 2);
  s.widened = s.lane_scales + kDpRows * padded / kBlock * 16;
  return s;
}

inline void store_tile(const LinearArgs<bf16>& args, std::int64_t first, std::int64_t tokens, std::int64_t row,
                       std::int64_t rows, const float* sums) {
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t r = 0; r < rows; r += 16) {
      store_sums(args, first + t, row + r, clamp(rows - r, 16), sums + t * kSums + r * 16);
    }
  }
}

template <class W>
void add_tile_unpacked(const CodedPanel& panel, const TokenTile& tile, const DpScratch& scratch, float* sums) {
  using Add = void (*)(const Run&);
  static constexpr Add kAdd[kDpUnpackedTokens] = {
      add_unpacked_run<W, 1>, add_unpacked_run<W, 2>, add_unpacked_run<W, 3>, add_unpacked_run<W, 4>,
      add_unpacked_run<W, 5>, add_unpacked_run<W, 6>, add_unpacked_run<W, 7>, add_unpacked_run<W, 8>};
  for (std::int64_t c = 0; c < panel.cols; c += kBlock) {
    const std::int64_t width = run_width<W>(clamp(panel.cols - c, kBlock));
    kAdd[tile.count - 1]({.x = tile.x + c * tile.count,
                          .next_x = tile.x + (c + width) * tile.count,
                          .w = scratch.pairs + c * kDpRows * 2,
                          .rows = panel.rows,
                          .columns = width,
                          .scales = scratch.lane_scales + c / kBlock * kDpRows * 16,
                          .sums = sums,
                          .first = c == 0});
  }
}

// A tile straight from the codes; `fetch`: they still come from memory.
template <class W>
void add_tile_coded(const CodedPanel& panel, const TokenTile& tile, bool alone, bool fetch, float* sums) {
  using Rows = void (*)(const CodedPanel&, const bf16*, float*);
  using Runs = void (*)(const CodedPanel&, const bf16*, bool, float*);
  static constexpr Rows kAddRows[] = {add_tile_codes<W, 1>, add_tile_codes<W, 2>, add_tile_codes<W, 3>,
                                      add_tile_codes<W, 4>};
  static constexpr Runs kAddRuns[kDpCodeTokens] = {add_tile_runs<W, 1>, add_tile_runs<W, 2>, add_tile_runs<W, 3>,
                                                   add_tile_runs<W, 4>, add_tile_runs<W, 5>, add_tile_runs<W, 6>,
                                                   add_tile_runs<W, 7>};
  const auto count = static_cast<std::size_t>(tile.count);
  if (alone && count <= std::size(kAddRows)) return kAddRows[count - 1](panel, tile.x, sums);
  kAddRuns[count - 1](panel, tile.x, fetch, sums);
}

// Tokens [first, first + n) times one panel whose first row is `row`.
template <class W>
void multiply_panel(const CodedPanel& panel, std::int64_t row, const LinearArgs<bf16>& args, std::int64_t first,
                    std::int64_t n, const DpScratch& scratch) {
  alignas(64) float sums[kDpUnpackedTokens * kSums];
  const std::int64_t tiles = code_tiles<W>(n);
  const bool unpack = n >= W::kUnpackFrom;
  for (std::int64_t c = 0; unpack && c < panel.cols; c += kBlock) {
    unpack_panel_run<W>(panel, c, scratch.pairs + c * kDpRows * 2, scratch.lane_scales + c / kBlock * kDpRows * 16);
  }
  for (std::int64_t i = 0; i < tiles; ++i) {
    const TokenTile tile = cut_tile(n, tiles, i, scratch.x, dp_padded_cols(panel.cols));
    if (unpack) {
      add_tile_unpacked<W>(panel, tile, scratch, sums);
    } else {
      add_tile_coded<W>(panel, tile, tiles == 1, i == 0, sums);
    }
    store_tile(args, first + tile.begin, tile.count, row, panel.rows, sums);
  }
}

template <class W>
void linear_codes(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin, std::int64_t row_end,
                  std::byte* scratch) {
  const DpScratch s = cut_scratch(scratch, w.cols, args.tokens);
  const std::int64_t chunk = dp_chunk_tokens(w.cols);
  for (std::int64_t first = 0; first < args.tokens; first += chunk) {
    const std::int64_t n = clamp(args.tokens - first, chunk);
    prefetch_start(w.data + row_begin * w.row_bytes(), (row_end - row_begin) * w.row_bytes());
    order_tokens<W>(args, w.cols, first, n, code_tiles<W>(n), s.x);
    for (std::int64_t row = row_begin; row < row_end; row += kDpRows) {
      const std::int64_t rows = clamp(row_end - row, kDpRows);
      RowScales scales[kDpRows];
      for (std::int64_t r = 0; r < rows; ++r) {
        scales[r] = W::row_scales(w, row + r, s.widened + r * scratch_scale_floats(w.cols));
      }
      const CodedPanel panel{.codes = w.data + row * w.row_bytes(),
                             .row_bytes = w.row_bytes(),
                             .rows = rows,
                             .cols = w.cols,
                             .scales = scales};
      multiply_panel<W>(panel, row, args, first, n, s);
    }
  }
}

// One tile times the BF16 rows [row, row + rows). Its activations are packed, or null: read in place.
inline void multiply_pairs(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t first, const TokenTile& tile,
                           bool packed, std::int64_t row, std::int64_t rows) {
  using Add = void (*)(const Run&);
  static constexpr Add kAdd[kDpPairTokens] = {add_pairs<1>, add_pairs<2>, add_pairs<3>,
                                              add_pairs<4>, add_pairs<5>, add_pairs<6>};
  const std::int64_t step = packed ? PlainPairs::kRun : w.cols;  // few tokens: rows from end to end, as memory likes it
  alignas(64) float sums[kDpPairTokens * kSums];
  for (std::int64_t c = 0; c < w.cols; c += step) {
    const std::int64_t columns = clamp(w.cols - c, step);
    kAdd[tile.count - 1]({.x = packed ? tile.x + c * tile.count : x_row(args, first + tile.begin) + c,
                          .x_stride = packed ? run_width<PlainPairs>(columns) : args.ldx,
                          .w = w.data + row * w.row_bytes() + c * 2,
                          .w_stride = w.row_bytes(),
                          .rows = rows,
                          .columns = columns,
                          .sums = sums,
                          .first = c == 0,
                          .fetch = tile.begin == 0,
                          .bytes_left = w.row_bytes() - c * 2});
  }
  store_tile(args, first + tile.begin, tile.count, row, rows, sums);
}

// Activations are read in place where they are few and lie evenly, and where there is no scratch.
inline void linear_pairs(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin,
                         std::int64_t row_end, std::byte* scratch) {
  const bool packed = scratch != nullptr && args.tokens > 1 && (args.tokens > kDpPairTokens || args.x_rows != nullptr);
  const std::int64_t chunk = dp_chunk_tokens(w.cols);
  auto* x = reinterpret_cast<bf16*>(scratch);
  for (std::int64_t first = 0; first < args.tokens; first += chunk) {
    const std::int64_t n = clamp(args.tokens - first, chunk);
    const std::int64_t tiles = count_tiles(n, kDpPairTokens);
    if (packed) order_tokens<PlainPairs>(args, w.cols, first, n, tiles, x);
    for (std::int64_t row = row_begin; row < row_end; row += kDpRows) {
      const std::int64_t rows = clamp(row_end - row, kDpRows);
      for (std::int64_t i = 0; i < tiles; ++i) {
        multiply_pairs(w, args, first, cut_tile(n, tiles, i, x, dp_padded_cols(w.cols)), packed, row, rows);
      }
    }
  }
}
