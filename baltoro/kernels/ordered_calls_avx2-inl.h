// SPDX-License-Identifier: Apache-2.0
// A call of linear_bf16 cut into chunks of tokens, panels of rows, runs of columns and tiles; behind
// ordered_avx2-inl.h. A run of a panel meets all tiles of tokens before the next run does, so that its rows come from
// memory once and a tile's x stays in the first cache.

// Where the run that begins at column c ends. Few tokens meet whole rows; a block that has not all its columns is a run
// of its own.
template <class W>
std::int64_t run_end(std::int64_t c, std::int64_t cols, std::int64_t tokens) {
  const std::int64_t whole = W::kWholeRows ? cols : cols / W::kCols * W::kCols;
  if (c >= whole) return cols;
  return tokens <= kWholeRowTokens<W> || whole - c < kOrderedRun ? whole : c + kOrderedRun;
}
template <class W>
std::int64_t count_blocks(std::int64_t columns) {
  return round_up(columns, W::kReadCols) / W::kCols;
}

// x of tokens [first, first + n): [run, tile, block, vector, token of the tile, 8], zero behind the last column.
template <class W>
void order_x(const LinearArgs<bf16>& args, std::int64_t cols, std::int64_t first, std::int64_t n, float* to) {
  const std::int64_t tiles = count_tiles(n, kOrderedTokens);
  for (std::int64_t c = 0, end = 0; c < cols; c = end) {
    end = run_end<W>(c, cols, n);
    for (std::int64_t i = 0; i < tiles; ++i) {
      const std::int64_t begin = part_begin(n, tiles, i), count = part_begin(n, tiles, i + 1) - begin;
      const std::int64_t stride = count * 8, block_floats = kBlockVectors<W> * stride;
      for (std::int64_t t = 0; t < count; ++t) {
        const bf16* x = args.x_row(first + begin + t);
        float* block = to + t * 8;
        for (std::int64_t at = c; at < end; at += W::kReadCols) {
          alignas(64) bf16 padded[W::kReadCols];
          const bf16* from = x + at;
          if (end - at < W::kReadCols) {
            __builtin_memset(padded, 0, sizeof(padded));
            __builtin_memcpy(padded, from, static_cast<std::size_t>(end - at) * sizeof(bf16));
            from = padded;
          }
          for (std::int64_t b = 0; b < W::kReadCols / W::kCols; ++b, block += block_floats) {
            W::order(from, b, block, stride);
          }
        }
      }
      to += count_blocks<W>(end - c) * block_floats;
    }
  }
}

// The last block of each row of a panel, padded with zeros where columns end within it.
template <class W, typename S>
struct PaddedBlocks {
  static constexpr std::int64_t kScaleBytes = 8 * sizeof(S);
  alignas(64) std::byte codes[kOrderedRows * W::kBytes];
  std::byte scales[kOrderedRows * kScaleBytes];

  void fill(const OrderedRows& rows, std::int64_t count, std::int64_t block, std::int64_t scale_cols) {
    __builtin_memset(codes, 0, sizeof(codes));
    __builtin_memset(scales, 0, sizeof(scales));
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int64_t at = W::at(block);
      __builtin_memcpy(codes + r * W::kBytes, rows.codes + r * rows.row_bytes + at,
                       static_cast<std::size_t>(rows.row_bytes - at));
      if constexpr (W::kScaled) {
        const std::int64_t group = block * W::kScales;
        __builtin_memcpy(scales + r * kScaleBytes,
                         rows.scales + r * rows.scale_row_bytes + group * static_cast<std::int64_t>(sizeof(S)),
                         static_cast<std::size_t>(scale_cols - group) * sizeof(S));
      }
    }
  }
  OrderedRows rows() const {
    return {.codes = codes, .row_bytes = W::kBytes, .scales = scales, .scale_row_bytes = kScaleBytes, .blocks = 1};
  }
};

// What memory is asked for while a run is multiplied: the next run of the panel, or the first one of the next panel, a
// few lines at a time.
struct AskAhead {
  const std::byte* row = nullptr;
  std::int64_t row_bytes = 0, rows = 0, bytes = 0, at = 0, lines = 0;

  void take() {
    for (std::int64_t i = 0; i < lines && rows > 0; ++i) {
      _mm_prefetch(row + at, _MM_HINT_T1);
      at += 64;
      if (at < bytes + 63) continue;
      at = 0;
      row += row_bytes;
      --rows;
    }
  }
};

// One run of a panel, `count` rows, times n tokens; x is moved behind the run's.
template <class W, typename S>
void multiply_run(const OrderedRows& rows, std::int64_t count, std::int64_t n, AskAhead ahead, float* wide,
                  const float*& x, float* sums) {
  using Rows = void (*)(const OrderedRows&, std::int64_t, const float*, float*);
  using Wide = void (*)(const float*, std::int64_t, const float*, float*);
  static constexpr Rows kRows[kOrderedTokens] = {add_ordered_rows<W, S, 1>, add_ordered_rows<W, S, 2>,
                                                 add_ordered_rows<W, S, 3>, add_ordered_rows<W, S, 4>};
  static constexpr Wide kWide[kOrderedTokens] = {add_wide<W, 1>, add_wide<W, 2>, add_wide<W, 3>, add_wide<W, 4>};
  const std::int64_t x_floats = rows.blocks * kBlockVectors<W> * 8;
  const std::int64_t tiles = count_tiles(n, kOrderedTokens);
  if (n <= kWholeRowTokens<W>) {
    for (std::int64_t i = 0; i < tiles; ++i) {
      const std::int64_t first = part_begin(n, tiles, i), tokens = part_begin(n, tiles, i + 1) - first;
      kRows[tokens - 1](rows, count, x, sums + first * kOrderedSums);
      x += tokens * x_floats;
    }
    return;
  }
  const std::int64_t wide_floats = rows.blocks * kBlockVectors<W> * kWideRows * 8;
  const std::int64_t triples = count_tiles(count, kWideRows);
  ahead.lines = ahead.rows * ((ahead.bytes + 127) / 64) / (triples * tiles) + 1;
  for (std::int64_t i = 0; i < triples; ++i) {
    widen_rows<W, S>(rows, i * kWideRows, count - i * kWideRows, wide + i * wide_floats);
  }
  for (std::int64_t i = 0; i < tiles; ++i) {
    const std::int64_t first = part_begin(n, tiles, i), tokens = part_begin(n, tiles, i + 1) - first;
    float* const to = sums + first * kOrderedSums;
    for (std::int64_t k = 0; k < triples; ++k) {
      ahead.take();
      kWide[tokens - 1](wide + k * wide_floats, rows.blocks, x, to + k * kWideRows * 8);
    }
    x += tokens * x_floats;
  }
}

// n tokens times `count` rows: sums [n, kOrderedSums].
template <class W, typename S>
void multiply_ordered(OrderedRows rows, std::int64_t count, std::int64_t rows_behind, const MatrixView& w,
                      std::int64_t n, float* wide, const float* x, float* sums) {
  PaddedBlocks<W, S> padded;
  __builtin_memset(sums, 0, static_cast<std::size_t>(n * kOrderedSums) * sizeof(float));
  for (std::int64_t c = 0, end = 0; c < w.cols; c = end) {
    end = run_end<W>(c, w.cols, n);
    rows.first = c / W::kCols;
    rows.blocks = count_blocks<W>(end - c);
    if (!W::kWholeRows && (end - c) % W::kCols != 0) {
      padded.fill(rows, count, rows.first, (w.cols + kScaleCols - 1) / kScaleCols);
      multiply_run<W, S>(padded.rows(), count, n, {}, wide, x, sums);
      continue;
    }
    const bool last = end == w.cols;
    const AskAhead ahead{.row = rows.codes + (last ? count * rows.row_bytes : W::at(end / W::kCols)),
                         .row_bytes = rows.row_bytes,
                         .rows = last ? rows_behind : count,
                         .bytes = rows.blocks * W::kBytes};
    multiply_run<W, S>(rows, count, n, ahead, wide, x, sums);
  }
}

inline void store_ordered(const LinearArgs<bf16>& args, std::int64_t first, std::int64_t n, std::int64_t row,
                          std::int64_t count, const float* sums) {
  float dots[kOrderedRows];
  for (std::int64_t t = 0; t < n; ++t, sums += kOrderedSums) {
    for (std::int64_t r = 0; r < count; ++r) dots[r] = sum_of_lanes(load_f32(sums + r * 8));
    store_dots(args, first + t, row, dots, count);
  }
}

// find_rows(row, count): the rows' codes and scales, stored as S.
template <class W, typename S, class FindRows>
void linear_ordered(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin, std::int64_t row_end,
                    std::byte* scratch, const FindRows& find_rows) {
  const std::int64_t most = ordered_chunk_tokens(w.cols);
  auto* const wide = reinterpret_cast<float*>(scratch);
  float* const sums = wide + kWideFloats;
  for (std::int64_t first = 0; first < args.tokens; first += most) {
    const std::int64_t n = args.tokens - first < most ? args.tokens - first : most;
    float* const x = sums + n * kOrderedSums;
    order_x<W>(args, w.cols, first, n, x);
    for (std::int64_t row = row_begin; row < row_end; row += kOrderedRows) {
      const std::int64_t rest = row_end - row, count = rest < kOrderedRows ? rest : kOrderedRows;
      const std::int64_t behind = rest - count < kOrderedRows ? rest - count : kOrderedRows;
      multiply_ordered<W, S>(find_rows(row, count), count, behind, w, n, wide, x, sums);
      store_ordered(args, first, n, row, count, sums);
    }
  }
}

void linear_bf16(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t row_begin, std::int64_t row_end,
                 std::byte* scratch) {
  BALTORO_DCHECK(row_begin >= 0 && row_begin <= row_end && row_end <= w.rows, "row range out of range");
  if (args.tokens == 0 || row_begin == row_end) return;
  const auto stored = [&](std::int64_t row, std::int64_t) {
    const std::int64_t scale_row_bytes = w.scale_cols() * 2;
    return OrderedRows{.codes = w.data + row * w.row_bytes(),
                       .row_bytes = w.row_bytes(),
                       .scales = w.scale + row * scale_row_bytes,
                       .scale_row_bytes = scale_row_bytes};
  };
  if (w.format == WeightFormat::kBF16) {
    return linear_ordered<BlockBf16, bf16>(w, args, row_begin, row_end, scratch, stored);
  }
  if (w.format == WeightFormat::kInt8Group) {
    return linear_ordered<BlockInt8, bf16>(w, args, row_begin, row_end, scratch, stored);
  }
  if (w.format == WeightFormat::kInt4Group && w.group == kScaleCols && w.scale_dtype == tensor::DType::kBF16) {
    return linear_ordered<BlockInt4, bf16>(w, args, row_begin, row_end, scratch, stored);
  }
  const bool int4 = w.format == WeightFormat::kInt4Group && has_regular_scales(w);
  const bool fp8 = w.format == WeightFormat::kFp8Block && w.block_cols % BlockFp8::kCols == 0;
  if (!int4 && !fp8) return linear<bf16>(w, args, row_begin, row_end, scratch);
  float* const widened = reinterpret_cast<float*>(scratch + ordered_bytes(w.cols, args.tokens));
  const std::int64_t stride = scratch_scale_floats(w.cols);
  const auto widen = [&](std::int64_t row, std::int64_t count) {
    for (std::int64_t r = 0; r < count; ++r) widen_scales(w, row + r, widened + r * stride);
    return OrderedRows{.codes = w.data + row * w.row_bytes(),
                       .row_bytes = w.row_bytes(),
                       .scales = reinterpret_cast<const std::byte*>(widened),
                       .scale_row_bytes = stride * 4};
  };
  int4 ? linear_ordered<BlockInt4, float>(w, args, row_begin, row_end, scratch, widen)
       : linear_ordered<BlockFp8, float>(w, args, row_begin, row_end, scratch, widen);
}
