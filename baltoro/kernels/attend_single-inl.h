// SPDX-License-Identifier: Apache-2.0
// Attention in f32 products, and what every attention of vectors shares: folding parts and dividing by the sum.

// Steps of one f32: the cache is F32, or BF16 that is widened.
template <typename X>
struct AttendSingles : SingleSteps {
  using Element = X;
  static F load(const X* p) { return load_x(p); }
  static F load(const X* p, std::int64_t n) { return load_x(p, n); }
  static F join(F (&weights)[1]) { return weights[0]; }
  static void pack(const X* row, const X*, float* to) {
    for (std::int64_t c = 0; c < kSliceColumns; c += kLanes) store(to + c, load_x(row + c));
  }
  static void pack(const X* row, const X*, std::int64_t columns, float* to) {
    for (std::int64_t c = 0; c < kSliceColumns; c += kLanes) {
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
  for_groups(to.lanes, [&](const Group& group) {
    for (std::int64_t v = 0; v < group.width; v += kLanes) {
      const F keep = load_f32(factors[0] + group.begin + v), take = load_f32(factors[1] + group.begin + v);
      float* z = to.group_z(group) + v;
      const float* more = from.group_z(group) + v;
      for (std::int64_t i = 0; i < to.columns * group.width; i += group.width) {
        store(z + i, fma(load_f32(z + i), keep, mul(load_f32(more + i), take)));
      }
    }
  });
}

void attend_finish(std::int64_t queries, std::int64_t rank, const float* state, float* z) {
  const AttendState from(queries, rank, const_cast<float*>(state));
  for_groups(from.lanes, [&](const Group& group) {
    for (std::int64_t lane = 0; lane < group.width; lane += kLanes) {
      const std::int64_t first = group.begin + lane;
      const F inverse = div(set1(1.0f), load_f32(from.sum + first));
      for (std::int64_t c = 0; c < rank; c += kLanes) {
        F tile[kLanes];
        for (int i = 0; i < kLanes; ++i) {
          tile[i] = mul(inverse, load_f32(from.group_z(group) + (c + i) * group.width + lane));
        }
        transpose(tile);
        for (int i = 0; i < kLanes && first + i < queries; ++i) {
          float* to = z + (first + i) * rank + c;
          rank - c < kLanes ? store(to, tile[i], rank - c) : store(to, tile[i]);
        }
      }
    }
  });
}
