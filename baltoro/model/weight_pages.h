// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "baltoro/base/read_ahead.h"
#include "baltoro/model/weight_placement.h"
#include "baltoro/model/weights.h"

namespace baltoro::model {

// Brings mapped weights into memory in the order in which steps need them, so that the first token of a cold start
// takes the time to read what it needs, not a page fault after another. At once: what every token needs, layer by
// layer. Then the routed experts that steps choose, as soon as they are known. After the first step: the other experts,
// if all weights fit into memory. Each part is read by its node's threads, which places it there unless the page cache
// had it already. One thread.
class WeightPages {
 public:
  WeightPages(const Weights& weights, std::unique_ptr<const WeightPlacement> placement);

  // The first step will need experts active[0..] of `layer` now.
  void choose(std::int64_t layer, std::span<const std::int32_t> active);
  void end_step();
  // Waits for what has been asked for. Returns its bytes since the start; 0 once nothing is left to do.
  std::int64_t finish();
  std::int64_t bytes_of_node(int node) const;  // of those

 private:
  enum class When : bool { kNow, kLater };
  void ask(int node, const tensor::MatrixView& w, When when);
  void ask_rows(const tensor::MatrixView& w, When when);
  void ask_expert(const LayerWeights& layer, std::int64_t e, When when);
  void ask_shared(const FfnWeights& w);
  void ask_all_tokens(const LayerWeights& layer);

  const Weights& weights_;
  std::unique_ptr<const WeightPlacement> placement_;
  std::vector<std::unique_ptr<ReadAhead>> ahead_;  // one a node, until everything is there
  bool steps_done_ = false;
  std::vector<bool> asked_;  // [L, E]
};

}  // namespace baltoro::model
