// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/thread_control.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>

#include <array>
#include <thread>
#include <vector>

#include "baltoro/base/cpu_list.h"

namespace baltoro {
namespace {

TEST(CpuMask, HasWhatItWasMadeOf) {
  const CpuMask mask = CpuMask::of(std::array{0, 63, 64, 200});
  for (int cpu = 0; cpu < 300; ++cpu) {
    EXPECT_EQ(mask.has(cpu), cpu == 0 || cpu == 63 || cpu == 64 || cpu == 200) << cpu;
  }
  EXPECT_EQ(mask.bytes, 32u);  // bit 200 lies in the fourth word
  EXPECT_TRUE(CpuMask::of(std::array{65535}).has(65535));
  EXPECT_FALSE(CpuMask::of({}).has(0));
}

TEST(CpuMask, OfThisThreadIsItsAffinity) {
  const CpuMask mask = CpuMask::of_this_thread();
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) GTEST_SKIP() << "more CPUs than " << CPU_SETSIZE;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) EXPECT_EQ(mask.has(cpu), CPU_ISSET(cpu, &set) != 0) << cpu;
}

TEST(MoveTo, TheThreadMayRunThereOnly) {
  std::thread([] {
    const std::vector<int> last{affinity_cpus().back()};
    move_to(0, CpuMask::of(last));
    EXPECT_EQ(affinity_cpus(), last);
    move_to(0, CpuMask::of({}));  // refused: nothing changes
    EXPECT_EQ(affinity_cpus(), last);
  }).join();
}

TEST(OffCpu, AThreadThatSleepsUsesNoTime) {
  std::atomic<bool> stop{false};
  std::atomic<clockid_t> clock{0};
  std::thread sleeper([&] {
    clockid_t own{};
    pthread_getcpuclockid(pthread_self(), &own);
    clock.store(own);
    stop.wait(false);
  });
  while (clock.load() == 0) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_TRUE(off_cpu(clock.load()));
  stop.store(true);
  stop.notify_all();
  sleeper.join();
  clockid_t here{};
  pthread_getcpuclockid(pthread_self(), &here);
  bool ran = false;  // this thread spins meanwhile; other load may have the CPU in some looks, not in all
  for (int look = 0; look < 1000 && !ran; ++look) ran = !off_cpu(here);
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace baltoro
