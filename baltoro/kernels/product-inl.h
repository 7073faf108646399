// SPDX-License-Identifier: Apache-2.0
// The inner loop of a matrix product: acc[p][v] += sum over k of one[p][k] * lanes[k][v], where one[p][k] is the same
// in all lanes (or in all even and all odd ones) and lanes[k] are V vectors. One accumulator for each result, k
// ascending, so a tile of any shape gives the same bits.

struct MultiplySingles {  // f32 by f32
  [[gnu::always_inline]] static F multiply_add(F acc, F lanes, F one) { return fma(one, lanes, acc); }
};

// Ones a full tile takes beside two vectors of lanes: enough accumulators to hide the latency of an operation.
constexpr int kTileOnes = kLanes / 2;
template <int P>
using Tile = F[P][2];
// Steps whose addresses are computed at once.
constexpr int kUnrolled = kLanes == 16 ? 4 : 2;

template <int P>
[[gnu::always_inline]] inline void clear(Tile<P>& acc) {
  for (auto& row : acc) row[0] = row[1] = zero();
}

// What will be read soon: so many lines of 64 bytes are asked for while kUnrolled steps are multiplied.
struct Ahead {
  const std::byte* data = nullptr;
  std::int64_t lines = 0;
};

// One is kBytes long (4: a lane, 8: two), one[p][k] at ones + p * row + k * step bytes, lanes[k] at lanes + k * 2
// vectors.
template <class Op, int kBytes, int P>
[[gnu::always_inline]] inline void product(const std::byte* ones, std::int64_t row, std::int64_t step,
                                           const float* lanes, std::int64_t steps, Ahead ahead, Tile<P>& acc) {
  constexpr std::int64_t kRow = 2 * kLanes;
  std::int64_t k = 0;
  for (; k + kUnrolled <= steps; k += kUnrolled, lanes += kUnrolled * kRow) {
    for (std::int64_t i = 0; i < ahead.lines; ++i, ahead.data += 64) __builtin_prefetch(ahead.data, 0, 2);
    F values[kUnrolled][2];
    for (int u = 0; u < kUnrolled; ++u) {
      values[u][0] = load_f32(lanes + u * kRow);
      values[u][1] = load_f32(lanes + u * kRow + kLanes);
    }
#pragma GCC unroll 8  // or else acc lives in memory
    for (int p = 0; p < P; ++p) {
      const std::byte* from = ones + p * row + k * step;
      for (int u = 0; u < kUnrolled; ++u) {
        const F one = load_same<kBytes>(from + u * step);
        acc[p][0] = Op::multiply_add(acc[p][0], values[u][0], one);
        acc[p][1] = Op::multiply_add(acc[p][1], values[u][1], one);
      }
    }
  }
  for (; k < steps; ++k, lanes += kRow) {
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
      const F one = load_same<kBytes>(ones + p * row + k * step);
      acc[p][0] = Op::multiply_add(acc[p][0], load_f32(lanes), one);
      acc[p][1] = Op::multiply_add(acc[p][1], load_f32(lanes + kLanes), one);
    }
  }
}
