// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/line_log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <thread>
#include <vector>

namespace baltoro::cli {
namespace {

constexpr std::size_t kPipeBytes = 16 << 10;

// A pipe that holds little. A log that waits for its reader would hang the test.
class LineLogTest : public testing::Test {
 protected:
  LineLogTest() {
    EXPECT_EQ(::pipe2(ends_, O_CLOEXEC), 0);
    EXPECT_EQ(::fcntl(ends_[1], F_SETPIPE_SZ, static_cast<int>(kPipeBytes)), static_cast<int>(kPipeBytes));
    EXPECT_EQ(::fcntl(ends_[0], F_SETFL, O_NONBLOCK), 0);
  }
  ~LineLogTest() override {
    close_reader();
    ::close(ends_[1]);
  }
  void close_reader() {
    if (ends_[0] >= 0) ::close(ends_[0]);
    ends_[0] = -1;
  }
  std::string read_all() const {
    std::string text(4 * kPipeBytes, '\0');
    std::size_t done = 0;
    for (ssize_t got; (got = ::read(ends_[0], text.data() + done, text.size() - done)) > 0;)
      done += static_cast<std::size_t>(got);
    return text.substr(0, done);
  }
  int ends_[2] = {-1, -1};
};

TEST_F(LineLogTest, LinesComeWholeAndInOrder) {
  LineLog log(ends_[1]);
  log.write("one");
  log.write("");
  log.write(std::string(5000, 'x'));
  EXPECT_EQ(read_all(), "one\n\n" + std::string(5000, 'x') + "\n");
}

TEST_F(LineLogTest, WhatNobodyReadsIsDroppedAndCounted) {
  LineLog log(ends_[1]);
  const std::string line(99, 'x');
  for (int i = 0; i < 1000; ++i) log.write(line);
  const std::string before = read_all();
  EXPECT_LE(before.size(), kPipeBytes);
  EXPECT_EQ(before.size() % 100, 0U);
  log.write("read again");
  EXPECT_EQ(read_all(),
            std::to_string(1000 - before.size() / 100) + " log lines dropped: nobody read them\nread again\n");
  log.write("nothing more to say of it");
  EXPECT_EQ(read_all(), "nothing more to say of it\n");
}

TEST_F(LineLogTest, ALineLongerThanThePipeIsCutNotWaitedFor) {
  LineLog log(ends_[1]);
  log.write(std::string(10 * kPipeBytes, 'x'));
  log.write("lost");
  EXPECT_EQ(read_all(), std::string(kPipeBytes, 'x'));
  log.write("next");
  EXPECT_EQ(read_all(), "\n2 log lines dropped: nobody read them\nnext\n");
}

TEST_F(LineLogTest, AReaderThatLeftIsNoError) {
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  LineLog log(ends_[1]);
  close_reader();
  log.write("to nobody");
  log.write("to nobody");
  LineLog(-1).write("nowhere");
  std::signal(SIGPIPE, before);
}

TEST_F(LineLogTest, ThreadsDoNotMixTheirLines) {
  LineLog log(ends_[1]);
  std::vector<std::thread> writers;
  for (char c = 'a'; c < 'e'; ++c)
    writers.emplace_back([&log, c] {
      for (int i = 0; i < 20; ++i) log.write(std::string(100, c));
    });
  for (std::thread& writer : writers) writer.join();
  const std::string text = read_all();
  ASSERT_EQ(text.size(), 80U * 101);
  for (std::size_t at = 0; at < text.size(); at += 101)
    EXPECT_EQ(text.substr(at, 101), std::string(100, text[at]) + "\n");
}

}  // namespace
}  // namespace baltoro::cli
