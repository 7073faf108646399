// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/expert_use.h"

#include <algorithm>
#include <cmath>

namespace baltoro::model {
namespace {

constexpr double kMemoryTokens = 64;

}  // namespace

ExpertUse::ExpertUse(const ModelConfig& config, const ExpertUnits& units)
    : units_(units), layers_(config.num_hidden_layers), use_(static_cast<std::size_t>(units.count())) {
  const float even = static_cast<float>(config.num_experts_per_tok) / static_cast<float>(config.n_routed_experts);
  for (Use& use : use_) use.per_token = use.per_step = even;
}

std::span<ExpertUse::Use> ExpertUse::of_layer(std::int64_t layer) {
  return std::span(use_).subspan(static_cast<std::size_t>(units_.first_of(layer)),
                                 static_cast<std::size_t>(units_.per_layer()));
}

void ExpertUse::learn(std::int64_t layer, std::span<const std::int32_t> active, const std::int32_t* first_slot,
                      std::int64_t tokens) {
  const double kept = std::pow(1 - 1 / kMemoryTokens, static_cast<double>(tokens));
  for (Use& use : of_layer(layer)) use.per_token *= static_cast<float>(kept);
  for (const std::int32_t e : active) {
    const auto chosen = static_cast<double>(first_slot[e + 1] - first_slot[e]);
    Use& use = use_[static_cast<std::size_t>(units_.unit_of(layer, e))];
    const double more = use.per_token + (1 - kept) * chosen / static_cast<double>(tokens);
    use.per_token = static_cast<float>(std::min(more, 1.0));
  }
  estimate(layer, tokens);
}

void ExpertUse::estimate(std::int64_t layer, std::int64_t tokens) {
  for (Use& use : of_layer(layer)) {
    const double missed = std::pow(1 - static_cast<double>(use.per_token), static_cast<double>(tokens));
    use.per_step = static_cast<float>(1 - missed);
  }
}

double ExpertUse::next_use(std::int32_t unit, std::int64_t from, bool sure) const {
  std::int64_t distance = (units_[unit].layer - from + layers_) % layers_;
  if (distance == 0) distance = layers_;
  const double q = sure ? 1 : std::max(1e-6, static_cast<double>(per_step(unit)));
  return (1 - q) / q + static_cast<double>(distance) / static_cast<double>(layers_);
}

}  // namespace baltoro::model
