// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/step_pace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace baltoro::engine {
namespace {

TEST(StepPace, LinesBetweenSizesAndProportionsOutside) {
  StepPace pace;
  EXPECT_EQ(pace.tokens_within(1, 77), 77);
  pace.add(512, 4);
  EXPECT_EQ(pace.tokens_within(1, 77), 128);    // in proportion below
  EXPECT_EQ(pace.tokens_within(6, 77), 768);    // and above
  EXPECT_EQ(pace.tokens_within(60, 77), 1024);  // but not far
  pace.add(2, 0.5);
  EXPECT_EQ(pace.tokens_within(1, 77), 2 + 72);  // 0.5 of 3.5 seconds over 510 tokens
  EXPECT_EQ(pace.tokens_within(0.1, 77), 0);
}

TEST(StepPace, OneSlowStepIsForgotten) {
  StepPace pace;
  for (int i = 0; i < 20; ++i) {
    pace.add(1, 0.1);
    pace.add(256, 0.5);
  }
  pace.add(256, 60);  // a disk that slept
  EXPECT_LT(pace.tokens_within(1, 77), 256);
  for (int i = 0; i < 200; ++i) {
    const std::int64_t tokens = std::max<std::int64_t>(1, pace.tokens_within(1, 77));
    pace.add(tokens, 0.1 + 0.4 * static_cast<double>(tokens) / 256);
  }
  EXPECT_GT(pace.tokens_within(1, 77), 256);
}

// Whatever a step costs, as long as it grows with its tokens: after a while its estimate keeps to the bound and uses
// most of it.
TEST(StepPace, SettlesUnderTheBoundForConcaveAndConvexCosts) {
  std::mt19937 random(1);
  for (const double power : {0.4, 0.7, 1.0, 1.4}) {
    for (const double fixed : {0.0, 0.05, 0.2}) {
      SCOPED_TRACE(testing::Message() << power << " " << fixed);
      const auto cost = [&](std::int64_t tokens) {
        return fixed + 2 * std::pow(static_cast<double>(tokens) / 512, power);
      };
      StepPace pace;
      pace.add(512, cost(512));
      std::uniform_real_distribution<double> noise(0.97, 1.03);
      double worst = 0, last = 0;
      for (int i = 0; i < 400; ++i) {
        const std::int64_t tokens = std::max<std::int64_t>(1, pace.tokens_within(1, 512));
        last = cost(tokens) * noise(random);
        if (i >= 50) worst = std::max(worst, last);
        pace.add(tokens, last);
      }
      EXPECT_LT(worst, 1.25);
      EXPECT_GT(last, 0.45);
    }
  }
}

}  // namespace
}  // namespace baltoro::engine
