// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/weight_placement.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <numeric>
#include <thread>

#include "baltoro/base/thread_pool.h"

namespace baltoro::model {
namespace {

std::vector<int> range(int first, int last) {
  std::vector<int> cpus(static_cast<std::size_t>(last - first + 1));
  std::iota(cpus.begin(), cpus.end(), first);
  return cpus;
}

// A machine of two nodes of four CPUs each, whose node 1 we may use three CPUs of.
std::vector<WorkerPlace> places_of_two_nodes() {
  const CpuFacts facts{.allowed = range(0, 6),
                       .numa = {.nodes = {{.id = 0, .cpus = range(0, 3)}, {.id = 1, .cpus = range(4, 7)}}}};
  auto places = place_workers(facts, {});
  EXPECT_TRUE(places.ok());
  return *std::move(places);
}

TEST(WeightPlacement, OneNodeHasEverything) {
  for (const int workers : {1, 2, 9}) {
    const auto placement = place_by_share(std::vector<WorkerPlace>(static_cast<std::size_t>(workers)));
    ASSERT_EQ(placement->nodes(), 1);
    EXPECT_EQ(placement->first_row(0, 1000), 0);
    EXPECT_EQ(placement->first_row(1, 1000), 1000);
    EXPECT_EQ(placement->node_of_expert(383, 384), 0);
    EXPECT_TRUE(placement->cpus(0).empty());
  }
}

TEST(WeightPlacement, TwoNodesInProportionToTheirWorkers) {
  const auto placement = place_by_share(places_of_two_nodes());
  ASSERT_EQ(placement->nodes(), 2);
  EXPECT_EQ(std::vector<int>(placement->cpus(0).begin(), placement->cpus(0).end()), range(0, 3));
  EXPECT_EQ(std::vector<int>(placement->cpus(1).begin(), placement->cpus(1).end()), range(4, 6));
  EXPECT_EQ(placement->first_row(1, 7168), 4096);
  EXPECT_EQ(placement->first_row(2, 7168), 7168);
  for (const std::int64_t rows : {1, 2, 6, 7, 8, 13, 1000, 163840}) {
    EXPECT_EQ(placement->first_row(0, rows), 0);
    EXPECT_NEAR(static_cast<double>(placement->first_row(1, rows)), static_cast<double>(rows) * 4 / 7, 1.0) << rows;
    EXPECT_EQ(placement->first_row(2, rows), rows);
  }
  std::array<int, 2> experts{};
  for (int e = 0, before = 0; e < 384; ++e) {
    const int node = placement->node_of_expert(e, 384);
    EXPECT_GE(node, before) << "ascending, as a step takes them";
    before = node;
    ++experts[static_cast<std::size_t>(node)];
  }
  EXPECT_NEAR(experts[0], 384 * 4 / 7, 1);
}

// What parallel_for hands to a node's workers is what lies there: all workers are inside at once, each with the one
// range of its share.
TEST(WeightPlacement, IsTheCutOfTheThreadPool) {
  for (const std::vector<int>& nodes : {std::vector<int>{0, 0, 1, 1}, {0, 1, 1}, {0, 0, 0, 1}, {0, 1, 2}}) {
    std::vector<WorkerPlace> places;
    for (const int node : nodes) places.push_back({.node = node});
    const auto placement = place_by_share(places);
    ThreadPool pool(places);
    const auto workers = static_cast<std::int64_t>(nodes.size());
    const std::int64_t rows = workers * 32;
    std::atomic<std::int64_t> inside{0};
    std::vector<int> node_of_range(nodes.size());
    pool.parallel_for(rows, 32, [&](std::int64_t begin, std::int64_t, int worker) {
      node_of_range[static_cast<std::size_t>(begin / 32)] = pool.node_of(worker);
      ++inside;
      while (inside.load() < workers) std::this_thread::yield();
    });
    for (std::int64_t row = 0; row < rows; ++row) {
      EXPECT_EQ(placement->node_of_expert(row, rows), node_of_range[static_cast<std::size_t>(row / 32)]) << row;
    }
    for (int node = 0; node < placement->nodes(); ++node) {
      EXPECT_EQ(node_of_range[static_cast<std::size_t>(placement->first_row(node, rows) / 32)], node);
    }
  }
}

}  // namespace
}  // namespace baltoro::model
