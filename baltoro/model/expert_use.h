// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "baltoro/model/expert_units.h"

namespace baltoro::model {

// How soon each unit of experts is likely to be used again, learned per layer from what the router chose. p is the mean
// share of the last kMemoryTokens tokens or so that used the unit, in the beginning as if all experts were chosen
// alike; a step of n tokens uses it with probability q = 1 - (1 - p)^n. Not to be used by two threads at once.
class ExpertUse {
 public:
  // `units` must outlive this.
  ExpertUse(const ModelConfig& config, const ExpertUnits& units);

  // What a step's tokens chose of a layer: experts `active`, each by first_slot[e + 1] - first_slot[e] tokens. Sets q
  // for so many tokens.
  void learn(std::int64_t layer, std::span<const std::int32_t> active, const std::int32_t* first_slot,
             std::int64_t tokens);
  // Sets q of a layer for a step of so many tokens.
  void estimate(std::int64_t layer, std::int64_t tokens);

  float per_step(std::int32_t unit) const { return use_[static_cast<std::size_t>(unit)].per_step; }  // q
  // Steps from layer `from` until the unit is expected to be used: (1 - q) / q, and the part of a step until its layer
  // comes; for a unit of `from` that is a whole one. `sure`: as if q were 1.
  double next_use(std::int32_t unit, std::int64_t from, bool sure) const;

 private:
  struct Use {
    float per_token = 0;  // p
    float per_step = 0;   // q
  };
  std::span<Use> of_layer(std::int64_t layer);

  const ExpertUnits& units_;
  std::int64_t layers_;
  std::vector<Use> use_;
};

}  // namespace baltoro::model
