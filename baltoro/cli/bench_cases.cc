// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/bench_cases.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace baltoro::cli {
namespace {

constexpr std::int64_t kMostSequences = 4096;

std::vector<std::int64_t> up_to(std::vector<std::int64_t> values, std::int64_t limit) {
  std::erase_if(values, [&](std::int64_t value) { return value > limit; });
  if (values.empty() && limit > 0) values.push_back(limit);
  return values;
}

OwnedStep prefill_chunk(std::int64_t begin, std::int64_t end, bool last, std::int64_t vocab_size, BenchRandom& random) {
  OwnedStep step;
  for (std::int64_t p = begin; p < end; ++p) {
    step.tokens.push_back(random.below(vocab_size));
    step.positions.push_back(static_cast<std::int32_t>(p));
    step.sequences.push_back(0);
    step.shape.attended_rows += p + 1;
  }
  step.shape.tokens = end - begin;
  step.shape.kv_rows = end;
  if (!last) return step;
  step.logit_rows.push_back(static_cast<std::int32_t>(end - begin - 1));
  step.shape.logit_rows = 1;
  step.shape.last_kv_rows = step.shape.last_attended_rows = end;
  return step;
}

OwnedStep decode_step(std::int64_t batch, std::int64_t position, std::int64_t vocab_size, BenchRandom& random) {
  OwnedStep step;
  for (std::int32_t b = 0; b < batch; ++b) {
    step.tokens.push_back(random.below(vocab_size));
    step.positions.push_back(static_cast<std::int32_t>(position));
    step.sequences.push_back(b);
    step.logit_rows.push_back(b);
  }
  const std::int64_t rows = batch * (position + 1);
  step.shape = {.tokens = batch,
                .logit_rows = batch,
                .kv_rows = rows,
                .attended_rows = rows,
                .last_kv_rows = rows,
                .last_attended_rows = rows};
  return step;
}

}  // namespace

std::uint64_t BenchRandom::next() {
  state_ += 0x9E3779B97F4A7C15U;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}
std::int32_t BenchRandom::below(std::int64_t limit) {
  return static_cast<std::int32_t>(next() % static_cast<std::uint64_t>(limit));
}
float BenchRandom::symmetric() { return static_cast<float>(next() >> 40U) * 0x1p-23F - 1.0F; }

const char* bench_kind_name(BenchKind kind) { return kind == BenchKind::kPrefill ? "prefill" : "decode"; }

BenchSizes default_sizes(bool full, const model::ModelConfig& config) {
  BenchSizes sizes;
  const std::int64_t limit = config.max_position_embeddings;
  if (full) {
    sizes.prefill_tokens = up_to({128, 512, 2048, 8192}, limit);
    sizes.decode_batches = {1, 4, 8, 16, 32};
    sizes.contexts = up_to({1024, 8192, 32768, 131072}, limit - sizes.decode_steps);
  } else {
    sizes.prefill_tokens = up_to({128, 512}, limit);
    sizes.decode_batches = {1, 4, 16};
    sizes.contexts = up_to({1024, 8192}, limit - sizes.decode_steps);
  }
  return sizes;
}

Result<std::vector<BenchCase>> bench_cases(const BenchSizes& sizes, const model::ModelConfig& config) {
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
  BALTORO_TRY_STATUS(check("prefill lengths", sizes.prefill_tokens, limit));
  BALTORO_TRY_STATUS(check("context lengths", sizes.contexts, limit - sizes.decode_steps));
  BALTORO_TRY_STATUS(check("batch sizes", sizes.decode_batches, kMostSequences));
  std::vector<BenchCase> cases;
  for (const std::int64_t tokens : sizes.prefill_tokens)
    cases.push_back({.kind = BenchKind::kPrefill, .context = tokens});
  for (std::size_t c = 0; c < sizes.contexts.size(); ++c) {
    for (std::size_t b = 0; b < sizes.decode_batches.size(); ++b) {
      if (c > 0 && b > 0) continue;
      cases.push_back({.kind = BenchKind::kDecode,
                       .batch = sizes.decode_batches[b],
                       .context = sizes.contexts[c],
                       .steps = sizes.decode_steps});
    }
  }
  if (cases.empty()) {
    return Error{Errc::kInvalidArgument,
                 "[bench] something to measure is needed: --prefill, or --decode-batch with --context"};
  }
  return cases;
}

std::vector<OwnedStep> steps_of(const BenchCase& bench_case, std::int64_t vocab_size, std::int64_t chunk_tokens) {
  BenchRandom random;
  std::vector<OwnedStep> steps;
  if (bench_case.kind == BenchKind::kDecode) {
    for (int s = 0; s < bench_case.steps; ++s) {
      steps.push_back(decode_step(bench_case.batch, bench_case.context + s, vocab_size, random));
    }
    return steps;
  }
  for (std::int64_t at = 0; at < bench_case.context; at += chunk_tokens) {
    const std::int64_t end = std::min(at + chunk_tokens, bench_case.context);
    steps.push_back(prefill_chunk(at, end, end == bench_case.context, vocab_size, random));
  }
  return steps;
}

StepCost expected_cost(const model::Weights& weights, const std::vector<OwnedStep>& steps,
                       std::int64_t kv_element_bytes) {
  const model::ModelConfig& config = weights.config;
  const auto experts = static_cast<double>(config.n_routed_experts);
  const auto hit = [&](std::int64_t tokens) {  // distinct of E when each of T tokens draws K
    if (config.n_routed_experts == 0) return std::int64_t{0};
    const double missed = std::pow(1 - static_cast<double>(config.num_experts_per_tok) / experts, tokens);
    return std::int64_t{std::lround(experts * (1 - missed))};
  };
  StepCost cost;
  for (const OwnedStep& step : steps) {
    StepShape shape = step.shape;
    shape.experts_touched.assign(weights.layers.size(), hit(shape.tokens));
    shape.experts_touched.back() = hit(shape.logit_rows);
    cost += step_cost(weights, shape, kv_element_bytes);
  }
  return cost;
}

}  // namespace baltoro::cli
