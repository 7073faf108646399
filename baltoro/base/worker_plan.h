// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "baltoro/base/numa_topology.h"
#include "baltoro/base/result.h"

namespace baltoro {

// What is asked of a thread pool: so many threads (0: one per CPU that may be used), on these CPUs (empty: any).
struct PoolOptions {
  int threads = 0;
  std::vector<int> cpus = {};
};

// What the machine lets this process use.
struct CpuFacts {
  std::vector<int> allowed;          // the affinity mask, ascending
  std::optional<double> quota = {};  // of CPU time, see cpu_quota
  NumaTopology numa = {};
};
CpuFacts cpu_facts(const std::string& root = "");

// Where one worker runs. One CPU: pinned to it.
struct WorkerPlace {
  std::vector<int> cpus = {};  // may be empty: anywhere
  int node = 0;                // index into NumaTopology::nodes
};

// One place per worker, those of a node side by side, nodes in proportion to their CPUs.
//   threads = 0: one per CPU asked for, else per allowed CPU, but no more than the quota keeps busy.
//   Workers are pinned one to a CPU when there are as many as CPUs; fewer share their node's CPUs, so that two
//   processes with a few threads each do not meet on the first ones. More run anywhere.
// kInvalidArgument (field "cpus" or "threads"): a CPU outside the affinity mask, more threads than CPUs asked for.
Result<std::vector<WorkerPlace>> place_workers(const CpuFacts& facts, const PoolOptions& options);

// The first of n items that `worker` and those after it take where each of `workers` has an equal share, in order:
// floor(n worker / workers). 0 for worker 0, n for worker `workers`; n workers may be more than 64 bits hold.
constexpr std::int64_t share_begin(std::int64_t n, std::int64_t worker, std::int64_t workers) {
  return n / workers * worker + n % workers * worker / workers;
}

}  // namespace baltoro
