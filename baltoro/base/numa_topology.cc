// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/numa_topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "baltoro/base/cpu_list.h"
#include "baltoro/base/kernel_file.h"

namespace baltoro {
namespace {

// Kernel lists end with a line break; an empty one (a node of memory alone) has only that.
std::vector<int> read_list(const std::string& path) {
  const auto text = read_kernel_file(path);
  if (!text) return {};
  auto list = parse_cpu_list(std::string_view(*text).substr(0, text->find('\n')));
  return list.ok() ? *std::move(list) : std::vector<int>{};
}

}  // namespace

int NumaTopology::index_of(int cpu) const {
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (std::binary_search(nodes[i].cpus.begin(), nodes[i].cpus.end(), cpu)) return static_cast<int>(i);
  }
  return 0;
}

NumaTopology numa_topology(const std::string& root) {
  const std::string folder = root + "/sys/devices/system/node";
  NumaTopology topology;
  for (const int id : read_list(folder + "/online")) {
    std::vector<int> cpus = read_list(fmt::format("{}/node{}/cpulist", folder, id));
    if (!cpus.empty()) topology.nodes.push_back({.id = id, .cpus = std::move(cpus)});
  }
  return topology;
}

}  // namespace baltoro
