// SPDX-License-Identifier: Apache-2.0
// Runs a checkpoint over given tokens and keeps what the forward pass showed.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "baltoro/base/check.h"
#include "baltoro/model/decoder.h"

namespace baltoro::test {

struct LayerTrace {
  std::vector<float> attention, hidden;  // [T, D]
  std::vector<std::int32_t> experts;     // [T, K]
  std::vector<float> weights;            // [T, K]
};

// One sequence on one decoder: a prompt in one chunk, then single tokens.
class ForwardRun {
 public:
  ForwardRun(std::shared_ptr<const model::Weights> weights, model::DecoderOptions options) {
    config_ = &weights->config;
    options.max_logit_rows = options.max_batch_tokens;
    auto decoder = model::Decoder::create(std::move(weights), options);
    EXPECT_TRUE(decoder.ok()) << decoder.error().message;
    decoder_ = *std::move(decoder);
    const std::int64_t blocks = (config_->max_position_embeddings + model::kBlockTokens - 1) / model::kBlockTokens;
    kv_ = *model::KvCache::create(*config_, options.math, blocks);
    for (std::int64_t i = 0; i < blocks; ++i) blocks_.push_back(static_cast<model::BlockId>(i));
  }

  // Logits [tokens, V] of all tokens, which follow those given before.
  std::vector<float> append(std::span<const std::int32_t> tokens, std::vector<LayerTrace>* trace = nullptr) {
    std::vector<std::int32_t> positions, sequences(tokens.size(), 0), rows;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      positions.push_back(length_ + static_cast<std::int32_t>(i));
      rows.push_back(static_cast<std::int32_t>(i));
    }
    length_ += static_cast<std::int32_t>(tokens.size());
    const std::span<const model::BlockId> table(blocks_);
    std::vector<float> logits(tokens.size() * static_cast<std::size_t>(config_->vocab_size));
    const model::Trace callbacks = trace == nullptr ? model::Trace{} : recorder(*trace);
    const Status run = decoder_->forward({tokens, positions, sequences, {&table, 1}, rows}, *kv_, logits,
                                         trace == nullptr ? nullptr : &callbacks);
    BALTORO_CHECK(run.ok(), "a forward over mapped weights");
    return logits;
  }

 private:
  model::Trace recorder(std::vector<LayerTrace>& out) const {
    out.resize(static_cast<std::size_t>(config_->num_hidden_layers));
    const auto at = [&out](std::int64_t layer) -> LayerTrace& { return out[static_cast<std::size_t>(layer)]; };
    return {.attention = [at](auto layer, auto x) { at(layer).attention.assign(x.begin(), x.end()); },
            .hidden = [at](auto layer, auto x) { at(layer).hidden.assign(x.begin(), x.end()); },
            .routing =
                [at](auto layer, auto experts, auto weights) {
                  at(layer).experts.assign(experts.begin(), experts.end());
                  at(layer).weights.assign(weights.begin(), weights.end());
                }};
  }

  const model::ModelConfig* config_ = nullptr;
  std::unique_ptr<model::Decoder> decoder_;
  std::unique_ptr<model::KvCache> kv_;
  std::vector<model::BlockId> blocks_;
  std::int32_t length_ = 0;
};

inline std::int32_t argmax(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace baltoro::test
