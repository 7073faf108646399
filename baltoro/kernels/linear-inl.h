// SPDX-License-Identifier: Apache-2.0
// y = x W^T with f32 products: one accumulator of kLanes partial sums for each (token, row), columns ascending, fused
// multiply-add, lanes added at the end. Tiles of any shape therefore give the same bits for an element. Packed weights
// become f32 on the way (the one product q * scale is rounded to f32); for more tokens than a tile holds they are
// unpacked once.

// How a row's columns [c, c + kLanes) are read. kPacked: worth unpacking for many tokens.
struct RowF32 {
  static constexpr bool kPacked = false;
  static F load(const std::byte* row, const float*, std::int64_t c) { return load_f32(row + c * 4); }
  static F load(const std::byte* row, const float*, std::int64_t c, std::int64_t n) {
    return load_f32(Ragged(row + c * 4, n * 4).data);
  }
};
struct RowBf16 {
  static constexpr bool kPacked = false;
  static F load(const std::byte* row, const float*, std::int64_t c) { return load_bf16(row + c * 2); }
  static F load(const std::byte* row, const float*, std::int64_t c, std::int64_t n) {
    return load_bf16(Ragged(row + c * 2, n * 2).data);
  }
};
struct RowF16 {
  static constexpr bool kPacked = true;
  static F load(const std::byte* row, const float*, std::int64_t c) { return load_f16(row + c * 2); }
  static F load(const std::byte* row, const float*, std::int64_t c, std::int64_t n) {
    return load_f16(Ragged(row + c * 2, n * 2).data);
  }
};
struct RowF8 {
  static constexpr bool kPacked = true;
  static F load(const std::byte* row, const float* scales, std::int64_t c) {
    return mul(load_f8(row + c), set1(scales[c / kScaleCols]));
  }
  static F load(const std::byte* row, const float* scales, std::int64_t c, std::int64_t n) {
    return mul(load_f8(Ragged(row + c, n).data), set1(scales[c / kScaleCols]));
  }
};
struct RowInt4 {
  static constexpr bool kPacked = true;
  static F load(const std::byte* row, const float* scales, std::int64_t c) {
    return mul(load_int4(row + c / 2), set1(scales[c / kScaleCols]));
  }
  // Never called: 32 divides the columns.
  static F load(const std::byte* row, const float* scales, std::int64_t c, std::int64_t) {
    return load(row, scales, c);
  }
};

template <class W, typename X, int T, int R>
void tile(const Panel& panel, std::int64_t row, const X* const* x, float* dots) {
  F acc[T][R];
  const std::byte* w[R];
  const float* scales[R];
  for (int r = 0; r < R; ++r) {
    w[r] = panel.row(row + r);
    scales[r] = panel.row_scales(row + r);
    for (int t = 0; t < T; ++t) acc[t][r] = zero();
  }
  std::int64_t c = 0;
  for (; c + kLanes <= panel.cols; c += kLanes) {
    F weights[R];
    for (int r = 0; r < R; ++r) weights[r] = W::load(w[r], scales[r], c);
    for (int t = 0; t < T; ++t) {
      const F value = load_x(x[t] + c);
      for (int r = 0; r < R; ++r) acc[t][r] = fma(value, weights[r], acc[t][r]);
    }
  }
  if (c < panel.cols) {
    const std::int64_t n = panel.cols - c;
    for (int r = 0; r < R; ++r) {
      const F weights = W::load(w[r], scales[r], c, n);
      for (int t = 0; t < T; ++t) acc[t][r] = fma(load_x(x[t] + c, n), weights, acc[t][r]);
    }
  }
  for (int t = 0; t < T; ++t) {
    for (int r = 0; r < R; ++r) dots[t * R + r] = sum_of_lanes(acc[t][r]);
  }
}

template <class W>
void unpack_row(const std::byte* row, const float* scales, std::int64_t cols, float* y) {
  std::int64_t c = 0;
  for (; c + kLanes <= cols; c += kLanes) store(y + c, W::load(row, scales, c));
  if (c < cols) store(y + c, W::load(row, scales, c, cols - c), cols - c);
}

template <class W>
Panel unpacked_panel(const Panel& packed, std::byte* scratch) {
  const Panel panel{
      .data = scratch, .row_bytes = scratch_row_floats(packed.cols) * 4, .rows = packed.rows, .cols = packed.cols};
  for (std::int64_t r = 0; r < packed.rows; ++r) {
    unpack_row<W>(packed.row(r), packed.row_scales(r), packed.cols,
                  reinterpret_cast<float*>(scratch + r * panel.row_bytes));
  }
  return panel;
}

// A packed weight meets few BF16 tokens straight from its codes; f32 activations are the reference path and take the
// unpacked rows always, which keeps the number of tiles down.
template <class W, typename X>
void linear_rows(const MatrixView& w, const LinearArgs<X>& args, std::int64_t row_begin, std::int64_t row_end,
                 std::byte* scratch) {
  const std::int64_t step = panel_rows(w.cols);
  for (std::int64_t row = row_begin; row < row_end; row += step) {
    const Panel panel = packed_panel(w, row, row_end - row < step ? row_end - row : step, scratch);
    if constexpr (W::kPacked) {
      if constexpr (sizeof(X) == sizeof(bf16)) {
        if (args.tokens <= kTileTokens) {
          tile_tokens<W>(panel, row, args);
          continue;
        }
      }
      tile_tokens<RowF32>(unpacked_panel<W>(panel, scratch), row, args);
    } else {
      tile_tokens<W>(panel, row, args);
    }
  }
}

template <typename X>
void linear_slow(const MatrixView& w, const LinearArgs<X>& args, std::int64_t row_begin, std::int64_t row_end,
                 std::byte* scratch) {
  const std::int64_t step = panel_rows(w.cols);
  for (std::int64_t row = row_begin; row < row_end; row += step) {
    tile_tokens<RowF32>(slow_panel(w, row, row_end - row < step ? row_end - row : step, scratch), row, args);
  }
}

template <typename X>
void linear(const MatrixView& w, const LinearArgs<X>& args, std::int64_t row_begin, std::int64_t row_end,
            std::byte* scratch) {
  BALTORO_DCHECK(row_begin >= 0 && row_begin <= row_end && row_end <= w.rows, "row range out of range");
  if (!has_regular_scales(w)) return linear_slow(w, args, row_begin, row_end, scratch);
  switch (w.format) {
    case WeightFormat::kF32:
      return linear_rows<RowF32>(w, args, row_begin, row_end, scratch);
    case WeightFormat::kBF16:
      return linear_rows<RowBf16>(w, args, row_begin, row_end, scratch);
    case WeightFormat::kF16:
      return linear_rows<RowF16>(w, args, row_begin, row_end, scratch);
    case WeightFormat::kFp8Block:
      return linear_rows<RowF8>(w, args, row_begin, row_end, scratch);
    case WeightFormat::kInt4Group:
      return linear_rows<RowInt4>(w, args, row_begin, row_end, scratch);
    case WeightFormat::kInt8Group:
    case WeightFormat::kInt8RowGroup:
      break;  // never reached: they have no regular scales
  }
}

template <class W>
void copy_packed_row(const MatrixView& w, std::int64_t row, float* y) {
  unpack_row<W>(w.data + row * w.row_bytes(), nullptr, w.cols, y);
}

void copy_row(const MatrixView& w, std::int64_t row, float* y) {
  BALTORO_DCHECK(row >= 0 && row < w.rows, "row out of range");
  switch (w.format) {
    case WeightFormat::kF32:
      return copy_packed_row<RowF32>(w, row, y);
    case WeightFormat::kBF16:
      return copy_packed_row<RowBf16>(w, row, y);
    case WeightFormat::kF16:
      return copy_packed_row<RowF16>(w, row, y);
    default:
      for (std::int64_t c = 0; c < w.cols; ++c) y[c] = tensor::matrix_element(w, row, c);
  }
}
