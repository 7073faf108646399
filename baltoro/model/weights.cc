// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/weights.h"

#include <fmt/format.h>

#include <cmath>

#include "baltoro/model/binding.h"
#include "baltoro/model/place_weights.h"

namespace baltoro::model {
namespace {

// Room for every weight of the config, so that each can be put in its place.
void size_layers(Weights& weights) {
  const ModelConfig& c = weights.config;
  weights.layers.resize(static_cast<std::size_t>(c.num_hidden_layers));
  for (std::int64_t l = 0; l < c.num_hidden_layers; ++l) {
    LayerWeights& layer = weights.layers[static_cast<std::size_t>(l)];
    if (!c.is_moe_layer(l)) {
      layer.dense.emplace();
      continue;
    }
    MoeWeights& moe = layer.moe.emplace();
    moe.experts.resize(static_cast<std::size_t>(c.n_routed_experts));
    if (c.n_shared_experts > 0) moe.shared.emplace();
  }
}

tensor::MatrixView* matrix_slot(Weights& weights, const WeightSpec& spec) {
  if (spec.role == Role::kEmbed) return &weights.embed;
  if (spec.role == Role::kHead) return &weights.lm_head;
  LayerWeights& layer = weights.layers[static_cast<std::size_t>(spec.layer)];
  switch (spec.role) {
    case Role::kQA:
      return &layer.attention.q_a.emplace();
    case Role::kQB:
      return &layer.attention.q_b;
    case Role::kKvA:
      return &layer.attention.kv_a;
    case Role::kKvB:
      return &layer.attention.kv_b;
    case Role::kO:
      return &layer.attention.o;
    case Role::kDenseGate:
      return &layer.dense->gate;
    case Role::kDenseUp:
      return &layer.dense->up;
    case Role::kDenseDown:
      return &layer.dense->down;
    case Role::kRouter:
      return &layer.moe->router;
    case Role::kExpertGate:
      return &layer.moe->experts[static_cast<std::size_t>(spec.expert)].gate;
    case Role::kExpertUp:
      return &layer.moe->experts[static_cast<std::size_t>(spec.expert)].up;
    case Role::kExpertDown:
      return &layer.moe->experts[static_cast<std::size_t>(spec.expert)].down;
    case Role::kSharedGate:
      return &layer.moe->shared->gate;
    case Role::kSharedUp:
      return &layer.moe->shared->up;
    case Role::kSharedDown:
      return &layer.moe->shared->down;
    default:
      return nullptr;
  }
}

std::vector<float>* vector_slot(Weights& weights, const WeightSpec& spec) {
  if (spec.role == Role::kNorm) return &weights.norm;
  LayerWeights& layer = weights.layers[static_cast<std::size_t>(spec.layer)];
  switch (spec.role) {
    case Role::kInputNorm:
      return &layer.input_norm;
    case Role::kPostAttentionNorm:
      return &layer.post_attention_norm;
    case Role::kQANorm:
      return &layer.attention.q_a_norm;
    case Role::kKvANorm:
      return &layer.attention.kv_a_norm;
    case Role::kRouterBias:
      return &layer.moe->e_score_correction_bias;
    default:
      return nullptr;
  }
}

Status widen(const WeightSpec& spec, const tensor::MatrixView& view, std::vector<float>& out) {
  out.resize(static_cast<std::size_t>(view.rows));
  for (std::int64_t i = 0; i < view.rows; ++i) {
    const float value = tensor::matrix_element(view, i, 0);
    if (!std::isfinite(value)) {
      return Error{Errc::kCorrupt,
                   fmt::format("[checkpoint] {}: finite values expected, element {} is {}", spec.name, i, value)};
    }
    out[static_cast<std::size_t>(i)] = value;
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Weights>> place_weights(ModelConfig config, const Binding& binding) {
  auto weights = std::make_unique<Weights>();
  weights->config = std::move(config);
  size_layers(*weights);
  for (std::size_t i = 0; i < binding.specs.size(); ++i) {
    const WeightSpec& spec = binding.specs[i];
    if (is_vector(spec.role)) {
      BALTORO_TRY_STATUS(widen(spec, binding.stored[i].matrix, *vector_slot(*weights, spec)));
    } else {
      *matrix_slot(*weights, spec) = binding.stored[i].matrix;
    }
  }
  if (weights->config.tie_word_embeddings) weights->lm_head = weights->embed;
  return weights;
}

Result<std::unique_ptr<const Weights>> open_weights(const std::string& dir) {
  BALTORO_TRY(ModelConfig config, load_config(dir));
  BALTORO_TRY(std::shared_ptr<const Checkpoint> files, Checkpoint::open(dir));
  const Binding binding = bind(config, *files);
  BALTORO_TRY_STATUS(check_problems(binding, dir));
  BALTORO_TRY(std::unique_ptr<Weights> weights, place_weights(std::move(config), binding));
  weights->files = std::move(files);
  return std::unique_ptr<const Weights>(std::move(weights));
}

}  // namespace baltoro::model
