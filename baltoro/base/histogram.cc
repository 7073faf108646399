// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/histogram.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "baltoro/base/check.h"

namespace baltoro {

Histogram::Histogram(std::span<const double> bounds) : bounds_(bounds) {
  BALTORO_CHECK(bounds.size() <= kMostBounds && std::is_sorted(bounds.begin(), bounds.end()),
                "a histogram's bounds ascend and are few");
}

void Histogram::observe(double value, std::int64_t times) {
  if (!std::isfinite(value) || value < 0) value = 0;
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<std::size_t>(bucket)] += times;
  sum_ += value * static_cast<double>(times);
}

std::int64_t Histogram::count() const { return std::accumulate(counts_.begin(), counts_.end(), std::int64_t{0}); }

}  // namespace baltoro
