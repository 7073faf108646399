// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/step_cost.h"

namespace baltoro::cli {
namespace {

using tensor::MatrixView;

std::int64_t bytes_of(const MatrixView& w) { return w.data_bytes() + w.scale_bytes(); }
std::int64_t bytes_of(const model::FfnWeights& w) { return bytes_of(w.gate) + bytes_of(w.up) + bytes_of(w.down); }
std::int64_t size_of(const MatrixView& w) { return w.rows * w.cols; }
std::int64_t size_of(const model::FfnWeights& w) { return size_of(w.gate) + size_of(w.up) + size_of(w.down); }

// All of the attention's weights but kv_a: what a token needs to ask, not to be asked.
std::int64_t query_bytes(const model::MlaWeights& w) {
  std::int64_t sum = -bytes_of(w.kv_a);
  model::visit_matrices(w, [&sum](const MatrixView& matrix) { sum += bytes_of(matrix); });
  return sum;
}
std::int64_t query_size(const model::MlaWeights& w) {
  std::int64_t sum = -size_of(w.kv_a);
  model::visit_matrices(w, [&sum](const MatrixView& matrix) { sum += size_of(matrix); });
  return sum;
}

// The attention of one layer: `tokens` write their KV row, `asking` of them attend to `attended` rows, `read` distinct.
// kv_b is counted as two products a token: it absorbs the query and unfolds the mixed latent.
struct AttentionRows {
  std::int64_t tokens, asking, attended, read;
};
void add_attention(const model::MlaWeights& w, const model::ModelConfig& config, const AttentionRows& rows,
                   std::int64_t kv_element_bytes, StepCost& cost) {
  cost.weight_bytes += bytes_of(w.kv_a) + (rows.asking > 0 ? query_bytes(w) : 0);
  cost.linear_flop += 2 * (rows.tokens * size_of(w.kv_a) + rows.asking * query_size(w));
  cost.attention_flop += 2 * rows.attended * config.num_attention_heads * (config.kv_dim() + config.kv_lora_rank);
  cost.kv_bytes += (rows.read + rows.tokens) * config.kv_dim() * kv_element_bytes;
}

// The FFN of one layer for `tokens` tokens.
void add_ffn(const model::LayerWeights& layer, const model::ModelConfig& config, std::int64_t tokens,
             std::int64_t experts_touched, StepCost& cost) {
  if (layer.dense) {
    cost.weight_bytes += bytes_of(*layer.dense);
    cost.linear_flop += 2 * tokens * size_of(*layer.dense);
    return;
  }
  const model::MoeWeights& moe = *layer.moe;
  cost.weight_bytes += bytes_of(moe.router) + experts_touched * bytes_of(moe.experts.front());
  cost.linear_flop += 2 * tokens * (size_of(moe.router) + config.num_experts_per_tok * size_of(moe.experts.front()));
  if (moe.shared) {
    cost.weight_bytes += bytes_of(*moe.shared);
    cost.linear_flop += 2 * tokens * size_of(*moe.shared);
  }
}

}  // namespace

StepCost& StepCost::operator+=(const StepCost& other) {
  weight_bytes += other.weight_bytes;
  kv_bytes += other.kv_bytes;
  linear_flop += other.linear_flop;
  attention_flop += other.attention_flop;
  return *this;
}

StepCost step_cost(const model::Weights& weights, const StepShape& shape, std::int64_t kv_element_bytes) {
  const model::ModelConfig& config = weights.config;
  StepCost cost;
  cost.weight_bytes = shape.tokens * weights.embed.row_bytes();
  for (std::size_t l = 0; l < weights.layers.size(); ++l) {
    const model::LayerWeights& layer = weights.layers[l];
    const bool last = l + 1 == weights.layers.size();
    const AttentionRows rows =
        last ? AttentionRows{shape.tokens, shape.logit_rows, shape.last_attended_rows, shape.last_kv_rows}
             : AttentionRows{shape.tokens, shape.tokens, shape.attended_rows, shape.kv_rows};
    add_attention(layer.attention, config, rows, kv_element_bytes, cost);
    const std::int64_t ffn_tokens = last ? shape.logit_rows : shape.tokens;
    if (ffn_tokens > 0) add_ffn(layer, config, ffn_tokens, shape.experts_touched[l], cost);
  }
  if (shape.logit_rows > 0) {
    cost.weight_bytes += bytes_of(weights.lm_head);
    cost.linear_flop += 2 * shape.logit_rows * size_of(weights.lm_head);
  }
  return cost;
}

ExpertCount::ExpertCount(const model::ModelConfig& config, std::span<const std::int32_t> logit_rows)
    : config_(config), logit_rows_(logit_rows), touched_(static_cast<std::size_t>(config.num_hidden_layers), 0) {}

model::Trace ExpertCount::trace() {
  model::Trace trace;
  trace.routing = [this](std::int64_t layer, std::span<const std::int32_t> experts, std::span<const float>) {
    count(layer, experts);
  };
  return trace;
}

void ExpertCount::count(std::int64_t layer, std::span<const std::int32_t> experts) {
  seen_.assign(static_cast<std::size_t>(config_.n_routed_experts), false);
  const auto chosen = static_cast<std::size_t>(config_.num_experts_per_tok);
  std::int64_t distinct = 0;
  const auto look = [&](std::size_t row) {
    for (const std::int32_t expert : experts.subspan(row * chosen, chosen)) {
      if (seen_[static_cast<std::size_t>(expert)]) continue;
      seen_[static_cast<std::size_t>(expert)] = true;
      ++distinct;
    }
  };
  if (layer + 1 == config_.num_hidden_layers) {
    for (const std::int32_t row : logit_rows_) look(static_cast<std::size_t>(row));
  } else {
    for (std::size_t row = 0; row < experts.size() / chosen; ++row) look(row);
  }
  touched_[static_cast<std::size_t>(layer)] = distinct;
}

}  // namespace baltoro::cli
