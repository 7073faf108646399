// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/cli/bench_cases.h"
#include "baltoro/cli/bench_row.h"
#include "baltoro/cli/bench_start.h"
#include "baltoro/cli/machine_probe.h"
#include "baltoro/model/decoder.h"

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

// Runs the plan's cases on random token ids. The context behind a decode step is filled with random latents, not
// computed: the work is the same. kInvalidArgument: a size under 1 or over the model's context. kResourceExhausted: see
// model::check_memory.
Result<BenchReport> run_bench(std::shared_ptr<const model::Weights> weights, const BenchPlan& plan,
                              MachineProbe& probe);

}  // namespace baltoro::cli
