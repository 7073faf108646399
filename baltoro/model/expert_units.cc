// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/expert_units.h"

#include <algorithm>

#include "baltoro/base/block_reader.h"
#include "baltoro/base/round_up.h"

namespace baltoro::model {
namespace {

// Smaller reads leave a disk's rate unused; larger units bring more neighbours that nobody asked for.
constexpr std::int64_t kWorthReading = 256 << 10;

std::int64_t bytes_of(const ExpertRanges& expert) {
  std::int64_t bytes = 0;
  for (const FileRange& range : expert.ranges) bytes += range.bytes;
  return bytes;
}

ExpertUnits::Unit make_unit(std::int64_t layer, std::int64_t first, std::span<const ExpertRanges> experts) {
  std::vector<FileRange> ranges;
  for (const ExpertRanges& expert : experts) ranges.insert(ranges.end(), expert.ranges.begin(), expert.ranges.end());
  RangeLayout layout = lay_out_ranges(ranges);
  ExpertUnits::Unit unit{.layer = static_cast<std::int32_t>(layer),
                         .first = static_cast<std::int32_t>(first),
                         .end = static_cast<std::int32_t>(first + static_cast<std::int64_t>(experts.size())),
                         .extents = std::move(layout.extents),
                         .at = {}};
  unit.at.resize(experts.size());
  for (std::size_t i = 0; i < layout.at.size(); ++i) unit.at[i / 6][i % 6] = layout.at[i];
  return unit;
}

}  // namespace

ExpertUnits::ExpertUnits(const ModelConfig& config, const StreamedWeights& streamed)
    : first_unit_(streamed.experts.size(), -1) {
  const std::int64_t experts = config.n_routed_experts;
  for (const auto& layer : streamed.experts) {
    if (layer.empty()) continue;
    const std::int64_t bytes = std::max<std::int64_t>(bytes_of(layer.front()), 1);
    experts_per_unit_ = static_cast<std::int32_t>(std::clamp<std::int64_t>(kWorthReading / bytes, 1, experts));
    break;
  }
  if (experts > 0) per_layer_ = static_cast<std::int32_t>((experts + experts_per_unit_ - 1) / experts_per_unit_);
  for (std::size_t l = 0; l < streamed.experts.size(); ++l) {
    const std::span<const ExpertRanges> layer = streamed.experts[l];
    if (layer.empty()) continue;
    first_unit_[l] = count();
    for (std::size_t first = 0; first < layer.size(); first += static_cast<std::size_t>(experts_per_unit_)) {
      const std::size_t n = std::min(static_cast<std::size_t>(experts_per_unit_), layer.size() - first);
      const Unit& unit = units_.emplace_back(
          make_unit(static_cast<std::int64_t>(l), static_cast<std::int64_t>(first), layer.subspan(first, n)));
      const Extent& last = unit.extents.back();
      slot_bytes_ = std::max(slot_bytes_, round_up(last.at + last.bytes, kReadAlignment));
      max_extents_ = std::max(max_extents_, static_cast<std::int64_t>(unit.extents.size()));
    }
  }
}

std::int64_t ExpertUnits::next_layer(std::int64_t layer) const {
  const auto layers = static_cast<std::int64_t>(first_unit_.size());
  for (std::int64_t step = 1; step <= layers; ++step) {
    const std::int64_t next = (layer + step) % layers;
    if (first_unit_[static_cast<std::size_t>(next)] >= 0) return next;
  }
  return layer;
}

std::int64_t ExpertUnits::token_units(const ModelConfig& config) const {
  return std::min<std::int64_t>(config.num_experts_per_tok, per_layer_);
}

}  // namespace baltoro::model
