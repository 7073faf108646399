// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/worker_teams.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace baltoro {

WorkerTeams make_teams(std::span<const WorkerPlace> places) {
  WorkerTeams made;
  std::vector<std::pair<int, int>> begins;  // first worker, node
  for (int worker = 0; worker < static_cast<int>(places.size()); ++worker) {
    const int node = places[static_cast<std::size_t>(worker)].node;
    if (begins.empty() || begins.back().second != node || worker - begins.back().first == kTeamWorkers) {
      begins.emplace_back(worker, node);
    }
    made.team_of.push_back(static_cast<int>(begins.size()) - 1);
  }
  const auto count = static_cast<int>(begins.size());
  made.teams = std::vector<WorkerTeam>(begins.size());
  for (int number = 0; number < count; ++number) {
    WorkerTeam& team = made.teams[static_cast<std::size_t>(number)];
    std::tie(team.first_worker, team.node) = begins[static_cast<std::size_t>(number)];
    team.workers = static_cast<int>(std::ranges::count(made.team_of, number));
    for (const bool same_node : {true, false}) {
      for (int i = 0; i < count; ++i) {
        const int other = (number + i) % count;
        if ((begins[static_cast<std::size_t>(other)].second == team.node) == same_node) team.order.push_back(other);
      }
    }
  }
  return made;
}

}  // namespace baltoro
