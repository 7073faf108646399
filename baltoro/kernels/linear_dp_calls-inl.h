// SPDX-License-Identifier: Apache-2.0
// A call of linear_bf16 cut into chunks of tokens, panels of rows and tiles; see linear_dp-inl.h.

struct PlainPairs {  // BF16 weights
  static std::int64_t vectors(std::int64_t n) { return count_tiles(n, kStep); }
  static void order(const bf16* x, std::int64_t n, bf16* to) { order_steps(x, n, to, kStep); }
  // Step i of n columns to to + i * stride, zero behind the last column.
  static void order_steps(const bf16* x, std::int64_t n, bf16* to, std::int64_t stride) {
    std::int64_t c = 0;
    for (; c + kStep <= n; c += kStep, to += stride) _mm512_store_si512(to, load_pairs(x + c));
    if (c < n) _mm512_store_si512(to, load_pairs(x + c, n - c));
  }
};

// Vector i of a run in the order of W to to + i * stride.
template <class W>
void order_steps(const bf16* x, std::int64_t n, bf16* to, std::int64_t stride) {
  alignas(64) bf16 run[kBlock];
  W::order(x, n, run);
  for (std::int64_t v = 0; v < W::vectors(n); ++v) {
    _mm512_store_si512(to + v * stride, _mm512_load_si512(run + v * kStep));
  }
}
template <>
void order_steps<PlainPairs>(const bf16* x, std::int64_t n, bf16* to, std::int64_t stride) {
  PlainPairs::order_steps(x, n, to, stride);
}

// BF16 values that a run of that many columns takes.
template <class W>
std::int64_t run_width(std::int64_t columns) {
  return W::vectors(columns) * kStep;
}

// Asks memory for what is put in order next.
inline void prefetch_columns(const bf16* x, std::int64_t columns) {
  for (std::int64_t c = 0; c < columns; c += 32) _mm_prefetch(x + c, _MM_HINT_T0);
}

// Activations of tokens [first, first + n) in the order of W: [run, token, run width].
template <class W>
void order_tokens(const LinearArgs<bf16>& args, std::int64_t cols, std::int64_t first, std::int64_t n, bf16* packed) {
  const std::int64_t run = W::run(cols);
  for (std::int64_t t = 0; t < n; ++t) {
    const bf16* x = args.x_row(first + t);
    const bf16* next_row = args.x_row(first + clamp(t + 1, n - 1));
    for (std::int64_t c = 0; c < cols; c += run) {
      const std::int64_t columns = clamp(cols - c, run);
      prefetch_columns(c + run < cols ? x + c + run : next_row, clamp(cols, run));
      W::order(x + c, columns, packed + c * n + t * run_width<W>(columns));
    }
  }
}

// The same, in runs of `run` columns, in the order tiles of at most `most` tokens read them: [run, tile, vector, token
// of the tile, 32].
template <class W>
void order_tiles(const LinearArgs<bf16>& args, std::int64_t cols, std::int64_t run, std::int64_t first, std::int64_t n,
                 std::int64_t most, bf16* packed) {
  const std::int64_t tiles = count_tiles(n, most);
  std::int64_t begin = 0;
  for (std::int64_t i = 0; i < tiles; ++i) {
    const std::int64_t count = tile_count(n, tiles, i);
    for (std::int64_t c = 0; c < cols; c += run) {
      const std::int64_t columns = clamp(cols - c, run);
      bf16* to = packed + c * n + begin * run_width<W>(columns);
      for (std::int64_t t = 0; t < count; ++t) {
        const bool last = t + 1 == count;
        prefetch_columns(args.x_row(first + begin + (last ? 0 : t + 1)) + c + (last ? run : 0), columns);
        order_steps<W>(args.x_row(first + begin + t) + c, columns, to + t * kStep, count * kStep);
      }
    }
    begin += count;
  }
}

// Scratch of a call, in this order.
struct DpScratch {
  bf16* x = nullptr;             // [dp_chunk_tokens, padded cols]
  float* sums = nullptr;         // [tokens, kSums] or [tokens, kDpPairSums]
  std::byte* rows = nullptr;     // kDpRowBytes
  float* lane_scales = nullptr;  // [2, kDpHeldRows, 16]
  float* widened = nullptr;      // [kDpScaledRows, scratch_scale_floats]
};
inline DpScratch cut_scratch(std::byte* scratch, std::int64_t cols, std::int64_t tokens) {
  DpScratch s;
  s.x = reinterpret_cast<bf16*>(scratch);
  s.sums = reinterpret_cast<float*>(scratch + clamp(tokens, dp_chunk_tokens(cols)) * dp_padded_cols(cols) * 2);
  s.rows = reinterpret_cast<std::byte*>(s.sums) + dp_sums_bytes(tokens);
  s.lane_scales = reinterpret_cast<float*>(s.rows + kDpRowBytes);
  s.widened = s.lane_scales + 2 * kDpHeldRows * 16;
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

// What a chunk of tokens keeps from one panel of codes to the next.
struct CodeBuffers {
  LaneBuffers lanes;
  HeldRows held;

  explicit CodeBuffers(const DpScratch& s) {
    lanes = {.now = s.rows, .next = s.rows + kDpCodeBytes / 2};
    held = {.pairs = {s.rows, s.rows + kDpCodeBytes / 2},
            .lane_scales = {s.lane_scales, s.lane_scales + kDpHeldRows * 16}};
  }
};

// n tokens times one panel: their sums.
template <class W>
void multiply_panel(const CodedPanel& panel, std::int64_t n, const DpScratch& s, CodeBuffers& buffers) {
  using Rows = void (*)(const CodedPanel&, const bf16*, float*);
  static constexpr Rows kAddRows[kDpCodeTokens] = {add_tile_codes<W, 1>, add_tile_codes<W, 2>, add_tile_codes<W, 3>,
                                                   add_tile_codes<W, 4>, add_code_runs<W, 5>,  add_code_runs<W, 6>};
  if (n <= kDpCodeTokens) {
    kAddRows[n - 1](panel, s.x, s.sums);
  } else if constexpr (W::kInLanes) {
    add_lane_runs<W>(panel, s.x, n, s.sums, buffers.lanes);
  } else {
    add_held_runs<W>(panel, s.x, n, s.sums, buffers.held);
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

// Scales of rows [row, row + n).
template <class W>
void find_scales(const MatrixView& w, std::int64_t row, std::int64_t n, float* widened, RowScales* scales) {
  const std::int64_t row_bytes = W::kScalesOfRows ? w.scale_cols() * 2 : 0;  // once: it divides
  scales[0] = W::row_scales(w, row, widened);
  for (std::int64_t r = 1; r < n; ++r) {
    scales[r] = W::kScalesOfRows && scales[0].stored != nullptr
                    ? RowScales{.stored = scales[r - 1].stored + row_bytes}
                    : W::row_scales(w, row + r, widened + r * scratch_scale_floats(w.cols));
  }
}

// Tokens [first, first + n).
template <class W>
void multiply_codes(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin, std::int64_t row_end,
                    std::int64_t first, std::int64_t n, const DpScratch& s) {
  prefetch_first<W>(w, row_begin, row_end, n);
  if (n <= kDpCodeTokens || W::kInLanes) {
    order_tokens<W>(args, w.cols, first, n, s.x);
  } else {
    order_tiles<W>(args, w.cols, W::run(w.cols), first, n, kDpHeldTokens, s.x);
  }
  CodeBuffers buffers(s);
  for (std::int64_t row = row_begin; row < row_end; row += kDpRows) {
    const std::int64_t rows = clamp(row_end - row, kDpRows), behind = row_end - row - rows;
    RowScales scales[kDpScaledRows];
    find_scales<W>(w, row, rows + clamp(behind, kDpHeldRows), s.widened, scales);
    const bool stored = scales[0].stored != nullptr;
    const CodedPanel panel{.codes = w.data + row * w.row_bytes(),
                           .row_bytes = w.row_bytes(),
                           .rows = rows,
                           .rows_behind = clamp(behind, kDpRows),
                           .cols = w.cols,
                           .scales = scales,
                           .stored_scales = stored ? scales[0].stored : w.data,
                           .scale_row_bytes = stored ? w.scale_cols() * 2 : 0};
    if (n > kDpFewTokens) prefetch_results(args, first, n, row, rows);
    multiply_panel<W>(panel, n, s, buffers);
    store_tile(args, first, n, row, rows, s.sums);
  }
}

template <class W>
void linear_codes(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin, std::int64_t row_end,
                  std::byte* scratch) {
  const DpScratch s = cut_scratch(scratch, w.cols, args.tokens);
  const std::int64_t chunks = count_tiles(args.tokens, dp_chunk_tokens(w.cols));
  for (std::int64_t i = 0; i < chunks; ++i) {
    const std::int64_t first = part_begin(args.tokens, chunks, i);
    multiply_codes<W>(w, args, row_begin, row_end, first, part_begin(args.tokens, chunks, i + 1) - first, s);
  }
}

// At most kDpPairTokens, their activations in place or, gathered, side by side.
inline void linear_few_pairs(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin,
                             std::int64_t row_end, const DpScratch& scratch) {
  using Add = void (*)(const FewPairs&);
  static constexpr Add kAdd[kDpPairTokens] = {add_pairs<1>, add_pairs<2>, add_pairs<3>, add_pairs<4>,
                                              add_pairs<5>, add_pairs<6>, add_pairs<7>, add_pairs<8>};
  const bool gather = args.tokens > 1 && args.x_rows != nullptr;
  const std::int64_t width = round_up(w.cols, kStep), row_bytes = w.row_bytes();
  for (std::int64_t t = 0; gather && t < args.tokens; ++t) {
    PlainPairs::order(args.x_row(t), w.cols, scratch.x + t * width);
  }
  for (std::int64_t row = row_begin; row < row_end; row += kDpRows) {
    const std::int64_t rows = clamp(row_end - row, kDpRows);
    kAdd[args.tokens - 1]({.x = gather ? scratch.x : args.x_row(0),
                           .x_stride = gather ? width : args.ldx,
                           .w = w.data + row * row_bytes,
                           .row_bytes = row_bytes,
                           .rows = rows,
                           .cols = w.cols,
                           .sums = scratch.sums});
    store_tile(args, 0, args.tokens, row, rows, scratch.sums);
  }
}

// Tokens [first, first + n).
inline void multiply_pairs(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin,
                           std::int64_t row_end, std::int64_t first, std::int64_t n, const DpScratch& scratch,
                           std::int64_t tile_tokens, void (*add)(const PairRun&)) {
  const std::int64_t width = pair_run(w.cols, n);
  order_tiles<PlainPairs>(args, w.cols, width, first, n, tile_tokens, scratch.x);
  for (std::int64_t row = row_begin; row < row_end; row += kDpPairPanelRows) {
    const std::int64_t rows = clamp(row_end - row, kDpPairPanelRows);
    const std::byte* panel = w.data + row * w.row_bytes();
    for (std::int64_t c = 0; c < w.cols; c += width) {
      const PairRun run{.x = scratch.x + c * n,
                        .tokens = n,
                        .w = panel + c * 2,
                        .w_stride = w.row_bytes(),
                        .rows = rows,
                        .columns = clamp(w.cols - c, width),
                        .next = panel + (c + width < w.cols ? (c + width) * 2 : rows * w.row_bytes()),
                        .held = reinterpret_cast<bf16*>(scratch.rows),
                        .sums = scratch.sums,
                        .first = c == 0};
      add(run);
    }
    store_tile(args, first, n, row, rows, scratch.sums, kDpPairSums);
  }
}

inline void linear_pairs(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin,
                         std::int64_t row_end, std::byte* scratch) {
  const DpScratch s = cut_scratch(scratch, w.cols, args.tokens);
  if (few_by_runs(args.tokens, w.row_bytes())) {
    static_assert(kOneRowTokens == 4 && kOneTileTokens == 9);
    static constexpr void (*kAdd[])(const PairRun&) = {add_few_run<5>, add_few_run<6>, add_few_run<7>, add_few_run<8>,
                                                       add_few_run<9>};
    return multiply_pairs(w, args, row_begin, row_end, 0, args.tokens, s, args.tokens,
                          kAdd[args.tokens - kOneRowTokens - 1]);
  }
  if (args.tokens <= kDpPairTokens) return linear_few_pairs(w, args, row_begin, row_end, s);
  const std::int64_t tiles = count_tiles(args.tokens, kDpHeldTokens);
  const std::int64_t chunks = count_tiles(args.tokens, dp_chunk_tokens(w.cols));
  for (std::int64_t i = 0; i < chunks; ++i) {  // whole tiles
    const std::int64_t first = part_begin(tiles, chunks, i) * kDpHeldTokens;
    const std::int64_t end = clamp(part_begin(tiles, chunks, i + 1) * kDpHeldTokens, args.tokens);
    const std::int64_t n = end - first;
    multiply_pairs(w, args, row_begin, row_end, first, n, s, kDpHeldTokens,
                   n <= kStoredTokens ? add_some_run : add_many_run);
  }
}
