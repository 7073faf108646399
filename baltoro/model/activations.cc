// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/activations.h"

#include <algorithm>

#include "baltoro/base/round_up.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/model/kv_cache.h"

namespace baltoro::model {
namespace {

// Hands out consecutive 64-byte aligned pieces.
class Cutter {
 public:
  explicit Cutter(std::byte* base) : base_(base) {}
  template <typename T>
  T* take(std::int64_t count) {
    std::byte* piece = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (count * static_cast<std::int64_t>(sizeof(T)) + 63) / 64 * 64;
    return reinterpret_cast<T*>(piece);
  }
  template <typename T>
  std::span<T> take_span(std::int64_t count) {
    T* data = take<T>(count);
    return data == nullptr ? std::span<T>() : std::span<T>(data, static_cast<std::size_t>(count));
  }
  std::int64_t used() const { return used_; }
  void rewind(std::int64_t used) { used_ = used; }

 private:
  std::byte* base_;
  std::int64_t used_ = 0;
};

// Scratch for the hungriest linear of the model.
std::int64_t max_linear_scratch_bytes(const ModelConfig& c, std::int64_t tokens) {
  std::int64_t bytes = 0;
  const auto weight = [&bytes, tokens](std::int64_t rows, std::int64_t cols) {
    bytes =
        std::max({bytes, kernels::linear_scratch_bytes(rows, cols, tokens), kernels::linear_int8_scratch_bytes(cols)});
  };
  const auto ffn = [&weight, &c](std::int64_t width) {
    weight(width, c.hidden_size);
    weight(c.hidden_size, width);
  };
  const std::int64_t query_inputs = c.q_lora_rank.value_or(c.hidden_size);
  if (c.q_lora_rank) weight(*c.q_lora_rank, c.hidden_size);
  weight(c.num_attention_heads * c.qk_head_dim(), query_inputs);
  weight(c.kv_dim(), c.hidden_size);
  weight(c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank);
  weight(c.hidden_size, c.num_attention_heads * c.v_head_dim);
  ffn(c.intermediate_size);
  if (c.n_routed_experts > 0) {
    ffn(c.moe_intermediate_size);
    ffn(c.moe_intermediate_size * std::max<std::int64_t>(c.n_shared_experts, 1));
    weight(c.n_routed_experts, c.hidden_size);
  }
  weight(c.vocab_size, c.hidden_size);
  return bytes;
}

// Parts of long contexts that are worked on side by side: some for each worker, so that none waits long for the last.
std::int64_t attend_slots(int threads) { return threads == 1 ? 0 : std::int64_t{4} * std::max(threads, 4); }
// So few of them would leave workers without one, and are worked on in stages instead.
std::int64_t attend_stage_slots(int threads) { return threads == 1 ? 0 : std::int64_t{2} * threads - 1; }

std::int64_t attend_state_floats(const ModelConfig& c) {
  return kernels::attend_state_floats(kernels::kAttendLanes, c.kv_lora_rank);
}

void lay_out_mla(const ModelConfig& c, const ActivationSizes& sizes, Cutter& cut, Activations& a) {
  const std::int64_t tokens = sizes.batch_tokens;
  const std::int64_t token_heads = tokens * c.num_attention_heads;
  a.c_q = cut.take<float>(tokens * c.q_lora_rank.value_or(0));
  a.q = cut.take<float>(token_heads * c.qk_head_dim());
  a.kv = cut.take<float>(tokens * c.kv_dim());
  a.q_latent = cut.take<std::byte>(token_heads * c.kv_dim() * element_bytes(sizes.math));
  a.z = cut.take<std::byte>(token_heads * operand_row_bytes(sizes.math, c.kv_lora_rank));
  a.heads = cut.take<float>(token_heads * c.v_head_dim);
  a.attend_items =
      cut.take<AttendItem>(tokens * ((c.num_attention_heads + kernels::kAttendLanes - 1) / kernels::kAttendLanes));
  for (std::int64_t i = 0; i < attend_slots(sizes.threads); ++i) {
    a.attend_states.push_back(cut.take<float>(attend_state_floats(c)));
  }
  for (std::int64_t i = 0; i < attend_stage_slots(sizes.threads); ++i) {
    a.attend_scores.push_back(cut.take<float>(kernels::attend_stage_floats()));
  }
}

void lay_out_ffn(const ModelConfig& c, std::int64_t tokens, Math math, Cutter& cut, Activations& a) {
  const std::int64_t shared = operand_row_bytes(math, c.moe_intermediate_size * c.n_shared_experts);
  const std::int64_t routed = operand_row_bytes(math, c.moe_intermediate_size) * c.num_experts_per_tok;
  a.activated = cut.take<std::byte>(tokens * std::max(operand_row_bytes(math, c.intermediate_size), shared + routed));
  a.scores = cut.take<float>(tokens * c.n_routed_experts);
  const std::int64_t slots = tokens * c.num_experts_per_tok;
  a.experts = cut.take<std::int32_t>(slots);
  a.weights = cut.take<float>(slots);
  a.slot_token = cut.take<std::int32_t>(slots);
  a.slot_weight = cut.take<float>(slots);
  a.first_slot = cut.take<std::int32_t>(c.n_routed_experts + 1);
  a.active = cut.take<std::int32_t>(c.n_routed_experts);
  a.wave = cut.take<ExpertTokens>(1 + c.n_routed_experts);
}

WorkerScratch lay_out_worker(const ModelConfig& c, std::int64_t tokens, std::int64_t linear_bytes, Cutter& cut) {
  WorkerScratch scratch;
  scratch.linear = cut.take<std::byte>(linear_bytes);
  scratch.attend = cut.take<float>(kernels::attend_scratch_floats(c.kv_dim()));
  for (float*& state : scratch.attend_states) state = cut.take<float>(attend_state_floats(c));
  scratch.rows = cut.take<float>(std::max(tokens, kernels::kAttendLanes) * c.kv_lora_rank);
  scratch.gate = cut.take<float>(std::min(tokens * kFfnRows, kFfnValues));
  scratch.up = cut.take<float>(std::min(tokens * kFfnRows, kFfnValues));
  scratch.blocks = cut.take<const std::byte*>((c.max_position_embeddings + kBlockTokens - 1) / kBlockTokens);
  scratch.router.biased = cut.take_span<float>(c.n_routed_experts);
  scratch.router.group_scores = cut.take_span<float>(c.n_group);
  scratch.router.taken = cut.take_span<std::uint8_t>(std::max(c.n_routed_experts, c.n_group));
  scratch.router.groups = cut.take_span<std::int32_t>(c.topk_group);
  return scratch;
}

}  // namespace

std::int64_t operand_row_bytes(Math math, std::int64_t n) {
  const std::int64_t elements = n * element_bytes(math);
  const std::int64_t bytes = math == Math::kFast ? round_up(elements, 64) + kernels::int8_row_bytes(n) : elements;
  return bytes % kernels::kSameSetsBytes == 0 ? bytes + 64 : bytes;
}

Activations lay_out_activations(const ModelConfig& config, const ActivationSizes& sizes, std::byte* base,
                                std::int64_t* bytes) {
  const std::int64_t tokens = sizes.batch_tokens;
  const std::int64_t widest_input =
      std::max({config.hidden_size, config.q_lora_rank.value_or(0), config.num_attention_heads * config.qk_head_dim(),
                config.num_attention_heads * config.v_head_dim});
  Cutter cut(base);
  Activations a;
  a.x = cut.take<float>(tokens * config.hidden_size);
  a.normed = cut.take<float>(tokens * config.hidden_size);
  a.delta = cut.take<float>(tokens * config.hidden_size);
  a.cos = cut.take<float>(tokens * config.qk_rope_head_dim / 2);
  a.sin = cut.take<float>(tokens * config.qk_rope_head_dim / 2);
  a.operand = cut.take<std::byte>(tokens * operand_row_bytes(sizes.math, widest_input));

  const std::int64_t shared_begin = cut.used();
  lay_out_mla(config, sizes, cut, a);
  const std::int64_t mla_end = cut.used();
  cut.rewind(shared_begin);
  lay_out_ffn(config, tokens, sizes.math, cut, a);
  cut.rewind(std::max(mla_end, cut.used()));

  const std::int64_t linear_bytes = max_linear_scratch_bytes(config, tokens);
  for (int worker = 0; worker < sizes.threads; ++worker) {
    a.workers.push_back(lay_out_worker(config, tokens, linear_bytes, cut));
  }
  *bytes += cut.used();
  return a;
}

}  // namespace baltoro::model
