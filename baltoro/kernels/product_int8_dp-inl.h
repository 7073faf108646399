// SPDX-License-Identifier: Apache-2.0
// x W of a kInt8RowGroup weight by VDPBF16PS; behind int8_codes_dp-inl.h. A lane is a column, a word a pair of rows, as
// x has them. Codes are exact in BF16; their scale multiplies the sum of the 32 rows that share it.

constexpr int kRowGroupTokens = 4, kRowGroupBlocks = 4;  // of a tile: 16 sums, 4 of codes, 4 of weights, 1 of x

// A tile of T tokens: their x, where a group of rows begins in it, and their sums of it and the groups before.
template <int T>
struct RowGroupTile {
  const bf16* x[T];
  float* sums = nullptr;  // [T, stride]
  std::int64_t stride = 0;
};

// One group of rows of C blocks of columns, the first at `codes`, `scales` and column c of the sums.
template <int T, int C>
[[gnu::always_inline]] inline void add_row_group(const std::byte* codes, const std::byte* scales, std::int64_t c,
                                                 bool first, bool ahead, const RowGroupTile<T>& tile) {
  F acc[T][C];
  for (auto& token : acc) {
    for (F& lanes : token) lanes = zero();
  }
#pragma GCC unroll 1
  for (std::int64_t rows = 0; rows < tensor::kInt8GroupRows; rows += 4, codes += 64) {
    __m512i q[C];
#pragma GCC unroll 4
    for (int b = 0; b < C; ++b) {
      const std::byte* from = codes + b * tensor::kInt8BlockBytes;
      if (ahead) _mm_prefetch(from + kCodesAhead, _MM_HINT_T0);
      q[b] = _mm512_loadu_si512(from);
    }
    const auto add_pair = [&]<int K>() {
      Pairs weights[C];
#pragma GCC unroll 4
      for (int b = 0; b < C; ++b) weights[b] = Int8Codes::expand<K>(q[b]);
#pragma GCC unroll 4
      for (int t = 0; t < T; ++t) {
        const F pair = load_same<4>(reinterpret_cast<const std::byte*>(tile.x[t] + rows + K * 2));
#pragma GCC unroll 4
        for (int b = 0; b < C; ++b) acc[t][b] = dot_pairs(acc[t][b], _mm512_castps_si512(pair), weights[b]);
      }
    };
    add_pair.template operator()<0>();
    add_pair.template operator()<1>();
  }
#pragma GCC unroll 4
  for (int b = 0; b < C; ++b) {
    const F scale = load_bf16(scales + b * kLanes * 2);
#pragma GCC unroll 4
    for (int t = 0; t < T; ++t) {
      float* sums = tile.sums + t * tile.stride + c + b * kLanes;
      store(sums, fma(acc[t][b], scale, first ? zero() : load_f32(sums)));
    }
  }
}

// Tokens [token, token + T) meet all of W.
template <int T>
[[gnu::noinline]] void transposed_row_groups(const MatrixView& w, const LinearArgs<bf16>& args, std::int64_t token,
                                             float* sums) {
  const std::int64_t cols = w.row_bytes();  // padded
  RowGroupTile<T> tile{.x = {}, .sums = sums, .stride = cols};
  for (int t = 0; t < T; ++t) tile.x[t] = args.x_row(token + t);
  const std::byte *codes = w.data, *scales = w.scale;
  for (std::int64_t row = 0; row < w.rows; row += tensor::kInt8GroupRows) {
    std::int64_t c = 0;
    for (; c + kRowGroupBlocks * kLanes <= cols; c += kRowGroupBlocks * kLanes) {
      add_row_group<T, kRowGroupBlocks>(codes + c * tensor::kInt8GroupRows, scales + c * 2, c, row == 0, token == 0,
                                        tile);
    }
    for (; c < cols; c += kLanes) {
      add_row_group<T, 1>(codes + c * tensor::kInt8GroupRows, scales + c * 2, c, row == 0, token == 0, tile);
    }
    codes += cols * tensor::kInt8GroupRows;
    scales += cols * 2;
    for (int t = 0; t < T; ++t) tile.x[t] += tensor::kInt8GroupRows;
  }
  for (int t = 0; t < T; ++t) store_dots(args, token + t, 0, sums + t * cols, w.cols);
}

inline void transposed_int8(const MatrixView& w, const LinearArgs<bf16>& args, std::byte* scratch) {
  using Rows = void (*)(const MatrixView&, const LinearArgs<bf16>&, std::int64_t, float*);
  static constexpr Rows kRows[kRowGroupTokens] = {transposed_row_groups<1>, transposed_row_groups<2>,
                                                  transposed_row_groups<3>, transposed_row_groups<4>};
  auto* sums = reinterpret_cast<float*>(scratch);  // of kRowGroupTokens rows; an unpacked panel has eight
  const std::int64_t tiles = count_tiles(args.tokens, kRowGroupTokens);
  for (std::int64_t i = 0; i < tiles; ++i) {
    const std::int64_t first = part_begin(args.tokens, tiles, i), n = part_begin(args.tokens, tiles, i + 1) - first;
    kRows[n - 1](w, args, first, sums);
  }
}
