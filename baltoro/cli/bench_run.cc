// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/bench_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "baltoro/base/clock.h"
#include "baltoro/base/process_memory.h"
#include "baltoro/base/progress.h"
#include "baltoro/cli/memory_check.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/model/kv_cache.h"

namespace baltoro::cli {
namespace {

// A small generator with a fixed course: the same run measures the same work.
class Random {
 public:
  std::uint64_t next() {  // splitmix64 (Steele, Lea, Flood 2014)
    state_ += 0x9E3779B97F4A7C15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }
  std::int32_t below(std::int64_t limit) {
    return static_cast<std::int32_t>(next() % static_cast<std::uint64_t>(limit));
  }
  float symmetric() { return static_cast<float>(next() >> 40U) * 0x1p-23F - 1.0F; }  // [-1, 1)

 private:
  std::uint64_t state_ = 2026;
};

// One step, with the storage its batch points to.
struct OwnedStep {
  std::vector<std::int32_t> tokens, positions, sequences, logit_rows;
  std::int64_t kv_rows = 0, attended_rows = 0;
};

class Bench {
 public:
  Bench(std::shared_ptr<const model::Weights> weights, const BenchPlan& plan, std::unique_ptr<model::Decoder> decoder,
        std::unique_ptr<model::KvCache> kv)
      : weights_(std::move(weights)),
        config_(weights_->config),
        plan_(plan),
        decoder_(std::move(decoder)),
        kv_(std::move(kv)),
        logits_(static_cast<std::size_t>(decoder_->options().max_logit_rows * config_.vocab_size)),
        progress_({.label = "bench",
                   .total = passes(plan),
                   .unit = "passes",
                   .style = plan.show_progress ? ProgressStyle::kAuto : ProgressStyle::kSilent}) {
    fill_cache();
  }

  Result<std::vector<BenchRow>> run() {
    std::vector<BenchRow> rows;
    for (const std::int64_t tokens : plan_.prefill_tokens) rows.push_back(prefill(tokens));
    for (const std::int64_t context : plan_.contexts) {
      for (const std::int64_t batch : plan_.decode_batches) rows.push_back(decode(batch, context));
    }
    progress_.finish();
    BALTORO_TRY_STATUS(std::move(status_));
    return rows;
  }

 private:
  static std::uint64_t passes(const BenchPlan& plan) {
    const std::size_t cases = plan.prefill_tokens.size() + plan.contexts.size() * plan.decode_batches.size();
    return cases * static_cast<std::size_t>(plan.repeat + 2);
  }

  // Latents of the size that the norm leaves, so that no exponent overflows and no kernel meets denormals.
  void fill_cache() {
    Random random;
    const std::int64_t elements = model::kBlockTokens * config_.kv_dim();
    for (std::int64_t b = 0; b < kv_->num_blocks(); ++b) {
      for (std::int64_t l = 0; l < config_.num_hidden_layers; ++l) {
        std::byte* out = kv_->block(l, static_cast<model::BlockId>(b));
        for (std::int64_t i = 0; i < elements; ++i) {
          const float value = random.symmetric();
          std::uint32_t bits = 0;
          std::memcpy(&bits, &value, 4);
          // BF16 is the upper half of f32; the rounding does not matter here.
          const auto half = static_cast<std::uint16_t>(bits >> 16U);
          if (kv_->element_bytes() == 2) {
            std::memcpy(out + i * 2, &half, 2);
          } else {
            std::memcpy(out + i * 4, &value, 4);
          }
        }
      }
    }
  }

  BenchRow prefill(std::int64_t tokens) {
    std::vector<OwnedStep> steps;
    Random random;
    const std::int64_t chunk = decoder_->options().max_batch_tokens;
    for (std::int64_t at = 0; at < tokens; at += chunk) {
      OwnedStep step;
      const std::int64_t end = std::min(at + chunk, tokens);
      for (std::int64_t p = at; p < end; ++p) {
        step.tokens.push_back(random.below(config_.vocab_size));
        step.positions.push_back(static_cast<std::int32_t>(p));
        step.sequences.push_back(0);
        step.attended_rows += p + 1;
      }
      step.kv_rows = end;
      if (end == tokens) step.logit_rows.push_back(static_cast<std::int32_t>(end - at - 1));
      steps.push_back(std::move(step));
    }
    return measure({.kind = "prefill", .batch = 1, .context = tokens, .tokens = tokens, .seconds = {}, .cost = {}},
                   steps);
  }

  BenchRow decode(std::int64_t batch, std::int64_t context) {
    std::vector<OwnedStep> steps(static_cast<std::size_t>(plan_.decode_steps));
    Random random;
    for (std::size_t s = 0; s < steps.size(); ++s) {
      const std::int64_t position = context + static_cast<std::int64_t>(s);
      for (std::int32_t b = 0; b < batch; ++b) {
        steps[s].tokens.push_back(random.below(config_.vocab_size));
        steps[s].positions.push_back(static_cast<std::int32_t>(position));
        steps[s].sequences.push_back(b);
        steps[s].logit_rows.push_back(b);
      }
      steps[s].kv_rows = steps[s].attended_rows = batch * (position + 1);
    }
    return measure({.kind = "decode",
                    .batch = batch,
                    .context = context,
                    .tokens = batch * plan_.decode_steps,
                    .seconds = {},
                    .cost = {}},
                   steps);
  }

  BenchRow measure(BenchRow row, const std::vector<OwnedStep>& steps) {
    lay_out_tables(row.batch, row.context + (row.kind == "decode" ? plan_.decode_steps : 0));
    for (int pass = -1; pass < plan_.repeat; ++pass) {
      const double start = steady_seconds();
      for (const OwnedStep& step : steps) forward(step, nullptr);
      if (pass >= 0) row.seconds.push_back(steady_seconds() - start);
      progress_.add(1);
    }
    std::sort(row.seconds.begin(), row.seconds.end());
    count_cost(steps, row);
    progress_.add(1);
    return row;
  }

  // A pass that is not timed, to see which experts the steps touch.
  void count_cost(const std::vector<OwnedStep>& steps, BenchRow& row) {
    std::int64_t touched = 0, moe_layers = 0;
    for (const OwnedStep& step : steps) {
      ExpertCount experts(config_, step.logit_rows);
      const model::Trace trace = experts.trace();
      forward(step, &trace);
      row.cost += step_cost(*weights_,
                            {.tokens = static_cast<std::int64_t>(step.tokens.size()),
                             .logit_rows = static_cast<std::int64_t>(step.logit_rows.size()),
                             .kv_rows = step.kv_rows,
                             .attended_rows = step.attended_rows,
                             .experts_touched = experts.touched()},
                            kv_->element_bytes());
      for (const std::int64_t count : experts.touched()) {
        touched += count;
        moe_layers += count > 0 ? 1 : 0;
      }
    }
    if (moe_layers > 0) row.experts_per_layer = static_cast<double>(touched) / static_cast<double>(moe_layers);
  }

  void lay_out_tables(std::int64_t sequences, std::int64_t positions) {
    const std::int64_t blocks = (positions + model::kBlockTokens - 1) / model::kBlockTokens;
    block_ids_.resize(static_cast<std::size_t>(sequences * blocks));
    for (std::size_t i = 0; i < block_ids_.size(); ++i) block_ids_[i] = static_cast<model::BlockId>(i);
    tables_.clear();
    for (std::int64_t s = 0; s < sequences; ++s) {
      tables_.emplace_back(block_ids_.data() + s * blocks, static_cast<std::size_t>(blocks));
    }
  }

  void forward(const OwnedStep& step, const model::Trace* trace) {
    const model::Batch batch{.tokens = step.tokens,
                             .positions = step.positions,
                             .sequences = step.sequences,
                             .block_tables = tables_,
                             .logit_rows = step.logit_rows};
    Status run = decoder_->forward(batch, *kv_, logits_, trace);
    if (!run.ok() && status_.ok()) status_ = std::move(run);
  }

  std::shared_ptr<const model::Weights> weights_;
  const model::ModelConfig& config_;
  const BenchPlan& plan_;
  std::unique_ptr<model::Decoder> decoder_;
  std::unique_ptr<model::KvCache> kv_;
  std::vector<float> logits_;
  Status status_;  // of the first step that failed
  std::vector<model::BlockId> block_ids_;
  std::vector<std::span<const model::BlockId>> tables_;
  Progress progress_;
};

std::int64_t largest(const std::vector<std::int64_t>& values) {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

Status check_plan(const BenchPlan& plan, const model::ModelConfig& config) {
  const std::int64_t limit = config.max_position_embeddings;
  const auto check = [&](std::string_view what, const std::vector<std::int64_t>& values, std::int64_t most) -> Status {
    for (const std::int64_t value : values) {
      if (value < 1 || value > most) {
        return Error{Errc::kInvalidArgument,
                     fmt::format("[bench] {} of 1 to {} needed for this model, {} asked", what, most, value)};
      }
    }
    return {};
  };
  BALTORO_TRY_STATUS(check("prefill lengths", plan.prefill_tokens, limit));
  BALTORO_TRY_STATUS(check("context lengths", plan.contexts, limit - plan.decode_steps));
  BALTORO_TRY_STATUS(check("batch sizes", plan.decode_batches, 4096));
  if (plan.prefill_tokens.empty() && (plan.contexts.empty() || plan.decode_batches.empty())) {
    return Error{Errc::kInvalidArgument,
                 "[bench] something to measure is needed: --prefill, or --decode-batch with "
                 "--context"};
  }
  return {};
}

// KV blocks that the largest case takes.
std::int64_t blocks_of(const BenchPlan& plan) {
  const auto blocks = [](std::int64_t positions) {
    return (positions + model::kBlockTokens - 1) / model::kBlockTokens;
  };
  const bool decodes = !plan.contexts.empty() && !plan.decode_batches.empty();
  const std::int64_t decode =
      decodes ? largest(plan.decode_batches) * blocks(largest(plan.contexts) + plan.decode_steps) : 0;
  return std::max(blocks(largest(plan.prefill_tokens)), decode);
}

}  // namespace

double BenchRow::median_seconds() const {
  const std::size_t n = seconds.size();
  return n % 2 == 1 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2;
}

Result<BenchReport> run_bench(std::shared_ptr<const model::Weights> weights, const BenchPlan& plan) {
  const model::ModelConfig& config = weights->config;
  BALTORO_TRY_STATUS(check_plan(plan, config));
  BALTORO_TRY(const kernels::Isa isa, kernels::choose_isa());
  const bool exact = plan.decoder.math == model::Math::kExact;
  model::DecoderOptions options = plan.decoder;
  const std::int64_t batch = largest(plan.decode_batches);
  options.max_batch_tokens =
      std::max({std::int64_t{1}, batch, std::min(options.max_batch_tokens, largest(plan.prefill_tokens))});
  options.max_logit_rows = std::max(std::int64_t{1}, batch);
  const std::int64_t blocks = blocks_of(plan);
  const std::int64_t per_sequence = std::min(blocks * model::kBlockTokens, config.max_position_embeddings);
  const std::int64_t sequences = (blocks * model::kBlockTokens + per_sequence - 1) / per_sequence;
  BALTORO_TRY_STATUS(check_memory_of(
      *weights, {.context_tokens = per_sequence, .sequences = sequences, .decoder = options}, plan.force_memory));

  BenchReport report;
  report.isa = exact ? kernels::isa_name(isa) : "scalar";
  report.math = exact ? "exact" : "f32";
  {
    ThreadPool pool(options.threads);
    report.threads = pool.size();
    BALTORO_TRY(report.peaks, measure_machine(pool, plan.probe_bytes));
  }
  const bool bf16_dot = exact && isa == kernels::Isa::kAvx512Bf16;
  report.flop_peak = bf16_dot ? report.peaks.bf16_flop_per_s : report.peaks.f32_flop_per_s;
  reset_peak_resident();
  BALTORO_TRY(auto kv, model::KvCache::create(config, options.math, blocks));
  BALTORO_TRY(auto decoder, model::Decoder::create(weights, options));
  BALTORO_TRY(report.rows, Bench(std::move(weights), plan, std::move(decoder), std::move(kv)).run());
  report.peak_resident_bytes = process_memory().peak_resident_bytes;
  return report;
}

}  // namespace baltoro::cli
