// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/model_runner.h"

#include <utility>

namespace baltoro::engine {

DecoderRunner::DecoderRunner(std::unique_ptr<model::Decoder> decoder, std::unique_ptr<model::KvCache> kv)
    : decoder_(std::move(decoder)), kv_(std::move(kv)) {}

std::int64_t DecoderRunner::vocab_size() const { return decoder_->weights().config.vocab_size; }
std::int64_t DecoderRunner::max_context_tokens() const { return decoder_->weights().config.max_position_embeddings; }
std::int64_t DecoderRunner::num_blocks() const { return kv_->num_blocks(); }
std::int64_t DecoderRunner::max_batch_tokens() const { return decoder_->options().max_batch_tokens; }
std::int64_t DecoderRunner::max_logit_rows() const { return decoder_->options().max_logit_rows; }

Status DecoderRunner::forward(const model::Batch& batch, std::span<float> logits) {
  return decoder_->forward(batch, *kv_, logits);
}

void DecoderRunner::copy_block(model::BlockId from, model::BlockId to) { kv_->copy_block(from, to); }

std::span<std::byte> DecoderRunner::block_memory(model::BlockId block) { return kv_->whole_block(block); }

std::optional<model::ExpertStats> DecoderRunner::expert_stats() const { return decoder_->expert_stats(); }
void DecoderRunner::interrupt(bool on) { decoder_->interrupt(on); }

}  // namespace baltoro::engine
