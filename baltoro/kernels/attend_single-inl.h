// SPDX-License-Identifier: Apache-2.0
// Attention in f32 products, and what every attention of vectors shares: folding parts and dividing by the sum.

// Steps of one f32: the cache is F32, or BF16 that is widened.
template <typename X>
struct AttendSingles : MultiplySingles {
  static constexpr int kWidth = 1;
  using Element = X;
  static F load(const X* p) { return load_x(p); }
  static F load(const X* p, std::int64_t n) { return load_x(p, n); }
  static F join(F (&weights)[1]) { return weights[0]; }
  static void pack(const X* row, const X*, float* to) {
    for (std::int64_t c = 0; c < kSlice; c += kLanes) store(to + c, load_x(row + c));
  }
  static void pack(const X* row, const X*, std::int64_t columns, float* to) {
    for (std::int64_t c = 0; c < kSlice; c += kLanes) {
      const std::int64_t left = columns - c;
      store(to + c, left >= kLanes ? load_x(row + c) : left > 0 ? load_x(row + c, left) : zero());
    }
  }
};

void attend_f32(const AttendArgs& args, std::int64_t part, float* state) {
  attend<AttendSingles<float>>(args, part, state);
}

// Columns of one query, V vectors: to = to * keep + from * take for each of the states behind the first.
template <int V>
[[gnu::always_inline]] inline void fold_columns(float* to, const float* const* from, const float (*factors)[2],
                                                std::int64_t count) {
  F sums[V];
  for (int v = 0; v < V; ++v) sums[v] = load_f32(to + v * kLanes);
  for (std::int64_t i = 0; i < count; ++i) {
    const F keep = set1(factors[i][0]), take = set1(factors[i][1]);
    for (int v = 0; v < V; ++v) sums[v] = fma(sums[v], keep, mul(load_f32(from[i] + v * kLanes), take));
  }
  for (int v = 0; v < V; ++v) store(to + v * kLanes, sums[v]);
}

void attend_fold(std::int64_t queries, std::int64_t rank, float* const* states, std::int64_t count, std::int64_t begin,
                 std::int64_t end) {
  constexpr std::int64_t kAtOnce = 16;
  const AttendState to(queries, rank, states[0]);
  for (std::int64_t first = 1; first < count; first += kAtOnce) {
    const std::int64_t more = count - first < kAtOnce ? count - first : kAtOnce;
    for (std::int64_t q = begin; q < end; ++q) {
      float factors[kAtOnce][2];
      const float* z[kAtOnce];
      for (std::int64_t i = 0; i < more; ++i) {
        const AttendState from(queries, rank, states[first + i]);
        const float highest = to.maximum[q] > from.maximum[q] ? to.maximum[q] : from.maximum[q];
        float both[kLanes];
        store(both, exp(sub(set1(to.maximum[q]), set1(highest))));
        factors[i][0] = both[0];
        store(both, exp(sub(set1(from.maximum[q]), set1(highest))));
        factors[i][1] = both[0];
        to.maximum[q] = highest;
        to.sum[q] = to.sum[q] * factors[i][0] + from.sum[q] * factors[i][1];
        z[i] = from.z + q * from.columns;
      }
      for (std::int64_t c = 0; c < to.columns; c += kSlice) {
        fold_columns<2>(to.z + q * to.columns + c, z, factors, more);
        for (std::int64_t i = 0; i < more; ++i) z[i] += kSlice;
      }
    }
  }
}

void attend_finish(std::int64_t queries, std::int64_t rank, const float* state, std::int64_t begin, std::int64_t end,
                   float* z) {
  const AttendState from(queries, rank, const_cast<float*>(state));
  for (std::int64_t i = begin; i < end; ++i, z += rank) {
    const F inverse = set1(1.0f / from.sum[i]);
    const float* unscaled = from.z + i * from.columns;
    std::int64_t c = 0;
    for (; c + kLanes <= rank; c += kLanes) store(z + c, mul(inverse, load_f32(unscaled + c)));
    if (c < rank) store(z + c, mul(inverse, load_f32(unscaled + c)), rank - c);
  }
}
