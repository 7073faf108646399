// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "baltoro/model/decoder.h"
#include "baltoro/model/weights.h"

namespace baltoro::cli {

// Work of one or more steps of a decoder: what must be moved and computed at least, whatever the implementation.
struct StepCost {
  std::int64_t weight_bytes = 0;    // each weight that takes part, read once a step, in its stored format
  std::int64_t kv_bytes = 0;        // each sequence's KV rows, read once a layer and step, and the new rows written
  std::int64_t linear_flop = 0;     // 2 per multiply-add of the products with weights
  std::int64_t attention_flop = 0;  // 2 per multiply-add of scores and mixed values; norms and softmax are left out
  std::int64_t bytes() const { return weight_bytes + kv_bytes; }
  std::int64_t flop() const { return linear_flop + attention_flop; }
  StepCost& operator+=(const StepCost& other);
};

// One step as its cost sees it. The last layer needs queries, attention and FFN only for tokens whose logits are
// wanted.
struct StepShape {
  std::int64_t tokens = 0;  // T
  std::int64_t logit_rows = 0;
  std::int64_t kv_rows = 0;                        // over all sequences, rows there are after the step
  std::int64_t attended_rows = 0;                  // over all tokens, positions each attends to
  std::int64_t last_kv_rows = 0;                   // kv_rows of sequences with tokens whose logits are wanted
  std::int64_t last_attended_rows = 0;             // attended_rows of those tokens
  std::vector<std::int64_t> experts_touched = {};  // per layer: distinct routed experts; 0 for dense layers
};

StepCost step_cost(const model::Weights& weights, const StepShape& shape, std::int64_t kv_element_bytes);

// Counts the distinct experts of a step, layer by layer, through a trace of it. The decoder computes only the rows of
// the last layer's FFN whose logits are wanted, so the count of the last layer looks at those rows alone.
class ExpertCount {
 public:
  ExpertCount(const model::ModelConfig& config, std::span<const std::int32_t> logit_rows);
  model::Trace trace();  // valid as long as this
  const std::vector<std::int64_t>& touched() const { return touched_; }

 private:
  void count(std::int64_t layer, std::span<const std::int32_t> experts);
  const model::ModelConfig& config_;
  std::span<const std::int32_t> logit_rows_;
  std::vector<std::int64_t> touched_;  // [L]
  std::vector<bool> seen_;             // [E]
};

}  // namespace baltoro::cli
