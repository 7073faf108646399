// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/weight_pages.h"

#include <algorithm>
#include <utility>

#include "baltoro/base/machine_memory.h"
#include "baltoro/base/mapped_file.h"
#include "baltoro/model/checkpoint.h"

namespace baltoro::model {
namespace {

bool fits(const Weights& weights) {
  const auto memory = machine_memory();
  return memory.ok() && weights.files->file_bytes() <= static_cast<std::uint64_t>(memory->usable());
}

std::span<const std::byte> bytes_at(const std::byte* data, std::int64_t begin, std::int64_t end) {
  return {data + begin, static_cast<std::size_t>(end - begin)};
}

}  // namespace

WeightPages::WeightPages(const Weights& weights, std::unique_ptr<const WeightPlacement> placement)
    : weights_(weights), placement_(std::move(placement)) {
  if (weights.files == nullptr) return;  // made in memory, by a test
  const auto experts = static_cast<std::size_t>(weights.config.n_routed_experts);
  // A matrix has two parts; the rest of a layer is at most six of attention, a router and three of an FFN.
  const std::size_t parts = weights.layers.size() * (6 * experts + 20) + 2;
  const int nodes = placement_->nodes();
  for (int node = 0; node < nodes; ++node) {
    const std::span<const int> cpus = nodes > 1 ? placement_->cpus(node) : std::span<const int>{};
    ahead_.push_back(std::make_unique<ReadAhead>(parts, cpus));
  }
  asked_.resize(weights.layers.size() * experts);
  for (const LayerWeights& layer : weights.layers) ask_all_tokens(layer);
  ask_rows(weights.lm_head, When::kLater);
}

// All of w on one node.
void WeightPages::ask(int node, const tensor::MatrixView& w, When when) {
  ReadAhead& ahead = *ahead_[static_cast<std::size_t>(node)];
  for (const auto part : {bytes_at(w.data, 0, w.data_bytes()), bytes_at(w.scale, 0, w.scale_bytes())}) {
    when == When::kNow ? ahead.now(part) : ahead.later(part);
  }
}

// w's rows on their nodes. The scales, some percent of the bytes, are cut where the rows are.
void WeightPages::ask_rows(const tensor::MatrixView& w, When when) {
  for (int node = 0; node < placement_->nodes(); ++node) {
    ReadAhead& ahead = *ahead_[static_cast<std::size_t>(node)];
    const std::int64_t begin = placement_->first_row(node, w.rows), end = placement_->first_row(node + 1, w.rows);
    const std::int64_t bytes = w.scale_bytes();
    for (const auto part : {bytes_at(w.data, begin * w.row_bytes(), end * w.row_bytes()),
                            bytes_at(w.scale, bytes * begin / w.rows, bytes * end / w.rows)}) {
      when == When::kNow ? ahead.now(part) : ahead.later(part);
    }
  }
}

void WeightPages::ask_expert(const LayerWeights& layer, std::int64_t e, When when) {
  const FfnWeights& expert = layer.moe->experts[static_cast<std::size_t>(e)];
  const int node = placement_->node_of_expert(e, weights_.config.n_routed_experts);
  ask(node, expert.gate, when);
  ask(node, expert.up, when);
  ask_rows(expert.down, when);
}

void WeightPages::ask_shared(const FfnWeights& w) {
  for (const tensor::MatrixView* part : {&w.gate, &w.up, &w.down}) ask_rows(*part, When::kLater);
}

// What every token needs of a layer, in the order of a step.
void WeightPages::ask_all_tokens(const LayerWeights& layer) {
  visit_matrices(layer.attention, [this](const tensor::MatrixView& w) { ask_rows(w, When::kLater); });
  if (layer.dense) ask_shared(*layer.dense);
  if (layer.moe) ask_rows(layer.moe->router, When::kLater);
  if (layer.moe && layer.moe->shared) ask_shared(*layer.moe->shared);
}

void WeightPages::choose(std::int64_t layer, std::span<const std::int32_t> active) {
  if (ahead_.empty()) return;
  const auto experts = static_cast<std::size_t>(weights_.config.n_routed_experts);
  for (const std::int32_t e : active) {
    auto asked = asked_[static_cast<std::size_t>(layer) * experts + static_cast<std::size_t>(e)];
    if (asked) continue;
    asked = true;
    ask_expert(weights_.layers[static_cast<std::size_t>(layer)], e, When::kNow);
  }
}

void WeightPages::end_step() {
  if (ahead_.empty()) return;
  if (steps_done_) {
    if (!std::ranges::all_of(ahead_, [](const auto& ahead) { return ahead->idle(); })) return;
    ahead_.clear();
    for (const SafetensorsFile& shard : weights_.files->shards()) advise_normal(shard.bytes());
    return;
  }
  steps_done_ = true;
  if (!fits(weights_)) return;
  for (const LayerWeights& layer : weights_.layers) {
    if (!layer.moe) continue;
    for (std::int64_t e = 0; e < weights_.config.n_routed_experts; ++e) ask_expert(layer, e, When::kLater);
  }
}

std::int64_t WeightPages::finish() {
  std::int64_t bytes = 0;
  for (int node = 0; node < static_cast<int>(ahead_.size()); ++node) {
    ahead_[static_cast<std::size_t>(node)]->finish();
    bytes += bytes_of_node(node);
  }
  return bytes;
}

std::int64_t WeightPages::bytes_of_node(int node) const {
  return static_cast<std::int64_t>(ahead_[static_cast<std::size_t>(node)]->bytes_done());
}

}  // namespace baltoro::model
