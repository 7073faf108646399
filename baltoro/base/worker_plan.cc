// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/worker_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>

#include "baltoro/base/cpu_list.h"

namespace baltoro {
namespace {

Status check_cpus(const CpuFacts& facts, const PoolOptions& options) {
  std::vector<int> outside;
  std::set_difference(options.cpus.begin(), options.cpus.end(), facts.allowed.begin(), facts.allowed.end(),
                      std::back_inserter(outside));
  if (!outside.empty()) {
    return Error{Errc::kInvalidArgument,
                 fmt::format("[cpus] CPUs of {} expected (what this process may use), got {}",
                             cpu_list_text(facts.allowed), cpu_list_text(outside)),
                 "cpus"};
  }
  if (!options.cpus.empty() && options.threads > static_cast<int>(options.cpus.size())) {
    return Error{Errc::kInvalidArgument,
                 fmt::format("[cpus] at most {} threads expected on CPUs {}, got {}", options.cpus.size(),
                             cpu_list_text(options.cpus), options.threads),
                 "threads"};
  }
  return {};
}

int default_threads(const CpuFacts& facts, const PoolOptions& options, int cpus) {
  if (!options.cpus.empty() || !facts.quota) return std::max(cpus, 1);
  return std::clamp(static_cast<int>(std::lround(std::min(*facts.quota, 1e6))), 1, std::max(cpus, 1));
}

// The usable CPUs of each node, nodes without any left out.
std::vector<WorkerPlace> usable_nodes(const std::vector<int>& cpus, const NumaTopology& numa) {
  std::vector<WorkerPlace> nodes(std::max<std::size_t>(numa.nodes.size(), 1));
  for (const int cpu : cpus) nodes[static_cast<std::size_t>(numa.index_of(cpu))].cpus.push_back(cpu);
  for (std::size_t i = 0; i < nodes.size(); ++i) nodes[i].node = static_cast<int>(i);
  std::erase_if(nodes, [](const WorkerPlace& node) { return node.cpus.empty(); });
  return nodes;
}

}  // namespace

CpuFacts cpu_facts(const std::string& root) {
  return {.allowed = affinity_cpus(), .quota = cpu_quota(root), .numa = numa_topology(root)};
}

Result<std::vector<WorkerPlace>> place_workers(const CpuFacts& facts, const PoolOptions& options) {
  BALTORO_TRY_STATUS(check_cpus(facts, options));
  const std::vector<int>& cpus = options.cpus.empty() ? facts.allowed : options.cpus;
  const auto available = static_cast<std::int64_t>(cpus.size());
  const std::int64_t threads =
      options.threads > 0 ? options.threads : default_threads(facts, options, static_cast<int>(available));
  if (threads > available) return std::vector<WorkerPlace>(static_cast<std::size_t>(threads));
  std::vector<WorkerPlace> places;
  std::int64_t before = 0;  // CPUs of the nodes gone through
  for (const WorkerPlace& node : usable_nodes(cpus, facts.numa)) {
    before += static_cast<std::int64_t>(node.cpus.size());
    const auto end = static_cast<std::size_t>(before * threads / available);
    for (std::size_t i = 0; places.size() < end; ++i) {
      if (threads == available) {
        places.push_back({.cpus = {node.cpus[i]}, .node = node.node});
      } else {
        places.push_back(node);
      }
    }
  }
  return places;
}

}  // namespace baltoro
