// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/cli/bench_cases.h"
#include "baltoro/cli/bench_start.h"
#include "baltoro/cli/machine_probe.h"
#include "baltoro/cli/step_cost.h"
#include "baltoro/model/decoder.h"
#include "baltoro/model/step_profile.h"

namespace baltoro::cli {

// What to measure, and how often.
struct BenchPlan {
  BenchSizes sizes;
  int repeat = 5;
  double case_seconds = 30;      // a case stops early, but not before two passes
  double pass_seconds = 0.25;    // shorter passes run several times over in one repetition
  std::int64_t probe_bytes = 0;  // 0: default_probe_bytes()
  bool force_memory = false;
  std::int64_t memory_bytes = 0;  // > 0: the weights are of open_streamed_weights, and the run keeps within this
  bool all_miss = false;          // drop the experts in memory before each step
  bool show_progress = true;
  bool profile = false;                // one more pass of each case fills BenchRow::regions
  model::DecoderOptions decoder = {};  // max_logit_rows is chosen here
};

// What a repetition read from disk, of one pass; experts streamed only.
struct BenchDisk {
  double bytes = 0;
  double disk_bytes_per_s = 0;  // the same reader alone, reading in order, right before and after (mean)
  double stall_seconds = 0;     // steps waited
  double hits = 0, late = 0, misses = 0, read_ahead = 0, read_ahead_used = 0;  // see model::ExpertStats
};

// One repetition, with the machine's rates measured right before and after it (their means).
struct BenchPass {
  double seconds = 0;  // of one pass over the steps
  double read_bytes_per_s = 0;
  double linear_per_s = 0;     // FLOP/s of the arithmetic that products with weights use
  double attention_per_s = 0;  // and attention
  std::optional<BenchDisk> disk = {};
};

// One case, measured `repeat` times after passes that do not count.
struct BenchRow {
  BenchCase what;
  std::vector<BenchPass> passes = {};           // in the order measured
  StepCost cost = {};                           // of one pass
  double experts_per_layer = 0;                 // distinct routed experts of a step, mean over MoE layers and steps
  std::vector<model::RegionTime> regions = {};  // of one pass, longest first
  double profiled_seconds = 0;                  // all of that pass

  double median_seconds() const;
  double tokens_per_s() const { return static_cast<double>(what.tokens()) / median_seconds(); }
  double tokens_per_s_min() const;
  double tokens_per_s_max() const;
  double bytes_per_s() const { return static_cast<double>(cost.bytes()) / median_seconds(); }
  double flop_per_s() const { return static_cast<double>(cost.flop()) / median_seconds(); }

  // Seconds that a pass would take at the rates beside it, were it only moving bytes, or only computing.
  double memory_seconds(const BenchPass& pass) const;
  double compute_seconds(const BenchPass& pass) const;
  // Medians over the passes of these seconds / the pass's own: 1 is the limit. `limit_share` takes the larger of the
  // two.
  double memory_share() const;
  double compute_share() const;
  double limit_share() const;
  // Median over the passes of the rate of bytes from disk / the disk's rate beside it. Rows with BenchPass::disk only.
  double disk_share() const;
};

struct BenchMemory {  // bytes, without the probe's buffer
  std::int64_t resident = 0, anonymous = 0, peak_resident = 0;
};

struct BenchReport {
  std::string model_dir, isa, math, dense;
  MachinePeaks peaks;
  Arithmetic linear = Arithmetic::kF32, attention = Arithmetic::kF32;  // what the limits count
  std::vector<BenchRow> rows;
  std::vector<StartRow> starts;
  BenchMemory memory;
};

double median(std::vector<double> values);  // at least one

// Runs the plan's cases on random token ids. The context behind a decode step is filled with random latents, not
// computed: the work is the same. kInvalidArgument: a size under 1 or over the model's context. kResourceExhausted: see
// model::check_memory.
Result<BenchReport> run_bench(std::shared_ptr<const model::Weights> weights, const BenchPlan& plan,
                              MachineProbe& probe);

}  // namespace baltoro::cli
