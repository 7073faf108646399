// SPDX-License-Identifier: Apache-2.0
// The engine's thread with KV on disk: many requests at once over restarts, the same tokens and nothing left unwritten.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>

#include "baltoro/engine/engine.h"
#include "baltoro/engine/prefix_runner.h"

namespace baltoro::engine {
namespace {

class Answer final : public TokenSink {
 public:
  Next on_token(const TokenEvent& event) override {
    const std::lock_guard lock(mutex_);
    if (event.token) tokens_.push_back(*event.token);
    cached_ = event.tokens_cached;
    ended_ = event.finish != FinishReason::kNone;
    changed_.notify_all();
    return Next::kContinue;
  }
  std::vector<TokenId> wait() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [this] { return ended_; }));
    return tokens_;
  }
  std::int64_t cached() {
    const std::lock_guard lock(mutex_);
    return cached_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TokenId> tokens_;
  std::int64_t cached_ = 0;
  bool ended_ = false;
};

std::vector<TokenId> prompt_of(std::int64_t number) {
  std::vector<TokenId> prompt(static_cast<std::size_t>(150 + 40 * number));
  for (std::size_t i = 0; i < prompt.size(); ++i)
    prompt[i] = static_cast<TokenId>(mix64(static_cast<std::uint64_t>(i < 100 ? 0 : number) * 1000 + i) % 40);
  return prompt;
}

struct Disk : testing::Test {
  Disk() : dir(testing::TempDir() + "engine_disk_" + std::to_string(::getpid())) { std::filesystem::remove_all(dir); }
  ~Disk() override { std::filesystem::remove_all(dir); }

  std::unique_ptr<Engine> start() {
    auto runner = std::make_unique<PrefixRunner>(PrefixRunnerOptions{.num_blocks = 64}, &log);
    const std::size_t bytes = runner->block_memory(BlockId{0}).size();
    auto directory = KvDirectory::open({.dir = dir, .max_bytes = 1 << 20, .kv_bytes = bytes});
    EXPECT_TRUE(directory.ok());
    auto store = KvStore::start(*std::move(directory), bytes);
    EXPECT_TRUE(store.ok());
    return std::make_unique<Engine>(std::move(runner), EngineOptions{}, *std::move(store));
  }
  static std::shared_ptr<Answer> submit(Engine& engine, std::int64_t number, RequestId* id = nullptr) {
    auto answer = std::make_shared<Answer>();
    Request request;
    request.prompt = prompt_of(number);
    request.max_tokens = 20;
    request.sampling.temperature = 0;
    request.sink = answer;
    const auto submitted = engine.submit(std::move(request));
    EXPECT_TRUE(submitted.ok());
    if (id != nullptr) *id = *submitted;
    return answer;
  }

  std::string dir;
  PrefixRunnerLog log;
};

TEST_F(Disk, ADrainWritesEverythingAndTheNextEngineComputesLittle) {
  std::vector<std::vector<TokenId>> want;
  for (int life = 0; life < 3; ++life) {
    auto engine = start();
    std::vector<std::shared_ptr<Answer>> answers;
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
    std::vector<std::shared_ptr<Answer>> answers;
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

}  // namespace
}  // namespace baltoro::engine
