// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/worker_plan.h"

#include <gtest/gtest.h>

#include <limits>
#include <numeric>

namespace baltoro {
namespace {

__extension__ using Wide = __int128;

std::vector<int> range(int first, int last) {
  std::vector<int> cpus(static_cast<std::size_t>(last - first + 1));
  std::iota(cpus.begin(), cpus.end(), first);
  return cpus;
}

CpuFacts two_nodes() {
  return {.allowed = range(0, 7), .numa = {.nodes = {{.id = 0, .cpus = range(0, 3)}, {.id = 2, .cpus = range(4, 7)}}}};
}

std::vector<WorkerPlace> placed(const CpuFacts& facts, const PoolOptions& options) {
  auto places = place_workers(facts, options);
  EXPECT_TRUE(places.ok()) << places.error().message;
  return places.ok() ? *std::move(places) : std::vector<WorkerPlace>{};
}

TEST(PlaceWorkers, OnePinnedToEachCpuByDefault) {
  const auto places = placed(two_nodes(), {});
  ASSERT_EQ(places.size(), 8u);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(places[static_cast<std::size_t>(i)].cpus, std::vector<int>{i});
    EXPECT_EQ(places[static_cast<std::size_t>(i)].node, i / 4);
  }
}

TEST(PlaceWorkers, FewerSpreadOverNodesAndStayUnpinned) {
  const auto places = placed(two_nodes(), {.threads = 3});
  ASSERT_EQ(places.size(), 3u);
  EXPECT_EQ(places[0].cpus, range(0, 3));
  EXPECT_EQ(places[0].node, 0);
  EXPECT_EQ(places[1].cpus, range(4, 7));
  EXPECT_EQ(places[2].cpus, range(4, 7));
  EXPECT_EQ(places[2].node, 1);
  EXPECT_EQ(placed(two_nodes(), {.threads = 1}).size(), 1u);
}

TEST(PlaceWorkers, MoreThanCpusRunAnywhere) {
  for (const WorkerPlace& place : placed(two_nodes(), {.threads = 9})) EXPECT_TRUE(place.cpus.empty());
}

TEST(PlaceWorkers, CpusAskedForArePinnedInNodeOrder) {
  CpuFacts facts = two_nodes();
  facts.numa.nodes = {{.id = 0, .cpus = {0, 2, 4, 6}}, {.id = 1, .cpus = {1, 3, 5, 7}}};
  const auto places = placed(facts, {.cpus = {1, 2, 3, 6}});
  ASSERT_EQ(places.size(), 4u);
  const std::vector<int> cpus = {2, 6, 1, 3};
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(places[i].cpus, std::vector<int>{cpus[i]});
    EXPECT_EQ(places[i].node, i < 2 ? 0 : 1);
  }
  const auto fewer = placed(facts, {.threads = 2, .cpus = {1, 2, 3, 6}});
  ASSERT_EQ(fewer.size(), 2u);
  EXPECT_EQ(fewer[0].cpus, (std::vector<int>{2, 6}));
  EXPECT_EQ(fewer[1].cpus, (std::vector<int>{1, 3}));
}

TEST(PlaceWorkers, TheQuotaSetsTheDefaultOnly) {
  CpuFacts facts = two_nodes();
  const auto count = [&](double quota, PoolOptions options) {
    facts.quota = quota;
    return placed(facts, options).size();
  };
  EXPECT_EQ(count(2.0, {}), 2u);
  EXPECT_EQ(count(2.4, {}), 2u);
  EXPECT_EQ(count(2.5, {}), 3u);
  EXPECT_EQ(count(0.1, {}), 1u);
  EXPECT_EQ(count(1e300, {}), 8u);
  EXPECT_EQ(count(2.0, {.threads = 5}), 5u);
  EXPECT_EQ(count(2.0, {.cpus = {0, 1, 2}}), 3u);
}

TEST(PlaceWorkers, RefusesWhatTheProcessMayNotUse) {
  CpuFacts facts = two_nodes();
  facts.allowed = {0, 1, 4};
  const auto outside = place_workers(facts, {.cpus = {1, 2, 3, 900}});
  ASSERT_FALSE(outside.ok());
  EXPECT_EQ(outside.error().code, Errc::kInvalidArgument);
  EXPECT_EQ(outside.error().field, "cpus");
  EXPECT_NE(outside.error().message.find("0-1,4"), std::string::npos) << outside.error().message;
  EXPECT_NE(outside.error().message.find("2-3,900"), std::string::npos) << outside.error().message;
  const auto many = place_workers(facts, {.threads = 4, .cpus = {0, 1}});
  ASSERT_FALSE(many.ok());
  EXPECT_EQ(many.error().field, "threads");
}

TEST(PlaceWorkers, AMachineThatTellsNothingHasOneWorker) {
  const auto places = placed({}, {});
  ASSERT_EQ(places.size(), 1u);
  EXPECT_EQ(places[0].node, 0);
}

TEST(ShareBegin, IsTheExactProportionRoundedDown) {
  for (const std::int64_t workers : {1, 2, 3, 7, 192}) {
    for (const std::int64_t n : {std::int64_t{0}, std::int64_t{1}, std::int64_t{100}, std::int64_t{7168},
                                 std::int64_t{1} << 40, std::numeric_limits<std::int64_t>::max()}) {
      for (std::int64_t worker = 0; worker <= workers; ++worker) {
        EXPECT_EQ(share_begin(n, worker, workers), static_cast<std::int64_t>(Wide{n} * worker / workers));
      }
      EXPECT_EQ(share_begin(n, workers, workers), n);
    }
  }
}

}  // namespace
}  // namespace baltoro
