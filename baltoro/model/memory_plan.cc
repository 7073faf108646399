// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "baltoro/base/progress.h"
#include "baltoro/model/dense_copy.h"
#include "baltoro/model/expert_units.h"

namespace baltoro::model {
namespace {

constexpr std::int64_t kMaxSequences = 65536;

std::int64_t bytes(const tensor::MatrixView& view) { return view.data_bytes() + view.scale_bytes(); }
std::int64_t bytes(const FfnWeights& ffn) { return bytes(ffn.gate) + bytes(ffn.up) + bytes(ffn.down); }

// Norms and biases are widened to f32 at opening.
std::int64_t bytes(const std::vector<float>& values) {
  return static_cast<std::int64_t>(values.size() * sizeof(float));
}

std::int64_t bytes(const MlaWeights& mla) {
  std::int64_t sum = bytes(mla.q_a_norm) + bytes(mla.kv_a_norm);
  visit_matrices(mla, [&sum](const tensor::MatrixView& w) { sum += bytes(w); });
  return sum;
}

std::string human(std::int64_t count) { return format_bytes(static_cast<std::uint64_t>(count)); }

std::string describe_machine(const MachineMemory& machine) {
  if (machine.cgroup_limit && machine.cgroup_available < machine.available) {
    return fmt::format("{} are available (control group limit {})", human(machine.cgroup_available),
                       human(*machine.cgroup_limit));
  }
  return fmt::format("{} of {} are available", human(machine.available), human(machine.total));
}

std::string describe_copy(const MemoryPlan& plan) {
  return plan.dense_copy > 0 ? fmt::format(" INT8 copy {},", human(plan.dense_copy)) : "";
}

std::string describe_buffers(const MemoryPlan& plan) {
  return plan.kv_buffers > 0 ? fmt::format(" KV on its way to disk {},", human(plan.kv_buffers)) : "";
}

// Gives the experts what the limit leaves.
void share_limit(const Weights& weights, MemoryPlan& plan) {
  BALTORO_CHECK(weights.streamed != nullptr, "a limit needs weights that are not mapped");
  const ExpertUnits units(weights.config, *weights.streamed);
  plan.weights = static_cast<std::int64_t>(weights.streamed->resident->size());
  plan.process = kProcessBytes;
  if (units.count() == 0) return;
  plan.experts_least = units.token_units(weights.config) * units.slot_bytes();
  const std::int64_t rest = plan.request.limit_bytes - plan.owned();
  plan.experts = std::min(rest, units.count() * units.slot_bytes());
}

Error over_limit(const MemoryPlan& plan) {
  return Error{
      Errc::kResourceExhausted,
      fmt::format(
          "[memory] --memory of at least {} expected: weights outside the experts {},{} KV {} ({} "
          "tokens x {} sequence{} x {} bytes),{} scratch {}, the rest of the process {}, one token's experts of "
          "a layer {}; {} given. Raise it, or lower the context or the number of sequences",
          human(plan.owned() - plan.experts + plan.experts_least), human(plan.weights), describe_copy(plan),
          human(plan.kv), plan.request.context_tokens, plan.request.sequences, plan.request.sequences == 1 ? "" : "s",
          plan.kv_token, describe_buffers(plan), human(plan.scratch), human(plan.process), human(plan.experts_least),
          human(plan.request.limit_bytes))};
}

}  // namespace

WeightBytes count_weight_bytes(const Weights& weights) {
  const ModelConfig& config = weights.config;
  WeightBytes count;
  count.total = bytes(weights.embed) + bytes(weights.norm);
  const bool tied = config.tie_word_embeddings && weights.lm_head.format == weights.embed.format;  // not a copy
  if (!tied) count.total += bytes(weights.lm_head);
  std::int64_t idle = 0;
  for (const LayerWeights& layer : weights.layers) {
    count.total += bytes(layer.input_norm) + bytes(layer.post_attention_norm) + bytes(layer.attention);
    if (layer.dense) count.total += bytes(*layer.dense);
    if (!layer.moe) continue;
    std::int64_t experts = 0;
    for (const FfnWeights& expert : layer.moe->experts) experts += bytes(expert);
    count.total += experts + bytes(layer.moe->router) + bytes(layer.moe->e_score_correction_bias);
    if (layer.moe->shared) count.total += bytes(*layer.moe->shared);
    idle += experts - experts / config.n_routed_experts * config.num_experts_per_tok;
  }
  // A token reads one row of the embedding table, or all of it as head.
  const std::int64_t table = tied ? 0 : bytes(weights.embed) - weights.embed.row_bytes();
  count.active = count.total - idle - table;
  return count;
}

Result<MemoryPlan> plan_memory(const Weights& weights, const MemoryRequest& request, const MachineMemory& machine) {
  const ModelConfig& config = weights.config;
  if (request.context_tokens < 1 || request.context_tokens > config.max_position_embeddings) {
    return Error{Errc::kInvalidArgument,
                 fmt::format("[memory] context: 1 to {} tokens expected (max_position_embeddings), got {}",
                             config.max_position_embeddings, request.context_tokens)};
  }
  if (request.sequences < 1 || request.sequences > kMaxSequences) {
    return Error{Errc::kInvalidArgument,
                 fmt::format("[memory] sequences: 1 to {} expected, got {}", kMaxSequences, request.sequences)};
  }
  const bool copies = request.decoder.dense == DenseWeights::kInt8;
  const WeightBytes weight_bytes = count_weight_bytes(copies ? dense_int8_shape(weights) : weights);
  const std::int64_t blocks = (request.context_tokens + kBlockTokens - 1) / kBlockTokens;
  MemoryPlan plan;
  plan.request = request;
  plan.dense_copy = copies ? dense_int8_bytes(weights) : 0;
  plan.weights = weight_bytes.total - plan.dense_copy;
  plan.weights_active = weight_bytes.active;
  plan.kv_token = KvCache::token_bytes(config, request.decoder.math);
  const std::int64_t block_bytes = KvCache::block_bytes(config, request.decoder.math);
  plan.kv_buffers = request.kv_buffer_blocks * block_bytes;
  if (__builtin_mul_overflow(blocks * request.sequences, block_bytes, &plan.kv)) {
    return Error{Errc::kInvalidArgument, "[memory] the KV cache asked for exceeds 63 bits"};
  }
  const std::int64_t logits =
      request.decoder.max_logit_rows * config.vocab_size * static_cast<std::int64_t>(sizeof(float));
  plan.scratch = Decoder::scratch_bytes(config, request.decoder) + logits;
  plan.machine = machine;
  if (plan.limited()) share_limit(weights, plan);
  return plan;
}

Status check_memory(const MemoryPlan& plan, bool force) {
  if (plan.limited() && (plan.experts < plan.experts_least || plan.owned() > plan.request.limit_bytes)) {
    return over_limit(plan);
  }
  if (force || plan.fits()) return {};
  if (plan.limited()) {
    return Error{Errc::kResourceExhausted,
                 fmt::format("[memory] --memory {} asks for more than there is: {}. Lower it, or force it with "
                             "--force-memory",
                             human(plan.request.limit_bytes), describe_machine(plan.machine))};
  }
  const bool owned_fits = plan.owned() <= plan.machine.usable();
  return Error{
      Errc::kResourceExhausted,
      fmt::format(
          "[memory] {} expected: weights {},{} KV {} ({} tokens x {} sequence{} x {} bytes),{} scratch {}; {}. {} "
          "Lower the context or the number of sequences, or force it with --force-memory",
          human(plan.total()), human(plan.weights), describe_copy(plan), human(plan.kv), plan.request.context_tokens,
          plan.request.sequences, plan.request.sequences == 1 ? "" : "s", plan.kv_token, describe_buffers(plan),
          human(plan.scratch), describe_machine(plan.machine),
          owned_fits ? "The weights would not stay in memory and be read from disk again for every token."
                     : (plan.dense_copy > 0 ? "KV, scratch and the INT8 copy alone do not fit."
                                            : "KV and scratch alone do not fit."))};
}

}  // namespace baltoro::model
