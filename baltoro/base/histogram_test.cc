// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/histogram.h"

#include <gtest/gtest.h>

#include <limits>

namespace baltoro {
namespace {

constexpr double kBounds[] = {1, 2, 5};

TEST(Histogram, ABoundBelongsToItsBucket) {
  Histogram h(kBounds);
  h.observe(0.5);
  h.observe(1);
  h.observe(1.5, 3);
  h.observe(5);
  h.observe(7, 2);
  const std::int64_t want[] = {2, 3, 1, 2};
  EXPECT_TRUE(std::equal(h.counts().begin(), h.counts().end(), std::begin(want), std::end(want)));
  EXPECT_EQ(h.count(), 8);
  EXPECT_DOUBLE_EQ(h.sum(), 0.5 + 1 + 4.5 + 5 + 14);
}

TEST(Histogram, OddValuesCountAsZero) {
  Histogram h(kBounds);
  h.observe(std::numeric_limits<double>::quiet_NaN());
  h.observe(std::numeric_limits<double>::infinity());
  h.observe(-3);
  EXPECT_EQ(h.counts()[0], 3);
  EXPECT_EQ(h.sum(), 0);
}

}  // namespace
}  // namespace baltoro
