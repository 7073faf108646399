// SPDX-License-Identifier: Apache-2.0
// The engine's thread with KV on disk: many requests at once over restarts, the same tokens and nothing left unwritten.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <thread>

#include "baltoro/engine/engine.h"
#include "baltoro/engine/engine_core.h"
#include "baltoro/engine/prefix_runner.h"
#include "baltoro/engine/waiting_for_test.h"

namespace baltoro::engine {
namespace {

std::vector<TokenId> prompt_of(std::int64_t number) {
  std::vector<TokenId> prompt(static_cast<std::size_t>(150 + 40 * number));
  for (std::size_t i = 0; i < prompt.size(); ++i)
    prompt[i] = static_cast<TokenId>(mix64(static_cast<std::uint64_t>(i < 100 ? 0 : number) * 1000 + i) % 40);
  return prompt;
}

struct Disk : testing::Test {
  Disk() : dir(testing::TempDir() + "engine_disk_" + std::to_string(::getpid())) { std::filesystem::remove_all(dir); }
  ~Disk() override { std::filesystem::remove_all(dir); }

  // An Engine or an EngineCore.
  template <typename Made = Engine>
  std::unique_ptr<Made> start(std::int64_t blocks = 64) {
    auto runner = std::make_unique<PrefixRunner>(PrefixRunnerOptions{.num_blocks = blocks}, &log);
    const std::size_t bytes = runner->block_memory(BlockId{0}).size();
    auto directory = KvDirectory::open(
        {.dir = dir, .max_bytes = 1 << 20, .kv_bytes = bytes, .fail_write = fail_write, .before_read = before_read});
    EXPECT_TRUE(directory.ok());
    auto store = KvStore::start(*std::move(directory), bytes);
    EXPECT_TRUE(store.ok());
    return std::make_unique<Made>(std::move(runner), EngineOptions{}, *std::move(store));
  }
  static Request request_of(std::vector<TokenId> prompt, std::shared_ptr<Waiting> answer) {
    Request request;
    request.prompt = std::move(prompt);
    request.max_tokens = 20;
    request.sampling.temperature = 0;
    request.sink = std::move(answer);
    return request;
  }
  static std::shared_ptr<Waiting> submit(Engine& engine, std::int64_t number, RequestId* id = nullptr,
                                         double timeout_seconds = 0) {
    auto answer = std::make_shared<Waiting>();
    Request request = request_of(prompt_of(number), answer);
    request.timeout_seconds = timeout_seconds;
    const auto submitted = engine.submit(std::move(request));
    EXPECT_TRUE(submitted.ok());
    if (id != nullptr) *id = *submitted;
    return answer;
  }

  std::string dir;
  PrefixRunnerLog log;
  std::function<int()> fail_write;
  std::function<void()> before_read;
};

TEST_F(Disk, BlocksAreUnwrittenUntilTheirPagesAreThere) {
  fail_write = [] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return 0;
  };
  const auto engine = start();
  (void)submit(*engine, 0)->wait();
  engine->drain(20);
  const KvDiskStats disk = *engine->stats().disk;
  EXPECT_EQ(disk.blocks_unwritten, 0);
  EXPECT_GE(disk.pages_written, 2);  // 150 tokens, blocks of 64
}

TEST_F(Disk, ADrainWritesEverythingAndTheNextEngineComputesLittle) {
  std::vector<std::vector<TokenId>> want;
  for (int life = 0; life < 3; ++life) {
    auto engine = start();
    std::vector<std::shared_ptr<Waiting>> answers;
    for (std::int64_t number = 0; number < 6; ++number) answers.push_back(submit(*engine, number));
    for (std::size_t i = 0; i < answers.size(); ++i) {
      if (life == 0) want.push_back(answers[i]->wait());
      EXPECT_EQ(answers[i]->wait(), want[i]);
      if (life > 0) {
        EXPECT_GE(answers[i]->cached(), (150 + 40 * static_cast<std::int64_t>(i) - 1) / 64 * 64);
      }
    }
    engine->drain(20);
    const EngineStats stats = engine->stats();
    EXPECT_EQ(stats.disk->blocks_unwritten, 0);
    if (life > 0) {
      EXPECT_GT(stats.disk->blocks_restored, 10);
    }
    engine = nullptr;
    EXPECT_TRUE(log.errors.empty());
  }
}

// Cancelled while their pages are on the way, and an engine that goes with requests held.
TEST_F(Disk, RequestsThatWaitForPagesCanBeCancelled) {
  auto engine = start();
  for (std::int64_t number = 0; number < 6; ++number) (void)submit(*engine, number)->wait();
  engine->drain(20);
  for (int life = 0; life < 10; ++life) {
    engine = nullptr;
    engine = start();
    std::vector<std::shared_ptr<Waiting>> answers;
    for (std::int64_t number = 0; number < 6; ++number) {
      RequestId id{};
      answers.push_back(submit(*engine, number, &id));
      if (number % 2 == 0) engine->cancel(id);
    }
    if (life % 2 == 0) engine = nullptr;
    for (const auto& answer : answers) (void)answer->wait();
  }
  EXPECT_TRUE(log.errors.empty());
}

// Nothing can be computed and no page comes: still the deadline ends it.
TEST_F(Disk, ARequestThatWaitsForPagesEndsAtItsTime) {
  auto engine = start();
  (void)submit(*engine, 3)->wait();
  engine->drain(20);
  engine = nullptr;
  std::promise<void> go_on;
  before_read = [&, first = true]() mutable {
    if (std::exchange(first, false)) go_on.get_future().wait();
  };
  engine = start();
  const auto late = submit(*engine, 3, nullptr, 0.2);
  const auto begin = std::chrono::steady_clock::now();
  late->wait_end();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
  EXPECT_EQ(late->finish(), FinishReason::kError);
  EXPECT_EQ(late->error().code, Errc::kTimeout);
  go_on.set_value();
  (void)submit(*engine, 3)->wait();
  EXPECT_EQ(engine->stats().requests_timed_out, 1);
}

// The end of a conversation left memory, its beginning did not and is what would leave next: pages that come back must
// not take its place.
TEST_F(Disk, AChainWhoseEndIsOnDiskKeepsItsBeginning) {
  const auto core = start<EngineCore>(16);
  const auto ask = [&](std::uint64_t number, std::size_t tokens) {
    std::vector<TokenId> prompt(tokens);
    for (std::size_t i = 0; i < tokens; ++i) prompt[i] = static_cast<TokenId>(mix64(number * 1000 + i) % 40);
    auto answer = std::make_shared<Waiting>();
    core->add(RequestId{number}, request_of(std::move(prompt), answer));
    while (!core->idle() || core->stats().disk->blocks_unwritten > 0) {
      if (!core->step()) std::this_thread::sleep_for(std::chrono::microseconds(100));
      const Status status = core->check_integrity();
      EXPECT_TRUE(status.ok()) << status.error().message;
    }
    return answer->cached();
  };
  EXPECT_EQ(ask(1, 10 * 64 + 5), 0);
  EXPECT_EQ(ask(2, 9 * 64 + 5), 0);  // takes the free blocks and those at the end of 1
  EXPECT_GE(ask(1, 10 * 64 + 5), 10 * 64);
  EXPECT_GT(core->stats().disk->blocks_restored, 2);
  EXPECT_TRUE(log.errors.empty());
}

}  // namespace
}  // namespace baltoro::engine
