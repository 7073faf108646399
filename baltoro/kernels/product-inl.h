// SPDX-License-Identifier: Apache-2.0
// The inner loop of a matrix product whose results lie in lanes: acc[p][v] += sum over steps k of one[p][k] *
// lanes[k][v]. A step takes 4 bytes of `ones`, the same for all lanes, and a vector of `lanes`: one f32 each, or one
// pair of BF16 each where the operation is VDPBF16PS. One accumulator for each result, steps ascending, so a tile of
// any shape gives the same bits.

struct SingleSteps {  // a step is an f32
  static constexpr int kWidth = 1;
  [[gnu::always_inline]] static F multiply_add(F acc, F lanes, F one) { return fma(one, lanes, acc); }
};

// Four bytes in all lanes.
[[gnu::always_inline]] inline F load_same(const std::byte* p) {
  float one = 0;
  __builtin_memcpy(&one, p, 4);
  return set1(one);
}

// Steps whose addresses are computed at once.
constexpr int kUnrolled = kLanes == 16 ? 4 : 2;

// one[p][k] is at ones + p * row + k * step (bytes), lanes[k] at lanes + k * lanes_step (floats).
template <class Op, int P, int V>
[[gnu::always_inline]] inline void product(const std::byte* ones, std::int64_t row, std::int64_t step,
                                           const float* lanes, std::int64_t lanes_step, std::int64_t steps,
                                           F (&acc)[P][V]) {
  std::int64_t k = 0;
  for (; k + kUnrolled <= steps; k += kUnrolled) {
    F values[kUnrolled][V];
    for (int u = 0; u < kUnrolled; ++u) {
      for (int v = 0; v < V; ++v) values[u][v] = load_f32(lanes + (k + u) * lanes_step + v * kLanes);
    }
    for (int p = 0; p < P; ++p) {
      const std::byte* from = ones + p * row + k * step;
      for (int u = 0; u < kUnrolled; ++u) {
        const F one = load_same(from + u * step);
        for (int v = 0; v < V; ++v) acc[p][v] = Op::multiply_add(acc[p][v], values[u][v], one);
      }
    }
  }
  for (; k < steps; ++k) {
    for (int p = 0; p < P; ++p) {
      const F one = load_same(ones + p * row + k * step);
      for (int v = 0; v < V; ++v) {
        acc[p][v] = Op::multiply_add(acc[p][v], load_f32(lanes + k * lanes_step + v * kLanes), one);
      }
    }
  }
}

// Results a tile holds beside V vectors of lanes: enough accumulators to hide the latency of an operation.
template <int V>
constexpr int kTileOnes = V == 2 ? kLanes / 2 : kLanes;
