// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "baltoro/base/worker_plan.h"

namespace baltoro {

inline constexpr int kTeamWorkers = 8;  // at most: about the cores of one L3

// Neighbouring workers of one memory node, whose counters lie in one cache line: who looks for work reads a line a
// team.
struct alignas(64) WorkerTeam {
  std::array<std::atomic<std::int64_t>, kTeamWorkers> next{};  // ranges of each worker's share handed out
  int first_worker = 0;
  int workers = 0;
  int node = 0;
  std::vector<int> order;  // whose shares they take: their own, those of their node, the others
};

// The teams of a pool in the places' order, and the team of each worker.
struct WorkerTeams {
  std::vector<WorkerTeam> teams;
  std::vector<int> team_of;
};
WorkerTeams make_teams(std::span<const WorkerPlace> places);

}  // namespace baltoro
