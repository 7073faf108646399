// SPDX-License-Identifier: Apache-2.0
// A batch of tokens times a panel of rows, cut into tiles of T tokens and R rows.

// dots[t * R + r] = x[t] . row (row + r) of the panel. The bits of a dot depend on its two operands alone, never on T
// and R.
template <class W, typename X, int T, int R>
void tile(const Panel& panel, std::int64_t row, const X* const* x, float* dots);

// Stores or accumulates elements [column, column + n) of token t's result.
template <typename X>
void store_dots(const LinearArgs<X>& args, std::int64_t t, std::int64_t column, const float* dots, std::int64_t n) {
  float* y = args.y_row(t) + column;
  if (args.y_weights == nullptr) {
    for (std::int64_t i = 0; i < n; ++i) y[i] = dots[i];
  } else {
    for (std::int64_t i = 0; i < n; ++i) y[i] = y[i] + args.y_weights[t] * dots[i];
  }
}

// Tokens [t, t + T) times all rows of a panel whose first row is row `row_begin` of the weight.
template <class W, typename X, int T>
void tile_rows(const Panel& panel, std::int64_t row_begin, const LinearArgs<X>& args, std::int64_t t) {
  constexpr int kRows = T == 1 ? 8 : 4;
  const X* x[T];
  for (int i = 0; i < T; ++i) x[i] = args.x_row(t + i);
  float dots[T * kRows];
  std::int64_t row = 0;
  for (; row + kRows <= panel.rows; row += kRows) {
    tile<W, X, T, kRows>(panel, row, x, dots);
    for (int i = 0; i < T; ++i) store_dots(args, t + i, row_begin + row, dots + i * kRows, kRows);
  }
  for (; row < panel.rows; ++row) {
    tile<W, X, T, 1>(panel, row, x, dots);
    for (int i = 0; i < T; ++i) store_dots(args, t + i, row_begin + row, dots + i, 1);
  }
}

template <class W, typename X>
void tile_tokens(const Panel& panel, std::int64_t row_begin, const LinearArgs<X>& args) {
  std::int64_t t = 0;
  for (; t + kTileTokens <= args.tokens; t += kTileTokens) tile_rows<W, X, kTileTokens>(panel, row_begin, args, t);
  const std::int64_t rest = args.tokens - t;
  if (rest == 1) tile_rows<W, X, 1>(panel, row_begin, args, t);
  if constexpr (kTileTokens == 4) {
    if (rest == 2) tile_rows<W, X, 2>(panel, row_begin, args, t);
    if (rest == 3) tile_rows<W, X, 3>(panel, row_begin, args, t);
  }
}
