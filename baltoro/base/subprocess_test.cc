// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/subprocess.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "baltoro/base/clock.h"

namespace baltoro {
namespace {

using End = ProcessOutcome::End;

ProcessOutcome shell(const std::string& script, ProcessSpec spec = {}) {
  spec.command = {"sh", "-c", script};
  auto outcome = run_process(spec);
  EXPECT_TRUE(outcome.ok()) << outcome.error().message;
  return outcome.ok() ? *std::move(outcome) : ProcessOutcome{};
}

TEST(Subprocess, InputReachesOutput) {
  ProcessSpec spec;
  spec.command = {"cat"};
  spec.input = "hello\nthere";
  const auto outcome = run_process(spec);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->end, End::kExited);
  EXPECT_EQ(outcome->status, 0);
  EXPECT_EQ(outcome->output, "hello\nthere");
}

TEST(Subprocess, StatusAndStandardErrorAreReported) {
  const auto outcome = shell("echo out; echo err >&2; exit 7");
  EXPECT_EQ(outcome.end, End::kExited);
  EXPECT_EQ(outcome.status, 7);
  EXPECT_EQ(outcome.output, "out\n");
  EXPECT_EQ(outcome.error_output, "err\n");
}

TEST(Subprocess, ASignalIsReported) {
  const auto outcome = shell("kill -9 $$");
  EXPECT_EQ(outcome.end, End::kSignalled);
  EXPECT_EQ(outcome.status, 9);
}

TEST(Subprocess, MissingCommandsAreErrors) {
  ProcessSpec spec;
  EXPECT_EQ(run_process(spec).error().code, Errc::kInvalidArgument);
  spec.command = {std::string("a\0b", 3)};
  EXPECT_EQ(run_process(spec).error().code, Errc::kInvalidArgument);
  spec.command = {"no-such-command-is-installed-here"};
  EXPECT_EQ(run_process(spec).error().code, Errc::kNotFound);
  spec.command = {"/"};
  EXPECT_EQ(run_process(spec).error().code, Errc::kPermissionDenied);
  spec.command = {"true"};
  spec.directory = "/no/such/folder";
  EXPECT_EQ(run_process(spec).error().code, Errc::kNotFound);
}

TEST(Subprocess, DirectoryAndEnvironmentAreTheirs) {
  ProcessSpec spec;
  spec.directory = "/";
  spec.environment = {{"BALTORO_TEST_WORD", "a b"}, {"HOME", "/nowhere"}};
  EXPECT_EQ(shell("pwd; echo \"$BALTORO_TEST_WORD\"; echo $HOME", spec).output, "/\na b\n/nowhere\n");
}

TEST(Subprocess, ASleeperIsEndedInTime) {
  ProcessSpec spec;
  spec.timeout_seconds = 0.2;
  const auto outcome = shell("echo begun; sleep infinity", spec);
  EXPECT_EQ(outcome.end, End::kTimedOut);
  EXPECT_EQ(outcome.output, "begun\n");
}

TEST(Subprocess, OneThatIgnoresTheTermSignalIsKilled) {
  ProcessSpec spec;
  spec.timeout_seconds = 0.2;
  const auto outcome = shell("trap '' TERM; while :; do sleep 1; done", spec);
  EXPECT_EQ(outcome.end, End::kTimedOut);
}

TEST(Subprocess, NothingItStartedLivesOn) {
  const auto outcome = shell("sleep 300 & echo $!");
  EXPECT_EQ(outcome.end, End::kExited);
  const pid_t left = std::stoi(outcome.output);
  // Killed with its group; whoever adopts it may take a moment to reap it.
  bool gone = false;
  for (int i = 0; i < 200 && !gone; ++i) {
    gone = ::kill(left, 0) != 0 && errno == ESRCH;
    if (!gone) {
      char path[64], state = 0;
      std::snprintf(path, sizeof path, "/proc/%d/stat", left);
      if (std::FILE* file = std::fopen(path, "re")) {
        if (std::fscanf(file, "%*d (%*[^)]) %c", &state) != 1) state = 0;
        std::fclose(file);
      }
      gone = state == 'Z' || state == 'X';
    }
    if (!gone) ::usleep(10000);
  }
  EXPECT_TRUE(gone);
}

TEST(Subprocess, OutputIsBounded) {
  ProcessSpec spec;
  spec.max_output_bytes = 1000;
  const auto outcome = shell("i=0; while [ $i -lt 5000 ]; do echo 0123456789; i=$((i+1)); done", spec);
  EXPECT_EQ(outcome.end, End::kExited);
  EXPECT_EQ(outcome.output.size(), 1000U);
  EXPECT_TRUE(outcome.output_truncated);
  EXPECT_FALSE(shell("echo short").output_truncated);
}

TEST(Subprocess, AFloodIsEnded) {
  ProcessSpec spec;
  spec.command = {"yes"};
  spec.max_output_bytes = 10;
  spec.max_dropped_bytes = 1 << 20;
  const auto outcome = run_process(spec);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->end, End::kFlooded);
  EXPECT_EQ(outcome->output, "y\ny\ny\ny\ny\n");
}

TEST(Subprocess, InputNobodyReadsDoesNoHarm) {
  const std::string megabyte(1 << 20, 'x');
  ProcessSpec spec;
  spec.input = megabyte;
  EXPECT_EQ(shell("exec 0<&-; sleep 0.1; echo fine", spec).output, "fine\n");
  EXPECT_EQ(shell("true", spec).end, End::kExited);
  spec.command = {"wc", "-c"};
  const auto counted = run_process(spec);
  ASSERT_TRUE(counted.ok());
  EXPECT_EQ(std::stoi(counted->output), 1 << 20);
}

TEST(Subprocess, OnlyStandardDescriptorsAreInherited) {
  const int leaked = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC on purpose
  ASSERT_GE(leaked, 0);
  const auto outcome = shell("for f in /proc/self/fd/*; do echo ${f##*/}; done; [ -e /proc/$$/fd/" +
                             std::to_string(leaked) + " ] && echo leaked");
  ::close(leaked);
  EXPECT_EQ(outcome.output.find("leaked"), std::string::npos) << outcome.output;
}

TEST(Subprocess, CancelEndsIt) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  ProcessSpec spec;
  spec.cancel_fd = fds[0];
  std::thread later([&] {
    ::usleep(100000);
    EXPECT_EQ(::write(fds[1], "x", 1), 1);
  });
  const auto outcome = shell("sleep infinity", spec);
  later.join();
  ::close(fds[0]);
  ::close(fds[1]);
  EXPECT_EQ(outcome.end, End::kCancelled);
}

TEST(Subprocess, SignalsAreDefaultInTheChild) {
  // What this process ignores or blocks must not change the child.
  sigset_t set, old;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, &old);
  const auto handler = ::signal(SIGTERM, SIG_IGN);
  const auto outcome = shell("kill -TERM $$; echo survived");
  ::signal(SIGTERM, handler);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  EXPECT_EQ(outcome.end, End::kSignalled);
  EXPECT_EQ(outcome.output, "");
}

}  // namespace
}  // namespace baltoro
