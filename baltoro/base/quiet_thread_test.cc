// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/quiet_thread.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <utility>

namespace baltoro {
namespace {

bool blocked(int signal) {
  sigset_t set;
  pthread_sigmask(SIG_SETMASK, nullptr, &set);
  return sigismember(&set, signal) == 1;
}

TEST(QuietThread, TakesNoSignalsAndLeavesItsStarterAsItWas) {
  ASSERT_FALSE(blocked(SIGINT));
  bool interrupt = false, child = false;
  auto thread = start_quiet_thread([&] {
    interrupt = blocked(SIGINT);
    child = blocked(SIGCHLD);
  });
  ASSERT_TRUE(thread.ok()) << thread.error().message;
  EXPECT_FALSE(blocked(SIGINT));
  EXPECT_FALSE(blocked(SIGCHLD));
  thread->join();
  EXPECT_TRUE(interrupt);
  EXPECT_TRUE(child);
}

}  // namespace
}  // namespace baltoro
