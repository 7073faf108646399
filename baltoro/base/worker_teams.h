// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "baltoro/base/worker_plan.h"

namespace baltoro {

// Neighbouring workers of one memory node that take the ranges of their share from one counter.
struct alignas(64) WorkerTeam {
  std::atomic<std::int64_t> next{0};  // ranges of its share handed out
  int first_worker = 0;
  int node = 0;
  std::vector<int> order;  // whose shares it takes: its own, those of its node, the others
};

inline constexpr int kTeamWorkers = 8;  // at most: about the cores of one L3

// The teams of a pool in the places' order, and the team of each worker.
struct WorkerTeams {
  std::vector<WorkerTeam> teams;
  std::vector<int> team_of;
};
WorkerTeams make_teams(std::span<const WorkerPlace> places);

}  // namespace baltoro
