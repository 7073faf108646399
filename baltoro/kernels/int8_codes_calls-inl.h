// SPDX-License-Identifier: Apache-2.0
// A call of linear_int8 whose codes are read in place, cut into panels of rows and tiles of tokens; behind
// int8_codes_avx512-inl.h.

// Dots of tokens [first, first + tokens) and rows [row, row + rows).
inline void store_coded(const LinearArgs<std::byte>& args, std::int64_t first, std::int64_t tokens, std::int64_t row,
                        std::int64_t rows, const float* sums) {
  for (std::int64_t t = first; t < first + tokens; ++t, sums += kInt8CodeSums) {
    float* y = args.y_row(t) + row;
    for (std::int64_t r = 0; r < rows; r += 16) {
      const auto some = static_cast<__mmask16>(rows - r < 16 ? (1 << (rows - r)) - 1 : 0xFFFF);
      F dots = sums_of_lanes(sums + r * tensor::kInt8Lanes);
      if (args.y_weights != nullptr) {
        dots = fma(_mm512_set1_ps(args.y_weights[t]), dots, _mm512_maskz_loadu_ps(some, y + r));
      }
      _mm512_mask_storeu_ps(y + r, some, dots);
    }
  }
}

// What the first panel of a call takes for asked already.
template <class W>
void prefetch_first_codes(const Int8Panel& panel, bool stream) {
  const std::int64_t pieces = stream ? 1 : panel.rows;
  const std::int64_t most = stream ? kInt8CodesAhead : W::kBytes, held = stream ? panel.rows * panel.row_bytes : most;
  for (std::int64_t i = 0; i < pieces; ++i) {
    for (std::int64_t at = 0; at < most && at < held; at += 64) {
      _mm_prefetch(panel.codes + i * panel.row_bytes + at, _MM_HINT_T0);
    }
  }
}

// Few tokens read whole rows, so that memory is read nearly from end to end, unless they fill the first cache.
inline bool streams_codes(std::int64_t tokens, std::int64_t chunks) {
  return tokens <= kInt8StreamTokens && tokens * chunks <= kInt8StreamChunks;
}

template <class W>
void stream_panel(const Int8Panel& panel, std::int64_t row, const LinearArgs<std::byte>& args, float* sums) {
  using Stream = void (*)(const Int8Panel&, const std::byte* const*, float*);
  static constexpr Stream kStream[kInt8StreamTokens] = {stream_codes_panel<W, 1>, stream_codes_panel<W, 2>,
                                                        stream_codes_panel<W, 3>, stream_codes_panel<W, 4>};
  const std::byte* x[kInt8StreamTokens] = {};
  for (std::int64_t t = 0; t < args.tokens; ++t) x[t] = args.x_row(t);
  kStream[args.tokens - 1](panel, x, sums);
  store_coded(args, 0, args.tokens, row, panel.rows, sums);
}

template <class W>
void tile_panel(const Int8Panel& panel, std::int64_t row, const LinearArgs<std::byte>& args, float* sums) {
  using Tile = void (*)(const Int8Panel&, const std::byte* const*, const std::byte* const*, bool, float*);
  static constexpr Tile kTile[kInt8CodeTokens] = {add_coded_tile<W, 1>, add_coded_tile<W, 2>, add_coded_tile<W, 3>,
                                                  add_coded_tile<W, 4>, add_coded_tile<W, 5>, add_coded_tile<W, 6>,
                                                  add_coded_tile<W, 7>, add_coded_tile<W, 8>};
  const std::int64_t tiles = count_tiles(args.tokens, kInt8CodeTokens);
  const bool fetch_x = args.tokens * panel.chunks * kRowChunkBytes > kInt8CloseBytes;
  const std::byte* x[2][kInt8CodeTokens];
  const auto begin = [&](std::int64_t i) { return part_begin(args.tokens, tiles, i); };
  const auto find_rows = [&](std::int64_t i, const std::byte** rows) {
    for (std::int64_t t = 0; t < kInt8CodeTokens; ++t) {
      rows[t] = args.x_row(begin(i) + t < args.tokens ? begin(i) + t : args.tokens - 1);
    }
  };
  find_rows(0, x[0]);
  for (std::int64_t i = 0; i < tiles; ++i) {
    find_rows((i + 1) % tiles, x[(i + 1) % 2]);
    const std::int64_t first = begin(i), tokens = begin(i + 1) - first;
    kTile[tokens - 1](panel, x[i % 2], fetch_x ? x[(i + 1) % 2] : nullptr, i == 0, sums);
    store_coded(args, first, tokens, row, panel.rows, sums);
  }
}

template <class W>
void coded_panels(const MatrixView& w, const LinearArgs<std::byte>& args, std::int64_t row_begin, std::int64_t row_end,
                  std::int64_t panel_rows) {
  alignas(64) float sums[kInt8CodeTokens * kInt8CodeSums];
  Int8Panel panel{
      .row_bytes = w.row_bytes(), .scale_bytes = w.scale_bytes() / w.rows, .chunks = tensor::int8_chunks(w.cols)};
  const bool stream = streams_codes(args.tokens, panel.chunks);
  for (std::int64_t row = row_begin; row < row_end; row += panel_rows) {
    panel.codes = w.data + row * w.row_bytes();
    panel.stored_scales = w.scale + row * panel.scale_bytes;
    panel.rows = row_end - row < panel_rows ? row_end - row : panel_rows;
    if (row == row_begin) prefetch_first_codes<W>(panel, stream);
    stream ? stream_panel<W>(panel, row, args, sums) : tile_panel<W>(panel, row, args, sums);
  }
}

// Whether scales can be widened where they are used, and unpacking does not pay.
inline bool reads_codes(const MatrixView& w, std::int64_t tokens) {
  if (w.format == WeightFormat::kInt8Group) return tokens < kInt8ManyTokens;
  return w.group == tensor::kInt8LaneCols && w.scale_dtype == tensor::DType::kBF16;
}

void linear_int8_codes(const MatrixView& w, const LinearArgs<std::byte>& args, std::int64_t row_begin,
                       std::int64_t row_end, std::byte* scratch) {
  BALTORO_DCHECK(row_begin >= 0 && row_begin <= row_end && row_end <= w.rows, "row range out of range");
  BALTORO_DCHECK(reads_int8(w), "a weight of 8-bit or regular 4-bit groups");
  if (args.tokens == 0 || row_begin == row_end) return;
  if (!reads_codes(w, args.tokens)) return linear_int8(w, args, row_begin, row_end, scratch);
  if (w.format == WeightFormat::kInt4Group) {
    return coded_panels<Int8CodesOfInt4>(w, args, row_begin, row_end, kInt8PanelRows);
  }
  coded_panels<Int8CodesOfInt8>(w, args, row_begin, row_end,
                                args.tokens > kInt8CodeTokens ? kInt8PanelRows : kInt8FewRows);
}
