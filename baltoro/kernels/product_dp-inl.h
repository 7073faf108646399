// SPDX-License-Identifier: Apache-2.0
// Products by VDPBF16PS whose pairs run along rows: two rows are interleaved on the way.

struct MultiplyPairs {  // a pair of BF16 by a pair of BF16
  [[gnu::always_inline]] static F multiply_add(F acc, F lanes, F one) {
    return dot_pairs(acc, _mm512_castps_si512(lanes), _mm512_castps_si512(one));
  }
};

// Element i of one vector, then element i of the other, i < 32.
struct PairOrder {
  alignas(64) std::uint16_t index[64];
};
consteval PairOrder make_pair_order() {
  PairOrder order{};
  for (int i = 0; i < 64; ++i) order.index[i] = static_cast<std::uint16_t>(i / 2 + i % 2 * 32);
  return order;
}
constexpr PairOrder kPairOrder = make_pair_order();

// (first's element i, second's element i), of the lower (half 0) or upper 16 columns.
[[gnu::always_inline]] inline F interleave(Pairs first, Pairs second, int half) {
  const Pairs order = _mm512_load_si512(kPairOrder.index + half * 32);
  return _mm512_castsi512_ps(_mm512_permutex2var_epi16(first, order, second));
}
[[gnu::always_inline]] inline void store_pairs(Pairs first, Pairs second, float* to) {
  for (int half = 0; half < 2; ++half) store(to + half * kLanes, interleave(first, second, half));
}

// Most rows of a weight that linear_transposed interleaves, 32 columns at a time, on the stack.
constexpr std::int64_t kTransposedRows = 256;

// Columns [c, c + 32), `columns` of them there, of tokens [t, t + P).
template <int P>
void transposed_tile(const float* slice, std::int64_t rows, std::int64_t c, std::int64_t columns,
                     const LinearArgs<bf16>& args, std::int64_t t) {
  const bf16* x[P];
  Tile<P> acc;
  clear<P>(acc);
  for (int i = 0; i < P; ++i) x[i] = args.x_row(t + i);
  if (args.x_rows == nullptr) {
    product<MultiplyPairs, 4, P>(reinterpret_cast<const std::byte*>(x[0]), args.ldx * 2, 4, slice, rows / 2, {}, acc);
  } else {
    for (int i = 0; i < P; ++i) {
      Tile<1> one;
      clear<1>(one);
      product<MultiplyPairs, 4, 1>(reinterpret_cast<const std::byte*>(x[i]), 0, 4, slice, rows / 2, {}, one);
      acc[i][0] = one[0][0];
      acc[i][1] = one[0][1];
    }
  }
  float sums[kStep];
  for (int i = 0; i < P; ++i) {
    store(sums, acc[i][0]);
    store(sums + kLanes, acc[i][1]);
    store_dots(args, t + i, c, sums, columns);
  }
}

// Tokens of a call for which interleaving once for all does not pay; of them, those whose sums find room in registers;
// rows and columns that stay in the first cache while all tokens pass.
constexpr std::int64_t kFewTokens = 16, kFewAtOnce = 8, kFewRows = 8, kFewColumns = 512;

// So many rows and columns of a weight, or fewer, for P tokens.
struct FewRows {
  const std::byte* w = nullptr;
  std::int64_t row_bytes = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t ahead = 0;          // bytes from a row to one to ask memory for; 0: to none
  const bf16* const* x = nullptr;  // of each token, from the first of the rows on
  float* sums = nullptr;           // [P, kFewColumns]
  bool first = false;              // sums hold nothing yet
};

// S steps of 32 columns from c on (S = 1: of what is left), rows interleaved in registers: the bits of the above.
template <int P, int S>
[[gnu::always_inline]] inline void transposed_steps(const FewRows& block, const bf16* const (&x)[P], std::int64_t c) {
  const std::int64_t columns = block.columns - c;
  Tile<S> acc[P];
  const __mmask16 mask = block.first ? 0 : 0xFFFF;
  float* sums = block.sums + c;
#pragma GCC unroll 8
  for (int i = 0; i < P; ++i) {
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      acc[i][s][0] = _mm512_maskz_loadu_ps(mask, sums + i * kFewColumns + s * kStep);
      acc[i][s][1] = _mm512_maskz_loadu_ps(mask, sums + i * kFewColumns + s * kStep + kLanes);
    }
  }
  const std::byte* row = block.w + c * 2;
  for (std::int64_t r = 0; r < block.rows; r += 2, row += 2 * block.row_bytes) {
    F one[P];
#pragma GCC unroll 8
    for (int i = 0; i < P; ++i) one[i] = load_same<4>(reinterpret_cast<const std::byte*>(x[i] + r));
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      const std::byte* from = row + s * kStep * 2;
      _mm_prefetch(from + block.ahead, _MM_HINT_T0);
      _mm_prefetch(from + block.row_bytes + block.ahead, _MM_HINT_T0);
      const bool whole = S > 1 || columns >= kStep;
      const Pairs first = whole ? load_pairs(from) : load_pairs(from, columns);
      const Pairs second = whole ? load_pairs(from + block.row_bytes) : load_pairs(from + block.row_bytes, columns);
#pragma GCC unroll 2
      for (int v = 0; v < 2; ++v) {
        const F lanes = interleave(first, second, v);
#pragma GCC unroll 8
        for (int i = 0; i < P; ++i) acc[i][s][v] = MultiplyPairs::multiply_add(acc[i][s][v], lanes, one[i]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < P; ++i) {
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      store(sums + i * kFewColumns + s * kStep, acc[i][s][0]);
      store(sums + i * kFewColumns + s * kStep + kLanes, acc[i][s][1]);
    }
  }
}

template <int P>
[[gnu::noinline]] void transposed_rows(const FewRows& given) {
  constexpr int kSteps = P == 3 ? 2 : 8 / P;
  const FewRows block = given;  // a copy, which the stores to sums cannot change
  const bf16* x[P];
#pragma GCC unroll 8
  for (int i = 0; i < P; ++i) x[i] = block.x[i];
  std::int64_t c = 0;
  for (; kSteps > 1 && c + kSteps * kStep <= block.columns; c += kSteps * kStep) {
    transposed_steps<P, kSteps>(block, x, c);
  }
  for (; c < block.columns; c += kStep) transposed_steps<P, 1>(block, x, c);
}

// At most kFewTokens: a few rows from end to end, as memory likes it, meet all tokens, some at a time.
inline void transposed_few(const MatrixView& w, const LinearArgs<bf16>& args) {
  using Rows = void (*)(const FewRows&);
  static constexpr Rows kRows[kFewAtOnce] = {transposed_rows<1>, transposed_rows<2>, transposed_rows<3>,
                                             transposed_rows<4>, transposed_rows<5>, transposed_rows<6>,
                                             transposed_rows<7>, transposed_rows<8>};
  alignas(64) float sums[kFewTokens * kFewColumns];
  const std::int64_t row_bytes = w.row_bytes(), parts = count_tiles(args.tokens, kFewAtOnce);
  for (std::int64_t c = 0; c < w.cols; c += kFewColumns) {
    const std::int64_t columns = clamp(w.cols - c, kFewColumns);
    for (std::int64_t r = 0; r < w.rows; r += kFewRows) {
      for (std::int64_t i = 0; i < parts; ++i) {
        const std::int64_t first = part_begin(args.tokens, parts, i),
                           tokens = part_begin(args.tokens, parts, i + 1) - first;
        const bf16* x[kFewAtOnce];
        for (std::int64_t t = 0; t < tokens; ++t) x[t] = args.x_row(first + t) + r;
        kRows[tokens - 1]({.w = w.data + r * row_bytes + c * 2,
                           .row_bytes = row_bytes,
                           .rows = clamp(w.rows - r, kFewRows),
                           .columns = columns,
                           .ahead = i == 0 && r + kFewRows < w.rows ? kFewRows * row_bytes : 0,
                           .x = x,
                           .sums = sums + first * kFewColumns,
                           .first = r == 0});
      }
    }
    for (std::int64_t t = 0; t < args.tokens; ++t) store_dots(args, t, c, sums + t * kFewColumns, columns);
  }
}

// y = x W of a BF16 weight with an even number of rows, at most kTransposedRows.
void transposed_pairs(const MatrixView& w, const LinearArgs<bf16>& args) {
  if (args.tokens == 0) return;
  if (args.tokens <= kFewTokens) return transposed_few(w, args);
  alignas(64) float slice[kTransposedRows / 2 * kStep];
  const std::int64_t row_bytes = w.row_bytes();
  for (std::int64_t c = 0; c < w.cols; c += kStep) {
    const std::int64_t columns = w.cols - c < kStep ? w.cols - c : kStep;
    for (std::int64_t r = 0; r < w.rows; r += 2) {
      const std::byte* row = w.data + r * row_bytes + c * 2;
      const std::byte* next = row + row_bytes;
      _mm_prefetch(row + kStep * 2 + 63, _MM_HINT_T0);  // of the next columns, which processors do not see coming
      _mm_prefetch(next + kStep * 2 + 63, _MM_HINT_T0);
      if (columns == kStep) {
        store_pairs(load_pairs(row), load_pairs(next), slice + r / 2 * kStep);
      } else {
        store_pairs(load_pairs(row, columns), load_pairs(next, columns), slice + r / 2 * kStep);
      }
    }
    std::int64_t t = 0;
    for (; t + 8 <= args.tokens; t += 8) transposed_tile<8>(slice, w.rows, c, columns, args, t);
    for (; t + 2 <= args.tokens; t += 2) transposed_tile<2>(slice, w.rows, c, columns, args, t);
    if (t < args.tokens) transposed_tile<1>(slice, w.rows, c, columns, args, t);
  }
}
