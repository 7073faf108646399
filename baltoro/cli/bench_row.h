// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "baltoro/cli/bench_cases.h"
#include "baltoro/cli/step_cost.h"
#include "baltoro/model/step_profile.h"

namespace baltoro::cli {

// What a repetition read from disk, of one pass; experts streamed only.
struct BenchDisk {
  double bytes = 0;
  double bytes_used = 0;        // of experts that a step computed
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
  BenchPass profiled = {};                      // all of that pass, which is none of `passes`

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
  // Seconds that a region of the profiled pass would take at its own limit: the larger of bytes / read rate and
  // operations / the faster of the two arithmetics' rates. Their sum over all regions, or the whole's own limit if that
  // is larger, is the least for a step that moves no bytes of one region while it computes another; 0 without a
  // profile.
  double region_limit_seconds(const model::RegionTime& region) const;
  double regions_limit_seconds() const;
  // Median over the passes of the rate of bytes from disk / the disk's rate beside it. Rows with BenchPass::disk only.
  double disk_share() const;
};

double median(std::vector<double> values);  // at least one

}  // namespace baltoro::cli
