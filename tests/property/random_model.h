// SPDX-License-Identifier: Apache-2.0
// Small models with random shapes, storage formats and weights, in memory: for tests that need no files.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <vector>

#include "baltoro/model/weights.h"

namespace baltoro::test {

using Random = std::mt19937_64;

inline std::int64_t uniform(Random& random, std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(high - low + 1));
}

// Owns what the views of `weights` point to.
struct RandomModel {
  model::Weights weights;
  std::deque<std::vector<std::byte>> storage;
};

// Fills one matrix after the other. Values have the size that keeps a random network's activations near 1.
class RandomMatrices {
 public:
  RandomMatrices(Random& random, RandomModel& model) : random_(random), model_(model) {}

  tensor::MatrixView matrix(std::int64_t rows, std::int64_t cols, tensor::WeightFormat format) {
    tensor::MatrixView w{.format = format, .rows = rows, .cols = cols};
    const float size = 1.5f / std::sqrt(static_cast<float>(cols));
    switch (format) {
      case tensor::WeightFormat::kFp8Block:
        return fp8(w, size);
      case tensor::WeightFormat::kInt4Group:
        return int4(w, size);
      default:
        return plain(w, size);
    }
  }

  // Any format that a matrix with these columns can have.
  tensor::MatrixView any(std::int64_t rows, std::int64_t cols) {
    using enum tensor::WeightFormat;
    constexpr tensor::WeightFormat kFormats[] = {kBF16, kBF16, kF32, kF16, kFp8Block, kInt4Group, kInt4Group};
    const auto format = kFormats[uniform(random_, 0, 6)];
    return matrix(rows, cols, format == kInt4Group && cols % 8 != 0 ? kBF16 : format);
  }

  std::vector<float> vector(std::int64_t n, float mean, float spread) {
    std::vector<float> values(static_cast<std::size_t>(n));
    for (float& value : values) value = mean + spread * normal_(random_);
    return values;
  }

  model::FfnWeights ffn(std::int64_t hidden, std::int64_t width) {
    return {.gate = any(width, hidden), .up = any(width, hidden), .down = any(hidden, width)};
  }

 private:
  std::byte* bytes(std::int64_t n) {
    // One byte in front now and then: file data has no alignment.
    const std::int64_t offset = uniform(random_, 0, 1);
    return model_.storage.emplace_back(static_cast<std::size_t>(n + offset)).data() + offset;
  }

  template <typename T>
  static void put(std::byte* data, std::int64_t i, T value) {
    std::memcpy(data + i * static_cast<std::int64_t>(sizeof(T)), &value, sizeof(T));
  }

  tensor::MatrixView plain(tensor::MatrixView w, float size) {
    std::byte* data = bytes(w.data_bytes());
    for (std::int64_t i = 0; i < w.rows * w.cols; ++i) {
      const float value = size * normal_(random_);
      if (w.format == tensor::WeightFormat::kF32) put(data, i, value);
      if (w.format == tensor::WeightFormat::kBF16) put(data, i, tensor::f32_to_bf16(value));
      if (w.format == tensor::WeightFormat::kF16) put(data, i, tensor::f32_to_f16(value));
    }
    w.data = data;
    return w;
  }

  tensor::MatrixView fp8(tensor::MatrixView w, float size) {
    w.block_rows = w.block_cols = static_cast<std::int32_t>(uniform(random_, 0, 1) == 0 ? 128 : 16);
    std::byte* data = bytes(w.data_bytes());
    for (std::int64_t i = 0; i < w.rows * w.cols; ++i) put(data, i, tensor::f32_to_f8e4m3(100 * normal_(random_)));
    std::byte* scale = bytes(w.scale_bytes());
    for (std::int64_t i = 0; i < w.scale_bytes() / 4; ++i) put(scale, i, size / 100 * spread_(random_));
    w.data = data;
    w.scale = scale;
    return w;
  }

  tensor::MatrixView int4(tensor::MatrixView w, float size) {
    w.group = w.cols % 32 == 0 ? 32 : 8;
    w.scale_dtype = uniform(random_, 0, 3) == 0 ? tensor::DType::kF32 : tensor::DType::kBF16;
    std::byte* data = bytes(w.data_bytes());
    for (std::int64_t i = 0; i < w.data_bytes(); ++i) put(data, i, static_cast<std::uint8_t>(random_()));
    std::byte* scale = bytes(w.scale_bytes());
    for (std::int64_t i = 0; i < w.rows * w.scale_cols(); ++i) {
      const float value = size / 4.6f * spread_(random_);  // 4.6: RMS of the 16 codes
      if (w.scale_dtype == tensor::DType::kF32) put(scale, i, value);
      if (w.scale_dtype == tensor::DType::kBF16) put(scale, i, tensor::f32_to_bf16(value));
    }
    w.data = data;
    w.scale = scale;
    return w;
  }

  Random& random_;
  RandomModel& model_;
  std::normal_distribution<float> normal_{0.0f, 1.0f};
  std::uniform_real_distribution<float> spread_{0.5f, 1.5f};
};

// A config of this family with small random dimensions, many of them no multiple of any vector width.
inline model::ModelConfig random_config(Random& random) {
  const auto pick = [&random](std::int64_t low, std::int64_t high) { return uniform(random, low, high); };
  model::ModelConfig c;
  c.model_type = "kimi_k2";
  c.vocab_size = pick(20, 90);
  c.hidden_size = pick(0, 2) == 0 ? pick(17, 90) : 32 * pick(1, 4);
  c.num_hidden_layers = pick(1, 3);
  c.num_attention_heads = pick(1, 5);
  if (pick(0, 2) != 0) c.q_lora_rank = pick(0, 1) == 0 ? 32 * pick(1, 2) : pick(5, 60);
  c.kv_lora_rank = pick(0, 1) == 0 ? 32 * pick(1, 3) : pick(5, 70);
  c.qk_nope_head_dim = pick(0, 1) == 0 ? 32 : pick(3, 40);
  c.qk_rope_head_dim = 2 * pick(1, 12);
  c.v_head_dim = pick(3, 40);
  c.intermediate_size = pick(0, 1) == 0 ? 32 * pick(1, 4) : pick(9, 100);
  c.moe_intermediate_size = pick(0, 1) == 0 ? 32 * pick(1, 2) : pick(9, 70);
  c.n_group = pick(0, 1) == 0 ? 1 : 4;
  c.n_routed_experts = c.n_group * (c.n_group == 1 ? pick(2, 20) : pick(2, 5));
  c.topk_group = c.n_group == 1 ? 1 : 2;
  c.num_experts_per_tok = pick(1, std::min<std::int64_t>(5, c.n_routed_experts / c.n_group * c.topk_group));
  c.n_shared_experts = pick(0, 2);
  c.first_k_dense_replace = pick(0, c.num_hidden_layers);
  c.norm_topk_prob = pick(0, 3) != 0;
  c.routed_scaling_factor = 2.5;
  c.rms_norm_eps = 1e-5;
  c.rope_theta = 50000;
  if (pick(0, 1) == 0) {
    c.yarn =
        model::YarnConfig{.factor = 32, .beta_fast = 1, .mscale_all_dim = 1, .original_max_position_embeddings = 64};
  }
  c.max_position_embeddings = 4096;
  return c;
}

inline model::MlaWeights random_mla(const model::ModelConfig& c, RandomMatrices& make) {
  model::MlaWeights w;
  if (c.q_lora_rank) {
    w.q_a = make.any(*c.q_lora_rank, c.hidden_size);
    w.q_a_norm = make.vector(*c.q_lora_rank, 1, 0.1f);
  }
  w.q_b = make.any(c.num_attention_heads * c.qk_head_dim(), c.q_lora_rank.value_or(c.hidden_size));
  w.kv_a = make.any(c.kv_dim(), c.hidden_size);
  w.kv_a_norm = make.vector(c.kv_lora_rank, 1, 0.1f);
  w.kv_b = make.any(c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank);
  w.o = make.any(c.hidden_size, c.num_attention_heads * c.v_head_dim);
  return w;
}

inline model::MoeWeights random_moe(const model::ModelConfig& c, RandomMatrices& make) {
  model::MoeWeights w;
  w.router = make.matrix(c.n_routed_experts, c.hidden_size, tensor::WeightFormat::kBF16);
  w.e_score_correction_bias = make.vector(c.n_routed_experts, 0, 0.2f);
  for (std::int64_t e = 0; e < c.n_routed_experts; ++e) {
    w.experts.push_back(make.ffn(c.hidden_size, c.moe_intermediate_size));
  }
  if (c.n_shared_experts > 0) w.shared = make.ffn(c.hidden_size, c.moe_intermediate_size * c.n_shared_experts);
  return w;
}

inline std::shared_ptr<const model::Weights> random_weights(const model::ModelConfig& config, Random& random) {
  auto owner = std::make_shared<RandomModel>();
  RandomMatrices make(random, *owner);
  model::Weights& w = owner->weights;
  w.config = config;
  w.embed = make.matrix(config.vocab_size, config.hidden_size, tensor::WeightFormat::kBF16);
  for (std::int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    model::LayerWeights& l = w.layers.emplace_back();
    l.input_norm = make.vector(config.hidden_size, 1, 0.1f);
    l.post_attention_norm = make.vector(config.hidden_size, 1, 0.1f);
    l.attention = random_mla(config, make);
    if (config.is_moe_layer(layer)) {
      l.moe = random_moe(config, make);
    } else {
      l.dense = make.ffn(config.hidden_size, config.intermediate_size);
    }
  }
  w.norm = make.vector(config.hidden_size, 1, 0.1f);
  w.lm_head = make.any(config.vocab_size, config.hidden_size);
  return {owner, &owner->weights};
}

}  // namespace baltoro::test
