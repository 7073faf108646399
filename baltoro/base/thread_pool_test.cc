// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace baltoro {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {};

TEST_P(ThreadPoolTest, ManySmallStepsCoverEveryIndexOnce) {
  ThreadPool pool(GetParam());
  ASSERT_EQ(pool.size(), GetParam());
  constexpr std::int64_t kLargest = 97;
  std::array<int, kLargest> seen{};  // plain ints: a missing happens-before shows under tsan
  for (int step = 0; step < 3000; ++step) {
    const std::int64_t count = step % (kLargest + 1);
    const std::int64_t grain = 1 + step % 7;
    seen.fill(0);
    pool.parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
      EXPECT_EQ(begin % grain, 0);
      EXPECT_LE(end - begin, grain);
      EXPECT_TRUE(worker >= 0 && worker < pool.size());
      for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
    });
    for (std::int64_t i = 0; i < kLargest; ++i) {
      ASSERT_EQ(seen[static_cast<std::size_t>(i)], i < count ? 1 : 0) << "step " << step << " index " << i;
    }
  }
}

// A worker number belongs to one thread at a time, so per-worker scratch needs no lock.
TEST_P(ThreadPoolTest, WorkerNumbersAreExclusive) {
  ThreadPool pool(GetParam());
  struct alignas(64) Cell {
    std::int64_t sum = 0;
  };
  std::vector<Cell> cells(static_cast<std::size_t>(pool.size()));
  for (int step = 0; step < 200; ++step) {
    pool.parallel_for(100, 1, [&](std::int64_t begin, std::int64_t, int worker) {
      cells[static_cast<std::size_t>(worker)].sum += begin;
    });
  }
  std::int64_t total = 0;
  for (const Cell& cell : cells) total += cell.sum;
  EXPECT_EQ(total, 200 * 4950);
}

INSTANTIATE_TEST_SUITE_P(Sizes, ThreadPoolTest, testing::Values(1, 2, 3, 5, 16));

TEST(ThreadPool, DefaultSizeIsTheAffinityMask) {
  ThreadPool pool(0);
  EXPECT_GE(pool.size(), 1);
}

// Both of two threads are inside the step at once, so the work is truly shared.
TEST(ThreadPool, RangesRunAtTheSameTime) {
  ThreadPool pool(2);
  std::atomic<int> inside{0};
  pool.parallel_for(2, 1, [&](std::int64_t, std::int64_t, int) {
    ++inside;
    while (inside.load() < 2) std::this_thread::yield();
  });
  EXPECT_EQ(inside.load(), 2);
}

TEST(ThreadPool, AnIdlePoolUsesNoCpu) {
  ThreadPool pool(4);
  pool.parallel_for(4, 1, [](std::int64_t, std::int64_t, int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // past the spin
  rusage before{};
  rusage after{};
  getrusage(RUSAGE_SELF, &before);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  getrusage(RUSAGE_SELF, &after);
  const auto micros = [](const rusage& u) {
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000L + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
  };
  EXPECT_LT(micros(after) - micros(before), 30000);  // 300 ms of even one spinning thread would be 300000
}

// Two nodes of two workers: every worker begins in its own node's half.
TEST(ThreadPool, EachNodeReadsItsShare) {
  ThreadPool pool(std::vector<WorkerPlace>{{.node = 0}, {.node = 0}, {.node = 1}, {.node = 1}});
  ASSERT_EQ(pool.size(), 4);
  for (int step = 0; step < 200; ++step) {
    std::atomic<int> inside{0};
    std::array<int, 4> node{};
    pool.parallel_for(40, 10, [&](std::int64_t begin, std::int64_t, int worker) {
      node[static_cast<std::size_t>(begin / 10)] = pool.node_of(worker);
      ++inside;
      while (inside.load() < 4) std::this_thread::yield();
    });
    EXPECT_EQ(node, (std::array<int, 4>{0, 0, 1, 1})) << "step " << step;
  }
}

// One worker a node. The caller's first range lasts until all others are done: the other node does its own share, then
// what is left of the caller's.
TEST(ThreadPool, ANodeHelpsAnotherOnlyAtTheEnd) {
  ThreadPool pool(std::vector<WorkerPlace>{{.node = 0}, {.node = 1}});
  for (int step = 0; step < 200; ++step) {
    std::atomic<int> done{0};
    std::atomic<bool> begun{false};
    std::vector<std::int64_t> order;  // of worker 1's ranges
    pool.parallel_for(20, 1, [&](std::int64_t begin, std::int64_t, int worker) {
      if (worker == 0) {
        begun = true;
        while (done.load() < 19) std::this_thread::yield();
      } else {
        while (!begun.load()) std::this_thread::yield();
        order.push_back(begin);
      }
      ++done;
    });
    std::vector<std::int64_t> expected;
    for (int i = 10; i < 20; ++i) expected.push_back(i);
    for (int i = 1; i < 10; ++i) expected.push_back(i);
    EXPECT_EQ(order, expected) << "step " << step;
  }
}

// All workers take each range together, so that none is done early and helps: each goes on from where it was.
TEST(ThreadPool, WorkersReadOnFromWhereTheyWere) {
  constexpr int kWorkers = 11, kEach = 5, kGrain = 3;  // two teams
  ThreadPool pool(std::vector<WorkerPlace>(static_cast<std::size_t>(kWorkers)));
  ASSERT_EQ(pool.size(), kWorkers);
  std::barrier together(kWorkers);
  std::array<std::vector<std::int64_t>, kWorkers> begins;
  pool.parallel_for(kWorkers * kEach * kGrain, kGrain, [&](std::int64_t begin, std::int64_t, int worker) {
    together.arrive_and_wait();
    begins[static_cast<std::size_t>(worker)].push_back(begin);
  });
  for (std::int64_t worker = 0; worker < kWorkers; ++worker) {
    std::vector<std::int64_t> share;
    for (std::int64_t i = 0; i < kEach; ++i) share.push_back((worker * kEach + i) * kGrain);
    EXPECT_EQ(begins[static_cast<std::size_t>(worker)], share) << worker;
  }
}

// Far more workers than one team has, of uneven nodes; every index once.
TEST(ThreadPool, TeamsCoverEveryIndexOnce) {
  std::vector<WorkerPlace> places;
  for (int i = 0; i < 29; ++i) places.push_back({.node = i < 11 ? 0 : i < 12 ? 1 : 2});
  ThreadPool pool(places);
  for (const std::int64_t count : {1, 2, 3, 28, 29, 30, 1000, 4097}) {
    std::vector<int> seen(static_cast<std::size_t>(count), 0);
    pool.parallel_for(count, 3, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
    });
    EXPECT_EQ(seen, std::vector<int>(static_cast<std::size_t>(count), 1));
  }
}

// Callers may change between steps; each is worker 0 in its own.
TEST(ThreadPool, CallersTakeTurns) {
  ThreadPool pool(2);
  std::int64_t sum = 0;
  for (int i = 0; i < 20; ++i) {
    std::thread([&] {
      std::array<std::int64_t, 2> part{};
      pool.parallel_for(100, 1, [&](std::int64_t begin, std::int64_t, int worker) {
        part[static_cast<std::size_t>(worker)] += begin;
      });
      sum += part[0] + part[1];
    }).join();
  }
  EXPECT_EQ(sum, 20 * 4950);
}

TEST(ThreadPool, PoolsComeAndGo) {
  for (int i = 0; i < 50; ++i) {
    ThreadPool pool(1 + i % 5);
    std::atomic<std::int64_t> sum{0};
    if (i % 2 == 0) pool.parallel_for(10, 3, [&](std::int64_t begin, std::int64_t end, int) { sum += end - begin; });
    EXPECT_EQ(sum.load(), i % 2 == 0 ? 10 : 0);
  }
}

TEST(ThreadPoolDeathTest, NestedUseIsABug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto nested = [](int threads) {
    ThreadPool pool(threads);
    pool.parallel_for(8, 1, [&](std::int64_t, std::int64_t, int) {
      pool.parallel_for(1, 1, [](std::int64_t, std::int64_t, int) {});
    });
  };
  EXPECT_DEATH(nested(1), "parallel_for inside parallel_for");
  EXPECT_DEATH(nested(3), "parallel_for inside parallel_for");
}

}  // namespace
}  // namespace baltoro
