// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/worker_teams.h"

#include <gtest/gtest.h>

namespace baltoro {
namespace {

TEST(WorkerTeams, AreNeighboursOfOneNode) {
  std::vector<WorkerPlace> places(13);  // ten on node 0, three on node 1
  for (std::size_t i = 10; i < 13; ++i) places[i].node = 1;
  const WorkerTeams made = make_teams(places);
  ASSERT_EQ(made.teams.size(), 3u);
  EXPECT_EQ(made.team_of, (std::vector<int>{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2}));
  const int first_worker[] = {0, 8, 10}, node[] = {0, 0, 1}, workers[] = {8, 2, 3};
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(made.teams[i].first_worker, first_worker[i]);
    EXPECT_EQ(made.teams[i].node, node[i]);
    EXPECT_EQ(made.teams[i].workers, workers[i]);
  }
  EXPECT_EQ(made.teams[0].order, (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(made.teams[1].order, (std::vector<int>{1, 0, 2}));
  EXPECT_EQ(made.teams[2].order, (std::vector<int>{2, 0, 1}));
}

}  // namespace
}  // namespace baltoro
