// SPDX-License-Identifier: Apache-2.0
// A call of linear_bf16 cut into chunks of tokens, panels of rows and tiles; see linear_dp-inl.h.

struct PlainPairs {  // BF16 weights
  static constexpr std::int64_t kRun = kPairRun;
  static std::int64_t vectors(std::int64_t n) { return (n + 31) / 32; }
  static void order(const bf16* x, std::int64_t n, bf16* to) {
    for (std::int64_t c = 0; c < n; c += 32) _mm512_storeu_si512(to + c, load_pairs(x + c, n - c));
  }
};

// Cuts n tokens into the fewest tiles, of sizes that differ by one at most: tile i of them.
inline TokenTile cut_tile(std::int64_t n, std::int64_t tiles, std::int64_t i, const bf16* x, std::int64_t padded_cols) {
  const std::int64_t begin = part_begin(n, tiles, i);
  return {.begin = begin, .count = part_begin(n, tiles, i + 1) - begin, .x = x + begin * padded_cols};
}

// BF16 values that a run of that many columns takes.
template <class W>
std::int64_t run_width(std::int64_t columns) {
  return W::vectors(columns) * 32;
}

// Activations of tokens [first, first + n) in the order of W: [tile, run, token of the tile, run width].
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
  float* sums = nullptr;         // [tokens, kSums]
  std::byte* pairs = nullptr;    // [runs, kDpRows, 512] BF16
  float* lane_scales = nullptr;  // [runs, kDpRows, 16]
  float* widened = nullptr;      // [kDpRows, scratch_scale_floats]
};
inline DpScratch cut_scratch(std::byte* scratch, std::int64_t cols, std::int64_t tokens) {
  const std::int64_t padded = dp_padded_cols(cols);
  DpScratch s;
  s.x = reinterpret_cast<bf16*>(scratch);
  const std::int64_t chunk = clamp(tokens, dp_chunk_tokens(cols));
  s.sums = reinterpret_cast<float*>(scratch + chunk * padded * 2);
  s.pairs = scratch + chunk * padded * 2 + dp_sums_bytes(tokens);
  s.lane_scales = reinterpret_cast<float*>(s.pairs + kDpRows * padded * 2);
  s.widened = s.lane_scales + kDpRows * padded / kBlock * 16;
  return s;
}

inline void store_tile(const LinearArgs<bf16>& args, std::int64_t first, std::int64_t tokens, std::int64_t row,
                       std::int64_t rows, const float* sums, std::int64_t stride = kSums) {
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t r = 0; r < rows; r += 16) {
      store_sums(args, first + t, row + r, clamp(rows - r, 16), sums + t * stride + r * 16);
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

// Tokens [first, first + n) times one panel whose first row is `row`.
template <class W>
void multiply_panel(const CodedPanel& panel, std::int64_t row, const LinearArgs<bf16>& args, std::int64_t first,
                    std::int64_t n, const DpScratch& scratch, LaneBuffers& lanes) {
  static_assert(W::kUnpackFrom <= kDpSummedTokens + 1);
  using Rows = void (*)(const CodedPanel&, const bf16*, float*);
  static constexpr Rows kAddRows[kDpFewTokens] = {add_tile_codes<W, 1>, add_tile_codes<W, 2>, add_tile_codes<W, 3>,
                                                  add_tile_codes<W, 4>};
  if (n < W::kUnpackFrom) {
    if (n <= kDpFewTokens) {
      kAddRows[n - 1](panel, scratch.x, scratch.sums);
    } else if (n < W::kLanesFrom) {
      add_code_runs<W>(panel, scratch.x, n, scratch.sums);
    } else if constexpr (W::kLanesFrom < W::kUnpackFrom) {
      add_lane_runs<W>(panel, scratch.x, n, scratch.sums, lanes);
    }
    return store_tile(args, first, n, row, panel.rows, scratch.sums);
  }
  for (std::int64_t c = 0; c < panel.cols; c += kBlock) {
    unpack_panel_run<W>(panel, c, scratch.pairs + c * kDpRows * 2, scratch.lane_scales + c / kBlock * kDpRows * 16);
  }
  const std::int64_t tiles = count_tiles(n, kDpUnpackedTokens);
  for (std::int64_t i = 0; i < tiles; ++i) {
    const TokenTile tile = cut_tile(n, tiles, i, scratch.x, dp_padded_cols(panel.cols));
    add_tile_unpacked<W>(panel, tile, scratch, scratch.sums);
    store_tile(args, first + tile.begin, tile.count, row, panel.rows, scratch.sums);
  }
}

// Asks for what the first products of a call need: the first run of its first panel, or the first rows from end to end.
template <class W>
void prefetch_first(const MatrixView& w, std::int64_t row_begin, std::int64_t row_end, std::int64_t tokens) {
  const std::int64_t rows = row_end - row_begin, row_bytes = w.row_bytes();
  const std::byte* codes = w.data + row_begin * row_bytes;
  if (tokens > kDpFewTokens) {
    for (std::int64_t r = 0; r < clamp(rows, kDpRows); ++r) {
      prefetch_bytes(codes + r * row_bytes, W::bytes(clamp(w.cols, kBlock)));
    }
    return;
  }
  prefetch_bytes(codes, clamp(rows * row_bytes, kCodesAhead));
  if (w.format == WeightFormat::kFp8Block) return;
  const std::int64_t scale_row_bytes = w.scale_bytes() / w.rows;
  prefetch_bytes(w.scale + row_begin * scale_row_bytes, clamp(rows, kScaleRowsAhead) * scale_row_bytes);
}

template <class W>
void linear_codes(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin, std::int64_t row_end,
                  std::byte* scratch) {
  const DpScratch s = cut_scratch(scratch, w.cols, args.tokens);
  const std::int64_t chunks = count_tiles(args.tokens, dp_chunk_tokens(w.cols));
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const std::int64_t first = part_begin(args.tokens, chunks, chunk);
    const std::int64_t n = part_begin(args.tokens, chunks, chunk + 1) - first;
    prefetch_first<W>(w, row_begin, row_end, n);
    LaneBuffers lanes{.now = s.pairs, .next = s.pairs + kDpRows * kLaneBytes<W>};  // pairs are not there then
    order_tokens<W>(args, w.cols, first, n, n < W::kUnpackFrom ? 1 : count_tiles(n, kDpUnpackedTokens), s.x);
    for (std::int64_t row = row_begin; row < row_end; row += kDpRows) {
      const std::int64_t rows = clamp(row_end - row, kDpRows);
      RowScales scales[kDpRows];
      for (std::int64_t r = 0; r < rows; ++r) {
        scales[r] = W::row_scales(w, row + r, s.widened + r * scratch_scale_floats(w.cols));
      }
      const bool stored = scales[0].stored != nullptr;
      const CodedPanel panel{.codes = w.data + row * w.row_bytes(),
                             .row_bytes = w.row_bytes(),
                             .rows = rows,
                             .rows_behind = clamp(row_end - row - rows, kDpRows),
                             .cols = w.cols,
                             .scales = scales,
                             .stored_scales = stored ? scales[0].stored : w.data,
                             .scale_row_bytes = stored ? w.scale_cols() * 2 : 0};
      multiply_panel<W>(panel, row, args, first, n, s, lanes);
    }
  }
}

// At most kDpPairTokens, the activations packed or in place.
inline void linear_few_pairs(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin,
                             std::int64_t row_end, const DpScratch& scratch) {
  using Add = void (*)(const Run&);
  static constexpr Add kAdd[kDpPairTokens] = {add_pairs<1>, add_pairs<2>, add_pairs<3>,
                                              add_pairs<4>, add_pairs<5>, add_pairs<6>};
  const bool packed = args.tokens > 1 && args.x_rows != nullptr;
  const std::int64_t step = packed ? kPairRun : w.cols;  // few tokens: rows from end to end, as memory likes it
  if (packed) order_tokens<PlainPairs>(args, w.cols, 0, args.tokens, 1, scratch.x);
  for (std::int64_t row = row_begin; row < row_end; row += kDpRows) {
    const std::int64_t rows = clamp(row_end - row, kDpRows);
    for (std::int64_t c = 0; c < w.cols; c += step) {
      const std::int64_t columns = clamp(w.cols - c, step);
      kAdd[args.tokens - 1]({.x = packed ? scratch.x + c * args.tokens : x_row(args, 0) + c,
                             .x_stride = packed ? run_width<PlainPairs>(columns) : args.ldx,
                             .w = w.data + row * w.row_bytes() + c * 2,
                             .w_stride = w.row_bytes(),
                             .rows = rows,
                             .columns = columns,
                             .sums = scratch.sums,
                             .first = c == 0,
                             .bytes_left = w.row_bytes() - c * 2});
    }
    store_tile(args, 0, args.tokens, row, rows, scratch.sums);
  }
}

// Columns [0, n) of x, step by step: to + i * stride is step i, zero behind the last column.
inline void order_steps(const bf16* x, std::int64_t n, bf16* to, std::int64_t stride) {
  std::int64_t c = 0;
  for (; c + kStep <= n; c += kStep, to += stride) _mm512_store_si512(to, load_pairs(x + c));
  if (c < n) _mm512_store_si512(to, load_pairs(x + c, n - c));
}

// Activations of tokens [first, first + n) in the order tiles read them: [run, tile, step, token of the tile, 32].
inline void order_tiles(const LinearArgs<bf16>& args, std::int64_t cols, std::int64_t first, std::int64_t n,
                        bf16* packed) {
  const std::int64_t tiles = count_tiles(n, kDpPairTile);
  std::int64_t begin = 0;
  for (std::int64_t i = 0; i < tiles; ++i) {
    const std::int64_t count = tile_count(n, tiles, i);
    for (std::int64_t run = 0; run < cols; run += kPairRun) {
      const std::int64_t columns = clamp(cols - run, kPairRun);
      bf16* to = packed + run * n + begin * round_up(columns, kStep);
      for (std::int64_t t = 0; t < count; ++t) {
        order_steps(x_row(args, first + begin + t) + run, columns, to + t * kStep, count * kStep);
      }
    }
    begin += count;
  }
}

// Tokens [first, first + n), more than kDpPairTokens.
inline void multiply_pairs(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin,
                           std::int64_t row_end, std::int64_t first, std::int64_t n, const DpScratch& scratch) {
  order_tiles(args, w.cols, first, n, scratch.x);
  for (std::int64_t row = row_begin; row < row_end; row += kDpPairPanelRows) {
    const std::int64_t rows = clamp(row_end - row, kDpPairPanelRows);
    const std::byte* panel = w.data + row * w.row_bytes();
    for (std::int64_t c = 0; c < w.cols; c += kPairRun) {
      const PairRun run{.x = scratch.x + c * n,
                        .tokens = n,
                        .w = panel + c * 2,
                        .w_stride = w.row_bytes(),
                        .rows = rows,
                        .columns = clamp(w.cols - c, kPairRun),
                        .next = panel + (c + kPairRun < w.cols ? (c + kPairRun) * 2 : rows * w.row_bytes()),
                        .sums = scratch.sums,
                        .first = c == 0};
      run.columns == kPairRun ? add_pair_run<true>(run) : add_pair_run<false>(run);
    }
    store_tile(args, first, n, row, rows, scratch.sums, kDpPairSums);
  }
}

inline void linear_pairs(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin,
                         std::int64_t row_end, std::byte* scratch) {
  const DpScratch s = cut_scratch(scratch, w.cols, args.tokens);
  if (args.tokens <= kDpPairTokens) return linear_few_pairs(w, args, row_begin, row_end, s);
  const std::int64_t tiles = count_tiles(args.tokens, kDpPairTile);
  const std::int64_t chunks = count_tiles(args.tokens, clamp(dp_chunk_tokens(w.cols), kDpSummedTokens));
  for (std::int64_t i = 0; i < chunks; ++i) {  // whole tiles
    const std::int64_t first = part_begin(tiles, chunks, i) * kDpPairTile;
    const std::int64_t end = clamp(part_begin(tiles, chunks, i + 1) * kDpPairTile, args.tokens);
    multiply_pairs(w, args, row_begin, row_end, first, end - first, s);
  }
}
