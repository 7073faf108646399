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

void attend_merge(std::int64_t queries, std::int64_t rank, const float* part, float* state) {
  const AttendState to(queries, rank, state), from(queries, rank, const_cast<float*>(part));
  float factors[2][kAttendLanes];
  for (std::int64_t i = 0; i < to.lanes; i += kLanes) {
    const F before = load_f32(to.maximum + i), other = load_f32(from.maximum + i);
    const F highest = max(before, other);
    const F keep = exp(sub(before, highest)), take = exp(sub(other, highest));
    store(to.maximum + i, highest);
    store(to.sum + i, fma(load_f32(to.sum + i), keep, mul(load_f32(from.sum + i), take)));
    store(factors[0] + i, keep);
    store(factors[1] + i, take);
  }
  for (std::int64_t i = 0; i < queries; ++i) {
    const F keep = set1(factors[0][i]), take = set1(factors[1][i]);
    float* z = to.z + i * to.columns;
    const float* more = from.z + i * to.columns;
    for (std::int64_t c = 0; c < to.columns; c += kLanes) {
      store(z + c, fma(load_f32(z + c), keep, mul(load_f32(more + c), take)));
    }
  }
}

void attend_finish(std::int64_t queries, std::int64_t rank, const float* state, float* z) {
  const AttendState from(queries, rank, const_cast<float*>(state));
  for (std::int64_t i = 0; i < queries; ++i, z += rank) {
    const F inverse = set1(1.0f / from.sum[i]);
    const float* unscaled = from.z + i * from.columns;
    std::int64_t c = 0;
    for (; c + kLanes <= rank; c += kLanes) store(z + c, mul(inverse, load_f32(unscaled + c)));
    if (c < rank) store(z + c, mul(inverse, load_f32(unscaled + c)), rank - c);
  }
}
