// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace baltoro {

// The memory nodes that have CPUs, ascending. A machine with one node, or one that does not tell, has one node of all
// CPUs: `nodes` is then empty or holds one.
struct NumaTopology {
  struct Node {
    int id = 0;
    std::vector<int> cpus;
  };
  std::vector<Node> nodes;

  int index_of(int cpu) const;  // into nodes; 0 for an unknown CPU
};

// Reads ROOT/sys/devices/system/node; `root` is for tests. Nodes that cannot be understood are left out.
NumaTopology numa_topology(const std::string& root = "");

}  // namespace baltoro
