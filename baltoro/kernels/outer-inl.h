// SPDX-License-Identifier: Apache-2.0
// Sums over the rows of a matrix: y[t, c] = sum_r x[t, r] W[r, c], lanes along c, rows ascending, one fused
// multiply-add each. Used for x W (absorption) and for the mix of cache rows in attention.

// How columns [c, c + kLanes) of row r are read; `columns` is kLanes but at the ragged end.
template <class Row>
struct PlainRows {  // formats without scales
  const std::byte* data;
  std::int64_t row_bytes;
  F load(std::int64_t r, std::int64_t c, std::int64_t columns) const {
    const std::byte* row = data + r * row_bytes;
    return columns == kLanes ? Row::load(row, nullptr, c) : Row::load(row, nullptr, c, columns);
  }
};
struct F8Rows {  // kFp8Block with block_cols % 32 == 0
  const std::byte* data;
  const std::byte* scale;
  std::int64_t cols, scale_cols;
  std::uint32_t first_row, block_rows, block_cols;  // 32 bits divide faster
  explicit F8Rows(const MatrixView& w)
      : data(w.data),
        scale(w.scale),
        cols(w.cols),
        scale_cols(w.scale_cols()),
        first_row(static_cast<std::uint32_t>(w.scale_row_offset)),
        block_rows(static_cast<std::uint32_t>(w.block_rows)),
        block_cols(static_cast<std::uint32_t>(w.block_cols)) {}
  F load(std::int64_t r, std::int64_t c, std::int64_t columns) const {
    const std::byte* code = data + r * cols + c;
    const F value = columns == kLanes ? load_f8(code) : load_f8(Ragged(code, columns).data);
    const std::int64_t block = (static_cast<std::uint32_t>(r) + first_row) / block_rows * scale_cols +
                               static_cast<std::uint32_t>(c) / block_cols;
    float one = 0;
    __builtin_memcpy(&one, scale + block * 4, 4);
    return mul(value, set1(one));
  }
};
struct Int8Rows {  // kInt8RowGroup
  static_assert(tensor::kInt8BlockCols % kLanes == 0);
  const std::byte* data;
  const std::byte* scale;
  std::int64_t cols;  // padded, so that every vector is whole
  F load(std::int64_t r, std::int64_t c, std::int64_t) const {
    const std::int64_t group = r / tensor::kInt8GroupRows;
    const std::byte* block =
        data + group * tensor::kInt8GroupRows * cols + c / tensor::kInt8BlockCols * tensor::kInt8BlockBytes;
    const std::int64_t place = tensor::int8_block_place(r % tensor::kInt8GroupRows, c % tensor::kInt8BlockCols);
    const F code = load_byte_of_words(block + place / 4 * 4, static_cast<int>(place % 4));
    return mul(sub(code, set1(128)), load_bf16(scale + (group * cols + c) * 2));
  }
};
struct SlowRows {  // any weight
  const MatrixView* w;
  F load(std::int64_t r, std::int64_t c, std::int64_t columns) const {
    alignas(64) float values[kLanes] = {};
    for (std::int64_t i = 0; i < columns; ++i) values[i] = tensor::matrix_element(*w, r, c + i);
    return load_f32(values);
  }
};

// acc[t][v] += sum over rows r < count of x[t][r] * W[r, c + v * kLanes ...].
template <int T, int V, class Rows, typename X>
[[gnu::always_inline]] inline void add_rows(const Rows& w, std::int64_t count, std::int64_t c, std::int64_t columns,
                                            const X* const* x, F (&acc)[T][V]) {
  for (std::int64_t r = 0; r < count; ++r) {
    F row[V];
    for (int v = 0; v < V; ++v) row[v] = w.load(r, c + v * kLanes, V == 1 ? columns : kLanes);
    for (int t = 0; t < T; ++t) {
      const F factor = set1(widen(x[t][r]));
      for (int v = 0; v < V; ++v) acc[t][v] = fma(factor, row[v], acc[t][v]);
    }
  }
}

// Columns [c, c + V * kLanes) (V = 1: `columns` of them) of tokens [t, t + T).
template <int T, int V, class Rows, typename X>
void transposed_tile(const Rows& rows, std::int64_t count, std::int64_t c, std::int64_t columns,
                     const LinearArgs<X>& args, std::int64_t t) {
  const X* x[T];
  F acc[T][V];
  for (int i = 0; i < T; ++i) {
    x[i] = args.x_row(t + i);
    for (int v = 0; v < V; ++v) acc[i][v] = zero();
  }
  add_rows<T, V>(rows, count, c, columns, x, acc);
  float sums[V * kLanes];
  for (int i = 0; i < T; ++i) {
    for (int v = 0; v < V; ++v) store(sums + v * kLanes, acc[i][v]);
    store_dots(args, t + i, c, sums, V == 1 ? columns : V * kLanes);
  }
}

template <int T, class Rows, typename X>
void transposed_tokens(const Rows& rows, const MatrixView& w, const LinearArgs<X>& args, std::int64_t first,
                       std::int64_t t) {
  constexpr int kVectors = T == 1 ? 8 : 4;
  std::int64_t c = first;
  for (; c + kVectors * kLanes <= w.cols; c += kVectors * kLanes) {
    transposed_tile<T, kVectors>(rows, w.rows, c, kLanes, args, t);
  }
  for (; c < w.cols; c += kLanes) {
    transposed_tile<T, 1>(rows, w.rows, c, w.cols - c < kLanes ? w.cols - c : kLanes, args, t);
  }
}

// Some columns of all rows, widened once for many tokens; for AVX2, whose tiles are too small to share a conversion.
constexpr std::int64_t kSlabRows = 256;
constexpr int kSlabVectors = 4;
struct SlabRows {
  const float* values;  // [rows, kSlabVectors, kLanes]
  std::int64_t first;   // column
  F load(std::int64_t r, std::int64_t c, std::int64_t) const {
    return load_f32(values + r * kSlabVectors * kLanes + (c - first));
  }
};

// Whole slabs of columns; the first column behind them.
template <class Rows, typename X>
std::int64_t transposed_slabs(const Rows& rows, const MatrixView& w, const LinearArgs<X>& args) {
  alignas(64) float values[kSlabRows * kSlabVectors * kLanes];
  std::int64_t c = 0;
  for (; c + kSlabVectors * kLanes <= w.cols; c += kSlabVectors * kLanes) {
    for (std::int64_t r = 0; r < w.rows; ++r) {
      for (int v = 0; v < kSlabVectors; ++v) {
        store(values + (r * kSlabVectors + v) * kLanes, rows.load(r, c + v * kLanes, kLanes));
      }
    }
    const SlabRows slab{values, c};
    std::int64_t t = 0;
    for (; t + kTileTokens <= args.tokens; t += kTileTokens) {
      transposed_tile<kTileTokens, kSlabVectors>(slab, w.rows, c, kLanes, args, t);
    }
    for (; t < args.tokens; ++t) transposed_tile<1, kSlabVectors>(slab, w.rows, c, kLanes, args, t);
  }
  return c;
}

template <class Rows, typename X>
void transposed_rows(const Rows& rows, const MatrixView& w, const LinearArgs<X>& args) {
  std::int64_t first = 0;
  if constexpr (kLanes == 8) {
    if (args.tokens > 2 * kTileTokens && w.rows <= kSlabRows) first = transposed_slabs(rows, w, args);
  }
  if (first == w.cols) return;
  std::int64_t t = 0;
  for (; t + kTileTokens <= args.tokens; t += kTileTokens) transposed_tokens<kTileTokens>(rows, w, args, first, t);
  for (; t < args.tokens; ++t) transposed_tokens<1>(rows, w, args, first, t);
}

template <typename X>
void linear_transposed(const MatrixView& w, const LinearArgs<X>& args, std::byte*) {
  switch (w.format) {
    case WeightFormat::kF32:
      return transposed_rows(PlainRows<RowF32>{w.data, w.row_bytes()}, w, args);
    case WeightFormat::kBF16:
      return transposed_rows(PlainRows<RowBf16>{w.data, w.row_bytes()}, w, args);
    case WeightFormat::kF16:
      return transposed_rows(PlainRows<RowF16>{w.data, w.row_bytes()}, w, args);
    case WeightFormat::kFp8Block:
      if (has_regular_scales(w)) return transposed_rows(F8Rows(w), w, args);
      [[fallthrough]];
    case WeightFormat::kInt4Group:
    case WeightFormat::kInt8Group:
      return transposed_rows(SlowRows{&w}, w, args);
    case WeightFormat::kInt8RowGroup:
      return transposed_rows(Int8Rows{w.data, w.scale, w.row_bytes()}, w, args);
  }
}
