// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/bench_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "baltoro/base/clock.h"
#include "baltoro/base/process_memory.h"
#include "baltoro/base/progress.h"
#include "baltoro/base/read_rate.h"
#include "baltoro/cli/memory_check.h"
#include "baltoro/cli/peak_loops.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/model/kv_cache.h"
#include "baltoro/model/streamed_weights.h"

namespace baltoro::cli {
namespace {

std::int64_t blocks_for(std::int64_t positions) { return (positions + model::kBlockTokens - 1) / model::kBlockTokens; }

// Latents of the size that the norm leaves, so that no exponent overflows and no kernel meets denormals.
void fill_cache(model::KvCache& kv, const model::ModelConfig& config) {
  BenchRandom random;
  const std::int64_t elements = model::kBlockTokens * kv.kv_dim();
  for (std::int64_t b = 0; b < kv.num_blocks(); ++b) {
    for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
      std::byte* out = kv.block(l, static_cast<model::BlockId>(b));
      for (std::int64_t i = 0; i < elements; ++i) {
        const float value = random.symmetric();
        std::uint32_t bits = 0;
        std::memcpy(&bits, &value, 4);
        const auto half = static_cast<std::uint16_t>(bits >> 16U);  // BF16, cut off: rounding does not matter here
        if (kv.element_bytes() == 2) {
          std::memcpy(out + i * 2, &half, 2);
        } else {
          std::memcpy(out + i * 4, &value, 4);
        }
      }
    }
  }
}

// A case made ready: its steps and the pages of its sequences.
class Prepared {
 public:
  Prepared(const BenchCase& what, std::int64_t vocab_size, std::int64_t chunk)
      : steps(steps_of(what, vocab_size, chunk)) {
    const std::int64_t blocks = blocks_for(what.positions());
    ids_.resize(static_cast<std::size_t>(what.batch * blocks));
    for (std::size_t i = 0; i < ids_.size(); ++i) ids_[i] = static_cast<model::BlockId>(i);
    for (std::int64_t s = 0; s < what.batch; ++s) {
      tables_.emplace_back(ids_.data() + s * blocks, static_cast<std::size_t>(blocks));
    }
  }
  model::Batch batch(const OwnedStep& step) const {
    return {.tokens = step.tokens,
            .positions = step.positions,
            .sequences = step.sequences,
            .block_tables = tables_,
            .logit_rows = step.logit_rows};
  }
  std::vector<OwnedStep> steps;

 private:
  std::vector<model::BlockId> ids_;
  std::vector<std::span<const model::BlockId>> tables_;
};

// The machine's rates at a moment; two of them around a repetition make its yardstick.
struct Rates {
  double read = 0, linear = 0, attention = 0, disk = 0;
};

BenchPass beside(double seconds, const Rates& before, const Rates& after) {
  return {.seconds = seconds,
          .read_bytes_per_s = (before.read + after.read) / 2,
          .linear_per_s = (before.linear + after.linear) / 2,
          .attention_per_s = (before.attention + after.attention) / 2};
}

// Always the same bytes, as the passes read theirs again and again: a cache below the disk (a host's, a controller's)
// then helps both. It is a rate beside the passes, no upper limit: disks of shared machines move between the two.
constexpr std::int64_t kDiskProbeBytes = 1 << 30;

// What happened between two looks at the expert cache, for one of `loops` passes.
BenchDisk between(const model::ExpertStats& a, const model::ExpertStats& b, int loops) {
  const auto each = [loops](auto from, auto to) { return static_cast<double>(to - from) / loops; };
  return {.bytes = each(a.bytes_read, b.bytes_read),
          .bytes_used = each(a.bytes_used, b.bytes_used),
          .stall_seconds = each(a.stall_seconds, b.stall_seconds),
          .hits = each(a.hits, b.hits),
          .late = each(a.late, b.late),
          .misses = each(a.misses, b.misses),
          .read_ahead = each(a.read_ahead, b.read_ahead),
          .read_ahead_used = each(a.read_ahead_used, b.read_ahead_used)};
}

class Bench {
 public:
  Bench(const BenchPlan& plan, MachineProbe& probe, BenchReport& report, model::Decoder& decoder, model::KvCache& kv)
      : plan_(plan),
        probe_(probe),
        report_(report),
        decoder_(decoder),
        kv_(kv),
        logits_(static_cast<std::size_t>(decoder.options().max_logit_rows * decoder.weights().config.vocab_size)) {}

  Status run(const std::vector<BenchCase>& cases) {
    std::vector<std::uint64_t> weights;  // a guess of each case's milliseconds, for the progress
    std::uint64_t total = 0;
    for (const BenchCase& what : cases) total += weights.emplace_back(guess_ms(what));
    if (plan_.show_progress) {
      fmt::print(stderr, "bench: {} cases, about {}\n", cases.size(),
                 format_duration(static_cast<double>(total) / 1000));
    }
    Progress progress({.label = "bench",
                       .total = total,
                       .unit = "ms of work",
                       .style = plan_.show_progress ? ProgressStyle::kAuto : ProgressStyle::kSilent});
    for (std::size_t i = 0; i < cases.size(); ++i) {
      BALTORO_TRY_STATUS(measure(cases[i]));
      progress.add(weights[i]);
    }
    return {};
  }

 private:
  // As if everything ran at a third of the machine's limits.
  std::uint64_t guess_ms(const BenchCase& what) const {
    const model::Weights& weights = decoder_.weights();
    BenchRow row{.what = what};
    row.cost = expected_cost(weights, steps_of(what, weights.config.vocab_size, chunk()), kv_.element_bytes());
    const PeakRates& all = report_.peaks.all;
    const BenchPass limits{.read_bytes_per_s = all.read_bytes_per_s,
                           .linear_per_s = rate_of(all, report_.linear),
                           .attention_per_s = rate_of(all, report_.attention)};
    const double pass = 3 * std::max(row.memory_seconds(limits), row.compute_seconds(limits));
    const double measured = std::min(plan_.case_seconds + pass, std::max(pass, plan_.pass_seconds) * plan_.repeat);
    return static_cast<std::uint64_t>(1000 * (pass + measured)) + 1;
  }

  std::int64_t chunk() const { return decoder_.options().max_batch_tokens; }

  Status measure(const BenchCase& what) {
    BenchRow& row = report_.rows.emplace_back(BenchRow{.what = what});
    const Prepared prepared(what, decoder_.weights().config.vocab_size, chunk());
    BALTORO_TRY_STATUS(count_cost(prepared, row));  // also the first pass, which does not count
    double pass = 0;
    BALTORO_TRY(pass, time_passes(prepared, 1));
    // A long second pass counts: it was warm already. A short one is repeated until the clock and the probes are fair.
    const int loops = std::clamp(static_cast<int>(std::ceil(plan_.pass_seconds / pass)), 1, 1000);
    const double start = steady_seconds();
    BALTORO_TRY(Rates before, rates());
    while (static_cast<int>(row.passes.size()) < plan_.repeat) {
      if (row.passes.size() >= 2 && steady_seconds() - start > plan_.case_seconds) break;
      const auto disk_before = decoder_.expert_stats();
      BALTORO_TRY(const double seconds, time_passes(prepared, loops));
      const auto disk_after = decoder_.expert_stats();
      BALTORO_TRY(const Rates after, rates());
      row.passes.push_back(beside(seconds, before, after));
      if (disk_after) {
        BenchDisk& disk = row.passes.back().disk.emplace(between(*disk_before, *disk_after, loops));
        disk.disk_bytes_per_s = (before.disk + after.disk) / 2;
      }
      before = after;
    }
    if (plan_.profile) BALTORO_TRY_STATUS(profile(prepared, before, row));
    return {};
  }

  // One more pass; `before`: the machine's rates right now.
  Status profile(const Prepared& prepared, const Rates& before, BenchRow& row) {
    model::StepProfile profile;
    for (const OwnedStep& step : prepared.steps) {
      BALTORO_TRY_STATUS(decoder_.forward(prepared.batch(step), kv_, logits_, nullptr, &profile));
    }
    row.regions.assign(profile.regions().begin(), profile.regions().end());
    std::sort(row.regions.begin(), row.regions.end(),
              [](const model::RegionTime& a, const model::RegionTime& b) { return a.seconds > b.seconds; });
    BALTORO_TRY(const Rates after, rates());
    row.profiled = beside(profile.seconds(), before, after);
    return {};
  }

  Result<Rates> rates() {
    Rates now{.read = probe_.read_bytes_per_s(), .linear = probe_.operations_per_s(report_.linear)};
    now.attention = report_.attention == report_.linear ? now.linear : probe_.operations_per_s(report_.attention);
    if (!decoder_.expert_stats()) return now;
    const auto& paths = decoder_.weights().streamed->paths;
    BALTORO_TRY(const ReadRate disk, measure_read_rate(paths, 0, kDiskProbeBytes));
    now.disk = disk.bytes_per_s();
    return now;
  }

  // Mean seconds of one pass; what makes its experts miss does not count.
  Result<double> time_passes(const Prepared& prepared, int loops) {
    double seconds = 0;
    for (int i = 0; i < loops; ++i) {
      double start = steady_seconds();
      for (const OwnedStep& step : prepared.steps) {
        if (plan_.all_miss) {
          seconds += steady_seconds() - start;
          decoder_.drop_experts();
          start = steady_seconds();
        }
        BALTORO_TRY_STATUS(decoder_.forward(prepared.batch(step), kv_, logits_));
      }
      seconds += steady_seconds() - start;
    }
    return seconds / loops;
  }

  // A pass that is not timed, to see which experts the steps touch.
  Status count_cost(const Prepared& prepared, BenchRow& row) {
    const model::Weights& weights = decoder_.weights();
    std::int64_t touched = 0, moe_layers = 0;
    for (const OwnedStep& step : prepared.steps) {
      ExpertCount experts(weights.config, step.logit_rows);
      const model::Trace trace = experts.trace();
      BALTORO_TRY_STATUS(decoder_.forward(prepared.batch(step), kv_, logits_, &trace));
      StepShape shape = step.shape;
      shape.experts_touched = experts.touched();
      row.cost += step_cost(weights, shape, kv_.element_bytes());
      for (const std::int64_t count : experts.touched()) {
        touched += count;
        moe_layers += count > 0 ? 1 : 0;
      }
    }
    if (moe_layers > 0) row.experts_per_layer = static_cast<double>(touched) / static_cast<double>(moe_layers);
    return {};
  }

  const BenchPlan& plan_;
  MachineProbe& probe_;
  BenchReport& report_;
  model::Decoder& decoder_;
  model::KvCache& kv_;
  std::vector<float> logits_;
};

// What the kernels of a run compute with, and so what limits them.
void name_arithmetic(const model::DecoderOptions& options, kernels::Isa isa, BenchReport& report) {
  const bool f32 = options.math == model::Math::kF32;
  report.isa = f32 ? "scalar" : kernels::isa_name(isa);
  report.math = model::math_name(options.math);
  report.dense = model::dense_name(options.dense);
  report.linear = report.attention = !f32 && isa == kernels::Isa::kAvx512Bf16 ? Arithmetic::kBf16 : Arithmetic::kF32;
  if (options.math == model::Math::kFast && isa != kernels::Isa::kScalar && int8_loop())
    report.linear = Arithmetic::kInt8;
}

// What a limit leaves for the model beside the buffers of the probes.
std::int64_t limit_beside_probes(const BenchPlan& plan, const MachineProbe& probe) {
  if (plan.memory_bytes == 0) return 0;
  return std::max<std::int64_t>(plan.memory_bytes - probe.buffer_bytes() - kReadRateMemory, 1);
}

// Sizes the decoder for the largest case and asks whether it all fits.
Result<model::DecoderOptions> fit(const model::Weights& weights, const BenchPlan& plan, std::int64_t limit_bytes,
                                  const std::vector<BenchCase>& cases, std::int64_t& blocks) {
  model::DecoderOptions options = plan.decoder;
  std::int64_t batch = 1, prompt = 1, positions = 1;
  blocks = 1;
  for (const BenchCase& what : cases) {
    if (what.kind == BenchKind::kPrefill) prompt = std::max(prompt, what.context);
    batch = std::max(batch, what.batch);
    positions = std::max(positions, what.positions());
    blocks = std::max(blocks, what.batch * blocks_for(what.positions()));
  }
  options.max_batch_tokens = std::max(batch, std::min(options.max_batch_tokens, prompt));
  options.max_logit_rows = batch;
  const std::int64_t per_sequence =
      std::min(blocks_for(positions) * model::kBlockTokens, weights.config.max_position_embeddings);
  const std::int64_t sequences = (blocks * model::kBlockTokens + per_sequence - 1) / per_sequence;
  BALTORO_TRY(
      const model::MemoryPlan memory,
      check_memory_of(
          weights,
          {.context_tokens = per_sequence, .sequences = sequences, .decoder = options, .limit_bytes = limit_bytes},
          plan.force_memory));
  options.expert_cache_bytes = memory.experts;
  return options;
}

}  // namespace

Result<BenchReport> run_bench(std::shared_ptr<const model::Weights> weights, const BenchPlan& plan,
                              MachineProbe& probe) {
  BALTORO_TRY(const std::vector<BenchCase> cases, bench_cases(plan.sizes, weights->config));
  std::int64_t blocks = 0;
  BALTORO_TRY(const model::DecoderOptions options,
              fit(*weights, plan, limit_beside_probes(plan, probe), cases, blocks));
  BALTORO_TRY(const kernels::Isa isa, kernels::choose_isa());
  BenchReport report;
  name_arithmetic(options, isa, report);
  report.peaks = probe.peaks();
  reset_peak_resident();
  BALTORO_TRY(auto kv, model::KvCache::create(weights->config, options.math, blocks));
  fill_cache(*kv, weights->config);
  BALTORO_TRY(auto decoder, model::Decoder::create(std::move(weights), options));
  BALTORO_TRY_STATUS(Bench(plan, probe, report, *decoder, *kv).run(cases));
  const ProcessMemory memory = process_memory();
  report.memory = {.resident = memory.resident_bytes - probe.buffer_bytes(),
                   .anonymous = memory.anonymous_resident_bytes - probe.buffer_bytes(),
                   .peak_resident = memory.peak_resident_bytes - probe.buffer_bytes()};
  return report;
}

}  // namespace baltoro::cli
