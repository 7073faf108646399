// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "baltoro/model/decoder.h"

namespace baltoro::engine {

// What the engine needs of a model: run a batch over a paged KV store. DecoderRunner is the real one; tests use a
// formula in its place.
class ModelRunner {
 public:
  virtual ~ModelRunner() = default;
  virtual std::int64_t vocab_size() const = 0;
  virtual std::int64_t max_context_tokens() const = 0;
  virtual std::int64_t num_blocks() const = 0;
  virtual std::int64_t max_batch_tokens() const = 0;
  virtual std::int64_t max_logit_rows() const = 0;
  // See model::Decoder::forward. Engine thread only.
  virtual Status forward(const model::Batch& batch, std::span<float> logits) = 0;
  virtual void copy_block(model::BlockId from, model::BlockId to) = 0;
  // All of a block's KV, as one piece; the same size for each. Empty: this model's KV cannot leave memory.
  virtual std::span<std::byte> block_memory(model::BlockId /*block*/) { return {}; }
  virtual std::optional<model::ExpertStats> expert_stats() const { return std::nullopt; }
  // While on, a forward() that takes long may return kCancelled. Any thread.
  virtual void interrupt(bool /*on*/) {}
};

// A decoder and its KV cache.
class DecoderRunner final : public ModelRunner {
 public:
  DecoderRunner(std::unique_ptr<model::Decoder> decoder, std::unique_ptr<model::KvCache> kv);
  std::int64_t vocab_size() const override;
  std::int64_t max_context_tokens() const override;
  std::int64_t num_blocks() const override;
  std::int64_t max_batch_tokens() const override;
  std::int64_t max_logit_rows() const override;
  Status forward(const model::Batch& batch, std::span<float> logits) override;
  void copy_block(model::BlockId from, model::BlockId to) override;
  std::span<std::byte> block_memory(model::BlockId block) override;
  std::optional<model::ExpertStats> expert_stats() const override;
  void interrupt(bool on) override;

 private:
  std::unique_ptr<model::Decoder> decoder_;
  std::unique_ptr<model::KvCache> kv_;
};

}  // namespace baltoro::engine
