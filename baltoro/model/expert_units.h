// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "baltoro/model/file_ranges.h"
#include "baltoro/model/streamed_weights.h"

namespace baltoro::model {

// The routed experts of a checkpoint in units of reading: one expert, or as many neighbours as make a read worth its
// trip to the disk. Units are numbered through all MoE layers.
class ExpertUnits {
 public:
  struct Unit {
    std::int32_t layer = 0;
    std::int32_t first = 0;  // experts [first, end)
    std::int32_t end = 0;
    std::vector<Extent> extents;                  // `at` from the slot's begin
    std::vector<std::array<std::int64_t, 6>> at;  // of each expert's ranges, from the slot's begin
    std::int64_t bytes() const {
      std::int64_t sum = 0;
      for (const Extent& extent : extents) sum += extent.bytes;
      return sum;
    }
  };

  ExpertUnits(const ModelConfig& config, const StreamedWeights& streamed);

  std::int64_t slot_bytes() const { return slot_bytes_; }    // of the largest unit
  std::int64_t max_extents() const { return max_extents_; }  // of a unit
  std::int32_t count() const { return static_cast<std::int32_t>(units_.size()); }
  std::int32_t per_layer() const { return per_layer_; }
  const Unit& operator[](std::int32_t unit) const { return units_[static_cast<std::size_t>(unit)]; }
  std::int32_t unit_of(std::int64_t layer, std::int32_t expert) const {
    return first_unit_[static_cast<std::size_t>(layer)] + expert / experts_per_unit_;
  }
  // Units [first, first + per_layer()) are those of this MoE layer.
  std::int32_t first_of(std::int64_t layer) const { return first_unit_[static_cast<std::size_t>(layer)]; }
  std::int64_t moe_layers() const { return count() / per_layer_; }
  // The MoE layer after this one; after the last, the first.
  std::int64_t next_layer(std::int64_t layer) const;
  // Slots that a token needs at once to be computed without reading anything twice.
  std::int64_t token_units(const ModelConfig& config) const;

 private:
  std::vector<Unit> units_;
  std::vector<std::int32_t> first_unit_;  // [L]; -1 for dense layers
  std::int32_t experts_per_unit_ = 1;
  std::int32_t per_layer_ = 0;
  std::int64_t slot_bytes_ = 0;
  std::int64_t max_extents_ = 0;
};

}  // namespace baltoro::model
