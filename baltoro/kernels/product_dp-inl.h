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

// (first's element i, second's element i), i < 32.
[[gnu::always_inline]] inline void store_pairs(Pairs first, Pairs second, float* to) {
  _mm512_storeu_si512(to, _mm512_permutex2var_epi16(first, _mm512_load_si512(kPairOrder.index), second));
  _mm512_storeu_si512(to + kLanes, _mm512_permutex2var_epi16(first, _mm512_load_si512(kPairOrder.index + 32), second));
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
  for (int i = 0; i < P; ++i) x[i] = x_row(args, t + i);
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

// Columns [c, c + 32 S) of one token (S = 1: `columns` of them), rows interleaved in registers: the bits of the above.
template <int S>
void transposed_alone(const MatrixView& w, std::int64_t c, std::int64_t columns, const LinearArgs<bf16>& args,
                      std::int64_t t) {
  const auto* x = reinterpret_cast<const std::byte*>(x_row(args, t));
  Tile<S> acc;
  clear<S>(acc);
  for (std::int64_t r = 0; r < w.rows; r += 2) {
    const std::byte* row = w.data + r * w.row_bytes() + c * 2;
    const F one = load_same<4>(x + r * 2);
#pragma GCC unroll 8
    for (int s = 0; s < S; ++s) {
      const std::byte* from = row + s * kStep * 2;
      const bool whole = S > 1 || columns == kStep;
      const Pairs first = whole ? load_pairs(from) : load_pairs(from, columns);
      const Pairs second = whole ? load_pairs(from + w.row_bytes()) : load_pairs(from + w.row_bytes(), columns);
      for (int v = 0; v < 2; ++v) {
        const Pairs order = _mm512_load_si512(kPairOrder.index + v * 32);
        const Pairs lanes = _mm512_permutex2var_epi16(first, order, second);
        acc[s][v] = MultiplyPairs::multiply_add(acc[s][v], _mm512_castsi512_ps(lanes), one);
      }
    }
  }
  float sums[S * kStep];
  for (int s = 0; s < S; ++s) {
    store(sums + s * kStep, acc[s][0]);
    store(sums + s * kStep + kLanes, acc[s][1]);
  }
  store_dots(args, t, c, sums, S == 1 ? columns : S * kStep);
}

// Tokens that are not worth a packed slice.
inline void transposed_few(const MatrixView& w, const LinearArgs<bf16>& args) {
  for (std::int64_t t = 0; t < args.tokens; ++t) {
    std::int64_t c = 0;
    for (; c + 8 * kStep <= w.cols; c += 8 * kStep) transposed_alone<8>(w, c, kStep, args, t);
    for (; c < w.cols; c += kStep) transposed_alone<1>(w, c, w.cols - c < kStep ? w.cols - c : kStep, args, t);
  }
}

// y = x W of a BF16 weight with an even number of rows, at most kTransposedRows.
void transposed_pairs(const MatrixView& w, const LinearArgs<bf16>& args) {
  if (args.tokens < 4) return transposed_few(w, args);
  alignas(64) float slice[kTransposedRows / 2 * kStep];
  for (std::int64_t c = 0; c < w.cols; c += kStep) {
    const std::int64_t columns = w.cols - c < kStep ? w.cols - c : kStep;
    for (std::int64_t r = 0; r < w.rows; r += 2) {
      const std::byte* row = w.data + r * w.row_bytes() + c * 2;
      const std::byte* next = row + w.row_bytes();
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
