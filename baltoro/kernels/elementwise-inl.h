// SPDX-License-Identifier: Apache-2.0
// Norm, activation and conversions. Ragged ends go through a padded vector, so every element sees the same operations.

inline F sum_of_squares(const float* x, std::int64_t n) {
  F sums[4] = {zero(), zero(), zero(), zero()};
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int k = 0; k < 4; ++k) {
      const F value = load_f32(x + i + k * kLanes);
      sums[k] = fma(value, value, sums[k]);
    }
  }
  for (; i < n; i += kLanes) {
    const F value = n - i < kLanes ? load_f32(x + i, n - i) : load_f32(x + i);
    sums[0] = fma(value, value, sums[0]);
  }
  return add(add(sums[0], sums[1]), add(sums[2], sums[3]));
}

void rmsnorm(const float* x, const float* w, float eps, float* y, std::int64_t n) {
  const float mean = sum_of_lanes(sum_of_squares(x, n)) / static_cast<float>(n);
  const F inverse = set1(1.0f / __builtin_sqrtf(mean + eps));
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, mul(mul(load_f32(x + i), inverse), load_f32(w + i)));
  if (i < n) store(y + i, mul(mul(load_f32(x + i, n - i), inverse), load_f32(w + i, n - i)), n - i);
}

[[gnu::always_inline]] inline F silu_times(F gate, F up) {
  return mul(div(gate, add(set1(1.0f), exp(sub(zero(), gate)))), up);
}

void silu_mul(const float* gate, const float* up, float* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, silu_times(load_f32(gate + i), load_f32(up + i)));
  if (i < n) store(y + i, silu_times(load_f32(gate + i, n - i), load_f32(up + i, n - i)), n - i);
}

float largest(const float* x, std::int64_t n, bool* finite) {
  F highest[4], none[4];  // 0 x is NaN where x is not finite
  for (int k = 0; k < 4; ++k) highest[k] = set1(x[0]), none[k] = zero();
  std::int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int k = 0; k < 4; ++k) {
      const F value = load_f32(x + i + k * kLanes);
      highest[k] = max(highest[k], value);
      none[k] = fma(value, zero(), none[k]);
    }
  }
  float most = max_of_lanes(max(max(highest[0], highest[1]), max(highest[2], highest[3])));
  float nothing = sum_of_lanes(add(add(none[0], none[1]), add(none[2], none[3])));
  for (; i < n; ++i) {
    most = x[i] > most ? x[i] : most;
    nothing += x[i] * 0.0f;
  }
  if (finite != nullptr) *finite = nothing == 0;
  return most;
}

void softmax_weights(const float* x, float maximum, float temperature, float* y, std::int64_t n) {
  const F most = set1(maximum), scale = set1(temperature);
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, exp(div(sub(load_f32(x + i), most), scale)));
  if (i < n) store(y + i, exp(div(sub(load_f32(x + i, n - i), most), scale)), n - i);
}

void add(const float* x, float* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, add(load_f32(y + i), load_f32(x + i)));
  for (; i < n; ++i) y[i] += x[i];
}

void to_bf16(const float* x, bf16* y, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_bf16(y + i, load_f32(x + i));
  for (; i < n; ++i) y[i] = tensor::f32_to_bf16(x[i]);
}

[[gnu::always_inline]] inline F rotated(F x, F cos, F sin) { return fma_sub_add(x, cos, mul(swap_pairs(x), sin)); }

void rope(float* x, const float* cos, const float* sin, std::int64_t n) {
  constexpr int kPairs = kLanes / 2;
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    store(x + i, rotated(load_f32(x + i), load_doubled(cos + i / 2), load_doubled(sin + i / 2)));
  }
  const std::int64_t rest = n / 2 * 2 - i;
  if (rest == 0) return;
  float angles[2][kPairs] = {};
  __builtin_memcpy(angles[0], cos + i / 2, static_cast<std::size_t>(rest) * 2);
  __builtin_memcpy(angles[1], sin + i / 2, static_cast<std::size_t>(rest) * 2);
  store(x + i, rotated(load_f32(x + i, rest), load_doubled(angles[0]), load_doubled(angles[1])), rest);
}
