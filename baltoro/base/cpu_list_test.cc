// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/cpu_list.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "baltoro/base/numa_topology.h"

namespace baltoro {
namespace {

namespace fs = std::filesystem;

TEST(CpuList, ReadsNumbersAndRanges) {
  EXPECT_EQ(*parse_cpu_list("0"), std::vector<int>{0});
  EXPECT_EQ(*parse_cpu_list("0-3,8"), (std::vector<int>{0, 1, 2, 3, 8}));
  EXPECT_EQ(*parse_cpu_list("8,0-2,1-3"), (std::vector<int>{0, 1, 2, 3, 8}));
  EXPECT_EQ(*parse_cpu_list("5-5"), std::vector<int>{5});
  EXPECT_EQ(parse_cpu_list("0-65535")->size(), 65536u);
}

TEST(CpuList, RefusesTheRest) {
  std::string endless;
  for (int i = 0; i < 100000; ++i) endless += "0-65535,";
  for (const std::string& text : {std::string(),
                                  std::string(","),
                                  std::string("0,"),
                                  std::string(",0"),
                                  std::string("1-"),
                                  std::string("-1"),
                                  std::string("3-1"),
                                  std::string("0--1"),
                                  std::string("0-1-2"),
                                  std::string(" 0"),
                                  std::string("0 "),
                                  std::string("+1"),
                                  std::string("0x1"),
                                  std::string("1.5"),
                                  std::string("all"),
                                  std::string("65536"),
                                  std::string("99999999999999999999"),
                                  std::string("0-99999999999"),
                                  std::string("0\0", 2),
                                  endless}) {
    const auto list = parse_cpu_list(text);
    ASSERT_FALSE(list.ok()) << text.substr(0, 40);
    EXPECT_EQ(list.error().code, Errc::kInvalidArgument);
    EXPECT_LT(list.error().message.size(), 200u);
  }
}

TEST(CpuList, WritesTheShortestText) {
  EXPECT_EQ(cpu_list_text(std::vector<int>{}), "");
  EXPECT_EQ(cpu_list_text(std::vector<int>{4}), "4");
  EXPECT_EQ(cpu_list_text(std::vector<int>{0, 1, 2, 4, 6, 7}), "0-2,4,6-7");
}

TEST(CpuList, ThisThreadMayRunSomewhere) { EXPECT_FALSE(affinity_cpus().empty()); }

class FakeRoot : public testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::path(testing::TempDir()) / ("cpus" + std::to_string(::testing::UnitTest::GetInstance()->random_seed()) +
                                            testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(root_);
  }
  void TearDown() override { fs::remove_all(root_); }
  void put(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  std::string root() const { return root_.string(); }
  fs::path root_;
};

using CpuQuota = FakeRoot;

TEST_F(CpuQuota, IsTheTightestOfTheGroupsAbove) {
  put("proc/self/cgroup", "0::/a/b\n");
  put("sys/fs/cgroup/cpu.max", "max 100000\n");
  put("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  put("sys/fs/cgroup/a/b/cpu.max", "800000 100000\n");
  EXPECT_EQ(cpu_quota(root()), 1.5);
}

TEST_F(CpuQuota, OfTheOldVersion) {
  put("proc/self/cgroup", "4:memory:/x\n2:cpu,cpuacct:/box\n0::/\n");
  put("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "50000\n");
  put("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
  put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(cpu_quota(root()), 0.5);
}

TEST_F(CpuQuota, IsNoneWhenNothingSensibleIsSaid) {
  EXPECT_EQ(cpu_quota(root()), std::nullopt);
  put("proc/self/cgroup", "0::/\n");
  EXPECT_EQ(cpu_quota(root()), std::nullopt);
  for (const char* text : {"", "\n", "max\n", "max 100000\n", "100000\n", "0 100000\n", "100000 0\n", "-5 100000\n",
                           "x y\n", "99999999999999999999 1\n"}) {
    put("sys/fs/cgroup/cpu.max", text);
    EXPECT_EQ(cpu_quota(root()), std::nullopt) << text;
  }
}

using Numa = FakeRoot;

TEST_F(Numa, NodesWithCpusAscending) {
  put("sys/devices/system/node/online", "0,2-3\n");
  put("sys/devices/system/node/node0/cpulist", "0-3,8-11\n");
  put("sys/devices/system/node/node2/cpulist", "4-7\n");
  put("sys/devices/system/node/node3/cpulist", "\n");  // memory alone
  const NumaTopology topology = numa_topology(root());
  ASSERT_EQ(topology.nodes.size(), 2u);
  EXPECT_EQ(topology.nodes[0].id, 0);
  EXPECT_EQ(topology.nodes[1].id, 2);
  EXPECT_EQ(topology.nodes[1].cpus, (std::vector<int>{4, 5, 6, 7}));
  EXPECT_EQ(topology.index_of(9), 0);
  EXPECT_EQ(topology.index_of(5), 1);
  EXPECT_EQ(topology.index_of(77), 0);
}

TEST_F(Numa, NothingToReadIsOneNode) {
  EXPECT_TRUE(numa_topology(root()).nodes.empty());
  put("sys/devices/system/node/online", "0-nonsense\n");
  EXPECT_TRUE(numa_topology(root()).nodes.empty());
}

TEST(NumaOfThisMachine, HasEveryCpuOfThisThreadSomewhere) {
  const NumaTopology topology = numa_topology();
  for (const int cpu : affinity_cpus()) {
    EXPECT_LT(topology.index_of(cpu), std::max<int>(1, static_cast<int>(topology.nodes.size())));
  }
}

}  // namespace
}  // namespace baltoro
