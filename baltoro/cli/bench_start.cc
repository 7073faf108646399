// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/bench_start.h"

#include <algorithm>
#include <utility>

#include "baltoro/base/clock.h"
#include "baltoro/base/page_cache.h"
#include "baltoro/base/process_memory.h"
#include "baltoro/base/read_rate.h"
#include "baltoro/cli/bench_cases.h"
#include "baltoro/cli/bench_row.h"
#include "baltoro/model/checkpoint.h"
#include "baltoro/model/kv_cache.h"
#include "baltoro/model/weights.h"

namespace baltoro::cli {
namespace {

constexpr std::int64_t kDiskProbeBytes = std::int64_t{512} << 20;

struct Shards {
  std::vector<std::string> paths = {};
  std::uint64_t bytes = 0;
};

Result<Shards> shards_of(const std::string& dir) {
  BALTORO_TRY(const auto files, model::Checkpoint::open(dir));
  Shards shards{.bytes = files->file_bytes()};
  for (const auto& shard : files->shards()) shards.paths.push_back(shard.path());
  return shards;
}

Result<double> cached_share(const Shards& shards) {
  std::uint64_t cached = 0;
  for (const std::string& path : shards.paths) {
    BALTORO_TRY(const std::uint64_t bytes, cached_bytes(path));
    cached += bytes;
  }
  return shards.bytes > 0 ? static_cast<double>(cached) / static_cast<double>(shards.bytes) : 0.0;
}

// One prompt on a model just opened.
class Start {
 public:
  static Result<Start> open(const std::string& dir, const StartPlan& plan) {
    Start start;
    BALTORO_TRY(std::shared_ptr<const model::Weights> weights, model::open_weights(dir));
    const model::ModelConfig& config = weights->config;
    const std::int64_t tokens = std::clamp<std::int64_t>(plan.prompt_tokens, 1, config.max_position_embeddings);
    const std::int64_t blocks = (tokens + model::kBlockTokens - 1) / model::kBlockTokens;
    BALTORO_TRY(start.kv_, model::KvCache::create(config, plan.decoder.math, blocks));
    model::DecoderOptions options = plan.decoder;
    options.max_logit_rows = 1;
    BALTORO_TRY(start.decoder_, model::Decoder::create(weights, options));
    start.steps_ = steps_of({.context = tokens}, config.vocab_size, options.max_batch_tokens);
    for (std::int64_t b = 0; b < blocks; ++b) start.blocks_.push_back(static_cast<model::BlockId>(b));
    start.logits_.resize(static_cast<std::size_t>(config.vocab_size));
    return start;
  }

  Status prompt(const std::vector<model::Trace>& traces = {}) {
    const std::span<const model::BlockId> table(blocks_);
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      const model::Batch batch{.tokens = steps_[i].tokens,
                               .positions = steps_[i].positions,
                               .sequences = steps_[i].sequences,
                               .block_tables = {&table, 1},
                               .logit_rows = steps_[i].logit_rows};
      BALTORO_TRY_STATUS(decoder_->forward(batch, *kv_, logits_, traces.empty() ? nullptr : &traces[i]));
    }
    return {};
  }

  // Bytes of distinct weights that the prompt's steps need, each counted once.
  Result<std::int64_t> weight_bytes() {
    const model::Weights& weights = decoder_->weights();
    std::vector<ExpertCount> counts;
    counts.reserve(steps_.size());  // the traces point into it
    std::vector<model::Trace> traces;
    for (const OwnedStep& step : steps_) traces.push_back(counts.emplace_back(weights.config, step.logit_rows).trace());
    BALTORO_TRY_STATUS(prompt(traces));
    StepShape shape = steps_.back().shape;
    shape.experts_touched = counts.back().touched();
    for (const ExpertCount& count : counts) {  // several chunks: at least the experts of the one that needs most
      for (std::size_t l = 0; l < shape.experts_touched.size(); ++l) {
        shape.experts_touched[l] = std::max(shape.experts_touched[l], count.touched()[l]);
      }
    }
    return step_cost(weights, shape, kv_->element_bytes()).weight_bytes;
  }

 private:
  std::unique_ptr<model::KvCache> kv_;
  std::unique_ptr<model::Decoder> decoder_;
  std::vector<OwnedStep> steps_;
  std::vector<model::BlockId> blocks_;
  std::vector<float> logits_;
};

Status prepare(const Shards& shards, const StartPlan& plan, StartRun& run) {
  for (const std::string& path : shards.paths) {
    BALTORO_TRY_STATUS(plan.cold ? drop_from_page_cache(path) : read_through(path));
  }
  BALTORO_TRY(run.cached_before, cached_share(shards));
  if (!plan.cold || shards.paths.empty()) return {};
  const auto rate = measure_read_rate(shards.paths, 0,
                                      std::min<std::int64_t>(kDiskProbeBytes, static_cast<std::int64_t>(shards.bytes)));
  if (rate.ok()) run.disk_bytes_per_s = rate->bytes_per_s();
  return {};
}

}  // namespace

double StartRow::disk_share() const {
  std::vector<double> shares;
  for (const StartRun& run : runs) {
    if (run.disk_bytes_per_s > 0) {
      shares.push_back(static_cast<double>(weight_bytes) / run.disk_bytes_per_s / run.first_token_seconds);
    }
  }
  return shares.empty() ? 0 : median(std::move(shares));
}

Result<StartRow> measure_start(const std::string& dir, const StartPlan& plan) {
  BALTORO_TRY(const Shards shards, shards_of(dir));
  StartRow row{.cold = plan.cold, .prompt_tokens = plan.prompt_tokens};
  row.file_bytes = static_cast<std::int64_t>(shards.bytes);
  for (int i = 0; i < plan.repeat; ++i) {
    StartRun run;
    BALTORO_TRY_STATUS(prepare(shards, plan, run));
    const double begin = steady_seconds();
    BALTORO_TRY(Start start, Start::open(dir, plan));
    run.ready_seconds = steady_seconds() - begin;
    row.resident_ready = process_memory().resident_bytes - plan.other_resident_bytes;
    const double asked = steady_seconds();
    BALTORO_TRY_STATUS(start.prompt());
    run.first_token_seconds = run.ready_seconds + steady_seconds() - asked;
    row.resident_first_token = process_memory().resident_bytes - plan.other_resident_bytes;
    row.runs.push_back(run);
    if (i + 1 == plan.repeat) {
      BALTORO_TRY(row.weight_bytes, start.weight_bytes());
    }
  }
  return row;
}

Status warm_page_cache(const std::string& dir) {
  BALTORO_TRY(const Shards shards, shards_of(dir));
  BALTORO_TRY(const double share, cached_share(shards));
  if (share > 0.999) return {};
  for (const std::string& path : shards.paths) {
    BALTORO_TRY_STATUS(read_through(path));
  }
  return {};
}

}  // namespace baltoro::cli
