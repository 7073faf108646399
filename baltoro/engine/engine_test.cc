// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <thread>

#include "baltoro/engine/prefix_runner.h"
#include "baltoro/engine/waiting_for_test.h"

namespace baltoro::engine {
namespace {

using testing::HasSubstr;

struct Rig {
  explicit Rig(PrefixRunnerOptions model = {}, EngineOptions options = {})
      : engine(std::make_unique<PrefixRunner>(model, &log), options) {}
  PrefixRunnerLog log;  // read after the engine has come to rest
  Engine engine;
};

Request request_of(std::vector<TokenId> prompt, std::int64_t max_tokens, std::shared_ptr<TokenSink> sink) {
  Request request;
  request.prompt = std::move(prompt);
  request.max_tokens = max_tokens;
  request.sampling.seed = 11;
  request.sink = std::move(sink);
  return request;
}

std::vector<TokenId> ids(std::int64_t count, TokenId seed = 0) {
  std::vector<TokenId> result;
  for (std::int64_t i = 0; i < count; ++i)
    result.push_back(static_cast<TokenId>(mix64(static_cast<std::uint64_t>(seed * 1000 + i)) % 40));
  return result;
}

TEST(Engine, RefusesWhatCannotRunAndNamesTheField) {
  Rig rig({.max_context_tokens = 512, .num_blocks = 4}, {.max_sequences = 4});
  const auto refused = [&](auto change) {
    Request request = request_of(ids(10), 5, std::make_shared<Waiting>());
    change(request);
    const auto id = rig.engine.submit(std::move(request));
    return id.ok() ? Error{} : id.error();
  };
  EXPECT_EQ(refused([](Request& r) { r.prompt.clear(); }).field, "prompt");
  EXPECT_EQ(refused([](Request& r) { r.prompt[3] = 40; }).field, "prompt");
  EXPECT_EQ(refused([](Request& r) { r.prompt[3] = -1; }).field, "prompt");
  EXPECT_THAT(refused([](Request& r) { r.prompt = ids(512); }).message, HasSubstr("at most 511 tokens"));
  EXPECT_EQ(refused([](Request& r) { r.max_tokens = -1; }).field, "max_tokens");
  EXPECT_EQ(refused([](Request& r) { r.n = 0; }).field, "n");
  EXPECT_EQ(refused([](Request& r) { r.n = 5; }).field, "n");
  EXPECT_EQ(refused([](Request& r) { r.top_logprobs = 21; }).field, "top_logprobs");
  EXPECT_EQ(refused([](Request& r) { r.sampling.temperature = -0.1f; }).field, "temperature");
  EXPECT_EQ(refused([](Request& r) { r.sampling.temperature = std::numeric_limits<float>::quiet_NaN(); }).field,
            "temperature");
  EXPECT_EQ(refused([](Request& r) { r.sampling.top_p = 0; }).field, "top_p");
  EXPECT_EQ(refused([](Request& r) { r.sampling.top_k = -5; }).field, "top_k");
  EXPECT_EQ(refused([](Request& r) { r.sampling.min_p = 1.5f; }).field, "min_p");
  EXPECT_EQ(refused([](Request& r) { r.sampling.presence_penalty = 1e9f; }).field, "presence_penalty");
  EXPECT_EQ(refused([](Request& r) { r.sampling.frequency_penalty = -3; }).field, "frequency_penalty");
  EXPECT_EQ(refused([](Request& r) { r.sampling.repetition_penalty = 0; }).field, "repetition_penalty");
  EXPECT_EQ(refused([](Request& r) { r.sampling.logit_bias = {{40, 1.0f}}; }).field, "logit_bias");
  EXPECT_EQ(refused([](Request& r) { r.sampling.logit_bias = {{1, 1e38f}}; }).field, "logit_bias");
  EXPECT_EQ(refused([](Request& r) { r.stop_token_ids = {-7}; }).field, "stop_token_ids");
  const Error too_much = refused([](Request& r) { r.max_tokens = 300; });
  EXPECT_EQ(too_much.code, Errc::kResourceExhausted);
  EXPECT_THAT(too_much.message, HasSubstr("the cache holds 256"));
  EXPECT_EQ(rig.engine.stats().requests_submitted, 0);
}

TEST(Engine, AnswersFromManyThreadsAreThoseOfOne) {
  Rig alone({.num_blocks = 64}), busy({.num_blocks = 20}, {.max_sequences = 6});
  constexpr int kRequests = 24;
  std::vector<std::vector<TokenId>> want(kRequests), got(kRequests);
  const auto ask = [](Engine& engine, int i) {
    auto sink = std::make_shared<Waiting>();
    auto request = request_of(ids(30 + 17 * (i % 7), static_cast<TokenId>(i % 3)), 60 + i, sink);
    request.sampling.seed = static_cast<std::uint64_t>(i);
    EXPECT_TRUE(engine.submit(std::move(request)).ok());
    sink->wait_end();
    return sink->tokens();
  };
  for (int i = 0; i < kRequests; ++i) want[static_cast<std::size_t>(i)] = ask(alone.engine, i);
  std::vector<std::jthread> threads;
  for (int i = 0; i < kRequests; ++i)
    threads.emplace_back([&, i] { got[static_cast<std::size_t>(i)] = ask(busy.engine, i); });
  threads.clear();
  EXPECT_EQ(got, want);
  busy.engine.drain(10);
  EXPECT_TRUE(busy.log.errors.empty());
  EXPECT_EQ(busy.engine.stats().requests_finished, kRequests);
  EXPECT_GT(busy.engine.stats().tokens_cached, 0);
}

TEST(Engine, AnIdleEngineSleeps) {
  Rig rig;
  auto sink = std::make_shared<Waiting>();
  ASSERT_TRUE(rig.engine.submit(request_of(ids(5), 5, sink)).ok());
  sink->wait_end();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto cpu_us = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1'000'000 + usage.ru_utime.tv_usec +
           usage.ru_stime.tv_usec;
  };
  const auto before = cpu_us();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(cpu_us() - before, 30'000);
}

TEST(Engine, CancelEndsWithItsEventAndFreesEverything) {
  Rig rig({.max_context_tokens = 100'000, .num_blocks = 2000});
  auto sink = std::make_shared<Waiting>(3);
  Request request = request_of(ids(100), 90'000, sink);
  request.n = 3;
  const auto id = rig.engine.submit(std::move(request));
  ASSERT_TRUE(id.ok());
  sink->wait_events(10);
  rig.engine.cancel(*id);
  rig.engine.cancel(*id);
  rig.engine.cancel(RequestId{12345});
  sink->wait_end();
  EXPECT_EQ(sink->finish(), FinishReason::kCancelled);
  rig.engine.drain(10);
  const EngineStats stats = rig.engine.stats();
  EXPECT_EQ(stats.requests_cancelled, 1);
  EXPECT_EQ(stats.sequences_running, 0);
  EXPECT_EQ(stats.blocks_free + stats.blocks_cached, stats.blocks_total);
}

TEST(Engine, AFullQueueRefusesAndDrainStopsTheRest) {
  Rig rig({.max_context_tokens = 1'000'000, .num_blocks = 20'000}, {.max_sequences = 1, .max_queue = 2});
  auto first = std::make_shared<Waiting>();
  ASSERT_TRUE(rig.engine.submit(request_of(ids(10), 900'000, first)).ok());
  first->wait_events(2);  // the first step is over and the queue known to be empty
  std::vector<std::shared_ptr<Waiting>> queued;
  Error refusal;
  for (int i = 0; i < 4; ++i) {
    auto sink = std::make_shared<Waiting>();
    const auto id = rig.engine.submit(request_of(ids(10), 900'000, sink));
    if (id.ok()) {
      queued.push_back(sink);
    } else {
      refusal = id.error();
    }
  }
  EXPECT_EQ(queued.size(), 2u);
  EXPECT_EQ(refusal.code, Errc::kOverloaded);
  rig.engine.drain(0.05);
  EXPECT_EQ(first->finish(), FinishReason::kCancelled);
  for (const auto& sink : queued) EXPECT_EQ(sink->finish(), FinishReason::kCancelled);
  const auto late = rig.engine.submit(request_of(ids(10), 1, std::make_shared<Waiting>()));
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.error().code, Errc::kUnavailable);
}

struct Throwing final : TokenSink {
  Next on_token(const TokenEvent& event) override {
    finish = event.finish;
    if (event.finish == FinishReason::kNone) throw std::bad_alloc();
    return Next::kContinue;
  }
  std::atomic<FinishReason> finish = FinishReason::kNone;
};

TEST(Engine, ASinkThatThrowsFailsAlone) {
  Rig rig;
  auto bad = std::make_shared<Throwing>();
  auto good = std::make_shared<Waiting>();
  ASSERT_TRUE(rig.engine.submit(request_of(ids(10), 50, bad)).ok());
  ASSERT_TRUE(rig.engine.submit(request_of(ids(12), 50, good)).ok());
  good->wait_end();
  EXPECT_EQ(good->finish(), FinishReason::kLength);
  rig.engine.drain(10);
  EXPECT_EQ(bad->finish, FinishReason::kError);
  EXPECT_EQ(rig.engine.stats().requests_failed, 1);
  EXPECT_EQ(rig.engine.stats().requests_finished, 1);
}

// A model that goes wrong: NaN logits, an error, or an exception out of a step.
struct FaultyRunner final : ModelRunner {
  explicit FaultyRunner(bool throws) : throws_(throws) {}
  std::int64_t vocab_size() const override { return 10; }
  std::int64_t max_context_tokens() const override { return 1000; }
  std::int64_t num_blocks() const override { return 16; }
  std::int64_t max_batch_tokens() const override { return 64; }
  std::int64_t max_logit_rows() const override { return 4; }
  Status forward(const model::Batch& batch, std::span<float> logits) override {
    if (throws_ && batch.tokens[0] == 9) throw std::bad_alloc();
    if (batch.tokens[0] == 7) return Error{Errc::kIo, "[test] the disk is gone"};
    std::fill(logits.begin(), logits.end(), batch.tokens[0] == 8 ? std::numeric_limits<float>::quiet_NaN() : 0.0f);
    return {};
  }
  void copy_block(model::BlockId, model::BlockId) override {}
  bool throws_;
};

TEST(Engine, AFaultOfTheModelEndsTheRequestNotTheEngine) {
  for (const TokenId trigger : {7, 8, 9}) {
    Engine engine(std::make_unique<FaultyRunner>(true), {});
    auto bad = std::make_shared<Waiting>();
    ASSERT_TRUE(engine.submit(request_of({trigger}, 10, bad)).ok());
    bad->wait_end();
    EXPECT_EQ(bad->finish(), FinishReason::kError);
    EXPECT_EQ(bad->error().code, trigger == 7 ? Errc::kIo : trigger == 8 ? Errc::kInternal : Errc::kResourceExhausted);
    EXPECT_FALSE(bad->error().message.empty());
    auto good = std::make_shared<Waiting>();
    Request request = request_of({1}, 4, good);
    request.sampling.logit_bias = {{2, 100.0f}};
    ASSERT_TRUE(engine.submit(std::move(request)).ok());
    good->wait_end();
    EXPECT_EQ(good->tokens(), (std::vector<TokenId>{2, 2, 2, 2}));
    engine.drain(10);
    EXPECT_EQ(engine.stats().blocks_free + engine.stats().blocks_cached, 16);
  }
}

struct Stuck final : ModelRunner {
  explicit Stuck(std::atomic<bool>* gate) : open(gate) {}
  std::int64_t vocab_size() const override { return inner.vocab_size(); }
  std::int64_t max_context_tokens() const override { return inner.max_context_tokens(); }
  std::int64_t num_blocks() const override { return inner.num_blocks(); }
  std::int64_t max_batch_tokens() const override { return inner.max_batch_tokens(); }
  std::int64_t max_logit_rows() const override { return inner.max_logit_rows(); }
  Status forward(const model::Batch& batch, std::span<float> logits) override {
    open->wait(false);
    return inner.forward(batch, logits);
  }
  void copy_block(model::BlockId, model::BlockId) override {}
  FaultyRunner inner{false};
  std::atomic<bool>* open;
};

// What a watchdog looks at.
TEST(Engine, TellsHowLongItsStepHasTaken) {
  std::atomic<bool> open = false;
  Engine engine(std::make_unique<Stuck>(&open), {});
  EXPECT_EQ(engine.busy_seconds(), 0);
  auto sink = std::make_shared<Waiting>();
  ASSERT_TRUE(engine.submit(request_of({1, 2, 3}, 2, sink)).ok());
  for (int i = 0; i < 10'000 && engine.busy_seconds() < 0.02; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_GE(engine.busy_seconds(), 0.02);
  open = true;
  open.notify_all();
  sink->wait_end();
  engine.drain(10);
  for (int i = 0; i < 10'000 && engine.busy_seconds() > 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(engine.busy_seconds(), 0);
}

TEST(Engine, ManyShortLivesEndCleanly) {
  for (int i = 0; i < 30; ++i) {
    std::vector<std::shared_ptr<Waiting>> sinks;
    {
      Rig rig({.num_blocks = 8});
      for (int r = 0; r < 5; ++r) {
        sinks.push_back(std::make_shared<Waiting>());
        ASSERT_TRUE(rig.engine.submit(request_of(ids(50 + r), 100, sinks.back())).ok());
      }
    }  // destroyed under load
    for (const auto& sink : sinks) sink->wait_end();
  }
}

TEST(Engine, ARepeatedPromptIsServedFromTheCache) {
  Rig rig({.num_blocks = 64});
  std::vector<std::vector<TokenId>> answers;
  std::vector<std::int64_t> cached;
  for (int i = 0; i < 3; ++i) {
    auto sink = std::make_shared<Waiting>();
    ASSERT_TRUE(rig.engine.submit(request_of(ids(i < 2 ? 192 : 193), 5, sink)).ok());
    sink->wait_end();
    cached.push_back(sink->cached());
    answers.push_back(sink->tokens());
  }
  EXPECT_EQ(answers[0], answers[1]);
  EXPECT_EQ(cached, (std::vector<std::int64_t>{0, 191, 192}));  // the last token is always computed
}

}  // namespace
}  // namespace baltoro::engine
