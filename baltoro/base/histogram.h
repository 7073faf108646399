// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace baltoro {

// How many observed values fall into each of some fixed buckets, and their sum: a Prometheus histogram. Copying one
// allocates nothing. Not thread-safe.
class Histogram {
 public:
  static constexpr std::size_t kMostBounds = 20;
  // `bounds`: upper ends of the buckets, ascending, at most kMostBounds; a last bucket without end follows. Must
  // outlive this: one of those below.
  explicit Histogram(std::span<const double> bounds);

  // Values that are not finite or below 0 count as 0.
  void observe(double value, std::int64_t times = 1);

  std::span<const double> bounds() const { return bounds_; }
  std::span<const std::int64_t> counts() const { return std::span(counts_).first(bounds_.size() + 1); }
  std::int64_t count() const;
  double sum() const { return sum_; }

 private:
  std::span<const double> bounds_;
  std::array<std::int64_t, kMostBounds + 1> counts_{};
  double sum_ = 0;
};

// Waits and answers, a millisecond to ten minutes.
inline constexpr double kWaitSeconds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                          1,     2.5,    5,     10,   25,    60,   120, 300,  600};
// Steps and the time between tokens, half a millisecond to ten seconds.
inline constexpr double kStepSeconds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                          0.2,    0.3,   0.5,    0.75,  1,    2.5,   5,    10};
// Parts of a step, a microsecond to 50 ms.
inline constexpr double kPartSeconds[] = {1e-6,   2.5e-6, 5e-6, 1e-5,   2.5e-5, 5e-5, 1e-4,
                                          2.5e-4, 5e-4,   1e-3, 2.5e-3, 5e-3,   1e-2, 5e-2};
// Lengths of prompts and answers.
inline constexpr double kTokenCounts[] = {1,    4,    16,   64,    128,   256,   512,    1024,
                                          2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144};
// What a step holds.
inline constexpr double kBatchSizes[] = {1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024, 2048, 4096};

}  // namespace baltoro
