// SPDX-License-Identifier: Apache-2.0
// A process that keeps KV pages and answers in a folder is killed at a random moment, again and again over one folder.
// What it had finished is whole and there, what it had not is not, and nothing is ever wrong. BALTORO_KILLS: how often.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include "baltoro/engine/kv_store.h"
#include "baltoro/engine/random.h"
#include "baltoro/llm/turn_log.h"

namespace baltoro {
namespace {

namespace fs = std::filesystem;
using engine::KvDirectory;
using engine::KvStore;
using engine::PageId;

#ifdef BALTORO_DCHECKS  // slow builds with sanitizers
constexpr int kKills = 30;
#else
constexpr int kKills = 150;
#endif
constexpr std::size_t kBytes = 64 << 10;
constexpr std::int64_t kPage = kBytes + engine::kPageHeaderBytes, kMostPages = 64;
constexpr std::size_t kChain = 8;         // blocks of a conversation
constexpr std::int64_t kSurelyKept = 32;  // of the latest pages, whatever left to make room

Result<std::unique_ptr<KvDirectory>> open_directory(const std::string& dir) {
  return KvDirectory::open({.dir = dir, .max_bytes = kMostPages * kPage, .kv_bytes = kBytes});
}

// Page number n: a block of one of many chains.
PageId page_of(const engine::ChainKeys& keys, std::uint64_t n) {
  PageId id{.before = keys.root({})};
  for (std::uint64_t block = 0; block <= n % kChain; ++block) {
    if (block > 0) id.before = id.key;
    id.tokens.fill(static_cast<engine::TokenId>(n / kChain));
    id.key = keys.next(id.before, id.tokens);
  }
  id.index = n % kChain;
  return id;
}
void fill(std::span<std::byte> kv, std::uint64_t n) {
  for (std::size_t i = 0; i < kv.size(); i += 8) {
    const std::uint64_t word = engine::mix64(n * kBytes + i);
    std::copy_n(reinterpret_cast<const std::byte*>(&word), 8, kv.data() + i);
  }
}
bool is_page(std::span<const std::byte> kv, std::uint64_t n) {
  std::vector<std::byte> want(kBytes);
  fill(want, n);
  return std::ranges::equal(kv, want);
}

llm::KeptTurn turn_of(std::uint64_t n) {
  llm::KeptTurn kept{.prompt = sha256(std::as_bytes(std::span(&n, 1))), .visible = {}, .reasoning = {}, .turn = {}};
  for (std::uint64_t i = 0; i < 100 + n % 200; ++i)
    kept.turn.tokens.push_back(static_cast<std::int32_t>(engine::mix64(n + i) % 100'000));
  kept.turn.tokens[0] = static_cast<std::int32_t>(n);
  kept.turn.call_ids = {"functions.f:" + std::to_string(n)};
  return kept;
}

struct Answers {
  std::shared_ptr<llm::TurnStore> store = std::make_shared<llm::TurnStore>(llm::TurnStoreLimits{.bytes = 256 << 10});
  std::unique_ptr<llm::TurnLog> log;
  explicit Answers(const std::string& dir) {
    if (auto opened = llm::TurnLog::open(dir + "/turns", store); opened.ok()) log = *std::move(opened);
  }
};

// The process: writes pages from `next` on, an answer with each, reads pages back meanwhile, and says which page is on
// disk. It ends by itself only when something is wrong.
[[noreturn]] void work(const std::string& dir, std::uint64_t next, int tell) {
  auto directory = open_directory(dir);
  if (!directory.ok()) ::_exit(10);
  auto store = KvStore::start(*std::move(directory), kBytes);
  if (!store.ok()) ::_exit(11);
  const engine::ChainKeys& keys = (*store)->directory().keys();
  const Answers answers(dir);
  if (answers.log == nullptr) ::_exit(12);
  for (std::uint64_t written = next;;) {
    if (const auto buffer = (*store)->write_buffer(); !buffer.empty()) {
      fill(buffer, next);
      (*store)->write(page_of(keys, next));
      const llm::KeptTurn kept = turn_of(next++);
      answers.store->keep(kept);
      answers.log->append(kept);
    }
    for (; written < next && (*store)->directory().contains(page_of(keys, written).key); ++written)
      if (::write(tell, &written, sizeof written) != sizeof written) ::_exit(13);
    if (const std::uint64_t back = engine::mix64(next) % 20; back < written)
      (void)(*store)->read(written - back, page_of(keys, written - back));
    (*store)->take_read([](const engine::KvPage& page) {
      if (page.found && !is_page(page.kv, page.ticket)) ::_exit(14);
    });
  }
}

class KvKill : public testing::Test {
 protected:
  KvKill() : dir_(testing::TempDir() + "kv_kill_" + std::to_string(::getpid())) { fs::remove_all(dir_); }
  ~KvKill() override { fs::remove_all(dir_); }

  // One life of that time, from its start or from its first page; afterwards all pages below told_ were said to be on
  // disk.
  void live(std::chrono::microseconds time, bool from_first_page) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(pipe[0]);
      work(dir_, told_, pipe[1]);
    }
    ::close(pipe[1]);
    std::uint64_t n = 0;
    if (from_first_page && ::read(pipe[0], &n, sizeof n) == sizeof n) told_ = n + 1;
    std::this_thread::sleep_for(time);
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status)) << "the process ended by itself: " << WEXITSTATUS(status);
    while (::read(pipe[0], &n, sizeof n) == sizeof n) told_ = n + 1;
    ::close(pipe[0]);
  }

  std::int64_t unfinished() const {
    std::int64_t files = 0;
    if (!fs::exists(dir_ + "/pages")) return 0;
    for (const auto& entry : fs::recursive_directory_iterator(dir_ + "/pages"))
      files += entry.path().filename().string().starts_with(".tmp-");
    return files;
  }

  void check_pages() {
    torn_pages += unfinished();
    const auto directory = open_directory(dir_);
    ASSERT_TRUE(directory.ok()) << directory.error().message;
    EXPECT_EQ(unfinished(), 0);
    std::vector<std::byte> kv(kBytes);
    const std::int64_t last = static_cast<std::int64_t>(told_) + 20;  // some were written and not said to be
    for (std::int64_t n = std::max<std::int64_t>(0, last - 4 * kMostPages); n < last; ++n) {
      const PageId id = page_of((*directory)->keys(), static_cast<std::uint64_t>(n));
      const bool there = (*directory)->contains(id.key);
      const bool told = n < static_cast<std::int64_t>(told_);
      EXPECT_TRUE(there || !told || n < static_cast<std::int64_t>(told_) - kSurelyKept) << "page " << n << " is lost";
      if (!there) continue;
      EXPECT_EQ((*directory)->read(id, kv), engine::PageFault::kNone) << "page " << n;
      EXPECT_TRUE(is_page(kv, static_cast<std::uint64_t>(n))) << "page " << n;
      ++pages;
    }
    EXPECT_EQ((*directory)->stats().pages_bad, 0);
    EXPECT_LE((*directory)->stats().bytes, kMostPages * kPage);
  }

  void check_answers() {
    const Answers answers(dir_);
    ASSERT_NE(answers.log, nullptr);
    torn_answers += answers.log->stats().bytes_bad > 0;
    std::int64_t newest = -1;
    for (const llm::KeptTurn& kept : answers.store->all()) {
      const llm::KeptTurn want = turn_of(static_cast<std::uint64_t>(kept.turn.tokens[0]));
      EXPECT_EQ(kept.prompt, want.prompt);
      EXPECT_EQ(kept.turn.tokens, want.turn.tokens);
      EXPECT_EQ(kept.turn.call_ids, want.turn.call_ids);
      newest = std::max<std::int64_t>(newest, kept.turn.tokens[0]);
      ++turns;
    }
    EXPECT_GE(newest, newest_answer_) << "an answer that was there is lost";
    newest_answer_ = newest;
  }

  const std::string dir_;
  std::uint64_t told_ = 0;
  std::int64_t newest_answer_ = -1;

 public:
  std::int64_t pages = 0, turns = 0, torn_pages = 0, torn_answers = 0;
};

TEST_F(KvKill, WhatWasFinishedIsWholeAndTheRestIsNot) {
  const char* wanted = std::getenv("BALTORO_KILLS");
  const int kills = wanted != nullptr ? std::atoi(wanted) : kKills;
  std::mt19937_64 random(1);
  for (int kill = 0; kill < kills && !HasFailure(); ++kill) {
    SCOPED_TRACE(testing::Message() << "kill " << kill);
    ASSERT_NO_FATAL_FAILURE(live(std::chrono::microseconds(random() % 20'000), random() % 2 == 0));
    ASSERT_NO_FATAL_FAILURE(check_pages());
    ASSERT_NO_FATAL_FAILURE(check_answers());
  }
  std::printf(
      "%d kills, %llu pages written; %lld of them torn away, %lld answers cut; %lld pages and %lld answers read "
      "back\n",
      kills, static_cast<unsigned long long>(told_), static_cast<long long>(torn_pages),
      static_cast<long long>(torn_answers), static_cast<long long>(pages), static_cast<long long>(turns));
  // The test means something only if all of these happened.
  EXPECT_GT(told_, static_cast<std::uint64_t>(kMostPages));
  EXPECT_GT(torn_pages, 0);
  EXPECT_GT(turns, 100);
}

}  // namespace
}  // namespace baltoro
