// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/expert_use.h"

#include <gtest/gtest.h>

#include <cmath>

namespace baltoro::model {
namespace {

// Four layers, the first one dense; eight experts, two of them a token, each a unit of its own.
class ExpertUseTest : public testing::Test {
 protected:
  static ModelConfig config() {
    ModelConfig config;
    config.num_hidden_layers = 4;
    config.n_routed_experts = 8;
    config.num_experts_per_tok = 2;
    return config;
  }
  static StreamedWeights places() {
    StreamedWeights places;
    places.experts.resize(4);
    std::int64_t at = 0;
    for (std::size_t l = 1; l < 4; ++l) {
      for (int e = 0; e < 8; ++e) {
        ExpertRanges& expert = places.experts[l].emplace_back();
        for (FileRange& range : expert.ranges) range = {.file = 0, .offset = at += kBytes, .bytes = kBytes};
      }
    }
    return places;
  }
  // So many tokens that all choose experts 0 and `other`.
  void choose(std::int64_t layer, std::int32_t other, std::int32_t tokens) {
    std::vector<std::int32_t> first_slot{0};
    for (std::int32_t e = 0; e < 8; ++e) first_slot.push_back(first_slot.back() + (e == 0 || e == other ? tokens : 0));
    use_.learn(layer, std::vector<std::int32_t>{0, other}, first_slot.data(), tokens);
  }
  std::int32_t unit(std::int64_t layer, std::int32_t expert) const { return units_.unit_of(layer, expert); }

  static constexpr std::int64_t kBytes = 1 << 20;
  const ExpertUnits units_{config(), places()};
  ExpertUse use_{config(), units_};
};

TEST_F(ExpertUseTest, BeginsAsIfAllWereChosenAlike) {
  ASSERT_EQ(units_.count(), 24);
  for (std::int32_t unit = 0; unit < 24; ++unit) EXPECT_FLOAT_EQ(use_.per_step(unit), 0.25f);
  use_.estimate(2, 3);
  EXPECT_FLOAT_EQ(use_.per_step(unit(2, 0)), 1 - 0.75f * 0.75f * 0.75f);
  EXPECT_FLOAT_EQ(use_.per_step(unit(3, 0)), 0.25f);
}

TEST_F(ExpertUseTest, LearnsAMeanThatForgets) {
  choose(1, 5, 1);
  EXPECT_NEAR(use_.per_step(unit(1, 5)), 0.25 * 63 / 64 + 1.0 / 64, 1e-6);
  EXPECT_NEAR(use_.per_step(unit(1, 6)), 0.25 * 63 / 64, 1e-6);
  EXPECT_FLOAT_EQ(use_.per_step(unit(2, 5)), 0.25f);
  choose(1, 5, 640);
  use_.estimate(1, 1);
  EXPECT_NEAR(use_.per_step(unit(1, 0)), 1, 1e-4);
  EXPECT_NEAR(use_.per_step(unit(1, 6)), 0, 1e-4);
  for (int token = 0; token < 640; ++token) choose(1, 6, 1);
  EXPECT_NEAR(use_.per_step(unit(1, 5)), 0, 1e-4);
  EXPECT_NEAR(use_.per_step(unit(1, 6)), 1, 1e-4);
}

TEST_F(ExpertUseTest, NextUseIsWaitingPlusTheWayToTheLayer) {
  EXPECT_DOUBLE_EQ(use_.next_use(unit(3, 0), 1, false), 3 + 0.5);
  EXPECT_DOUBLE_EQ(use_.next_use(unit(1, 0), 3, false), 3 + 0.5);
  EXPECT_DOUBLE_EQ(use_.next_use(unit(2, 0), 2, false), 3 + 1);
  EXPECT_DOUBLE_EQ(use_.next_use(unit(2, 0), 1, true), 0.25);
  choose(1, 5, 100000);  // an expert that nobody chooses is still used at some time
  EXPECT_TRUE(std::isfinite(use_.next_use(unit(1, 6), 2, false)));
  EXPECT_GT(use_.next_use(unit(1, 6), 2, false), 1000);
}

}  // namespace
}  // namespace baltoro::model
