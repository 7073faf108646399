// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/turn_log.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "baltoro/base/file.h"

namespace baltoro::llm {
namespace {

namespace fs = std::filesystem;

Sha256Digest digest(std::int32_t n) { return PromptDigest("").of({&n, 1}); }

KeptTurn turn(std::int32_t n) {
  KeptTurn kept{.prompt = digest(n), .visible = visible_digest({.content = "x"}), .reasoning = {}, .turn = {}};
  if (n % 2 == 1) kept.reasoning = digest(-n);
  kept.turn.tokens.assign(static_cast<std::size_t>(1 + n % 50), n);
  if (n % 3 == 1) kept.turn.call_ids = {"functions.get:" + std::to_string(n), ""};
  kept.turn.reasons = n % 2 == 1;
  return kept;
}

void expect_same(const KeptTurn& a, const KeptTurn& b) {
  EXPECT_EQ(a.prompt, b.prompt);
  EXPECT_EQ(a.visible, b.visible);
  EXPECT_EQ(a.reasoning, b.reasoning);
  EXPECT_EQ(a.turn.tokens, b.turn.tokens);
  EXPECT_EQ(a.turn.call_ids, b.turn.call_ids);
  EXPECT_EQ(a.turn.reasons, b.turn.reasons);
}

TEST(TurnRecord, ReadsBackWholeAndInParts) {
  std::string text;
  for (std::int32_t n = 0; n < 20; ++n) text += encode_turn(turn(n));
  std::span<const std::byte> rest = std::as_bytes(std::span(text));
  for (std::int32_t n = 0; n < 20; ++n) {
    const auto kept = decode_turn(rest);
    ASSERT_TRUE(kept) << n;
    expect_same(*kept, turn(n));
  }
  EXPECT_TRUE(rest.empty());
  EXPECT_FALSE(decode_turn(rest));
}

TEST(TurnRecord, AnyChangedByteAndAnyShorterLengthIsRefused) {
  std::string text = encode_turn(turn(7));
  for (std::size_t size = 0; size < text.size(); ++size) {
    std::span<const std::byte> part = std::as_bytes(std::span(text).first(size));
    EXPECT_FALSE(decode_turn(part)) << size;
    EXPECT_EQ(part.size(), size);
  }
  for (std::size_t at = 0; at < text.size(); ++at) {
    text[at] = static_cast<char>(text[at] ^ 4);
    std::span<const std::byte> bytes = std::as_bytes(std::span(text));
    EXPECT_FALSE(decode_turn(bytes)) << at;
    text[at] = static_cast<char>(text[at] ^ 4);
  }
}

struct Log : testing::Test {
  Log() : path(testing::TempDir() + "turns_" + std::to_string(::getpid())) { fs::remove_all(path); }
  ~Log() override { fs::remove_all(path); }
  std::unique_ptr<TurnLog> open() {
    store = std::make_shared<TurnStore>(limits);
    auto log = TurnLog::open(path, store);
    EXPECT_TRUE(log.ok()) << (log.ok() ? "" : log.error().message);
    return log.ok() ? *std::move(log) : nullptr;
  }
  void add(TurnLog& log, std::int32_t n) const {
    store->keep(turn(n));
    log.append(turn(n));
  }
  bool knows(std::int32_t n) const { return store->find(digest(n), {.content = "x"}) != nullptr; }
  std::string path;
  TurnStoreLimits limits;
  std::shared_ptr<TurnStore> store;
};

TEST_F(Log, TurnsAreThereAfterARestart) {
  auto log = open();
  for (std::int32_t n = 0; n < 30; ++n) add(*log, n);
  log = nullptr;
  log = open();
  EXPECT_EQ(log->stats().turns_read, 30);
  for (std::int32_t n = 0; n < 30; ++n) EXPECT_TRUE(knows(n));
  add(*log, 30);
  log = nullptr;
  log = open();
  EXPECT_TRUE(knows(30));
  EXPECT_EQ(log->stats().bytes_bad, 0);
}

TEST_F(Log, WhatIsBehindADamagedRecordIsGoneAndTheRestWorks) {
  auto log = open();
  for (std::int32_t n = 0; n < 10; ++n) add(*log, n);
  log = nullptr;
  std::ofstream(path, std::ios::app | std::ios::binary) << "half a record";
  log = open();
  EXPECT_EQ(log->stats().turns_read, 10);
  EXPECT_EQ(log->stats().bytes_bad, 13);
  add(*log, 10);
  log = nullptr;
  log = open();
  EXPECT_EQ(log->stats().turns_read, 11);
  EXPECT_EQ(log->stats().bytes_bad, 0);
}

TEST_F(Log, AFileOfAnotherKindIsReplaced) {
  std::ofstream(path) << "something else";
  auto log = open();
  EXPECT_EQ(log->stats().bytes_bad, 14);
  add(*log, 1);
  log = nullptr;
  log = open();
  EXPECT_TRUE(knows(1));
}

// The file cannot grow, nor be made anew beyond that size: what is there stays, and trying has a pause.
TEST_F(Log, AFullDiskStopsWritesAlone) {
  auto log = open();
  for (std::int32_t n = 0; n < 10; ++n) add(*log, n);
  log = nullptr;
  log = open();
  const auto old = std::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  const rlimit full{.rlim_cur = fs::file_size(path) + 5, .rlim_max = limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &full), 0);
  for (std::int32_t n = 10; n < 20; ++n) {
    add(*log, n);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  log = nullptr;
  EXPECT_FALSE(fs::exists(path + ".tmp"));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  std::signal(SIGXFSZ, old);
  log = open();
  EXPECT_EQ(log->stats().turns_read, 10);
  EXPECT_EQ(log->stats().bytes_bad, 5);
}

TEST_F(Log, StaysWithinTwiceWhatIsKept) {
  limits.turns = 50;
  auto log = open();
  for (std::int32_t n = 0; n < 20'000; ++n) add(*log, n);
  log = nullptr;
  EXPECT_LE(fs::file_size(path), (1u << 20) + (16u << 10));
  log = open();
  EXPECT_TRUE(knows(19'999));
  EXPECT_FALSE(knows(1));
}

}  // namespace
}  // namespace baltoro::llm
