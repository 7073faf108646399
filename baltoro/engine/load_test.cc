// SPDX-License-Identifier: Apache-2.0
// The engine under load, in simulated time: gaps between tokens, priorities, deadlines, a full queue.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "baltoro/engine/engine.h"
#include "baltoro/engine/engine_core.h"
#include "baltoro/engine/prefix_runner.h"

namespace baltoro::engine {
namespace {

// A machine whose steps take time on a clock of their own: a fixed part, a part for each token and one for each
// position in front of it.
struct Simulated {
  double now = 1000, fixed_seconds = 0.1, token_seconds = 0.01, position_seconds = 0;
  std::vector<std::int64_t> steps;  // tokens of each
};

class SimulatedRunner final : public ModelRunner {
 public:
  SimulatedRunner(PrefixRunnerOptions options, PrefixRunnerLog* log, Simulated* machine)
      : inner_(options, log), machine_(machine) {}
  std::int64_t vocab_size() const override { return inner_.vocab_size(); }
  std::int64_t max_context_tokens() const override { return inner_.max_context_tokens(); }
  std::int64_t num_blocks() const override { return inner_.num_blocks(); }
  std::int64_t max_batch_tokens() const override { return inner_.max_batch_tokens(); }
  std::int64_t max_logit_rows() const override { return inner_.max_logit_rows(); }
  Status forward(const model::Batch& batch, std::span<float> logits) override {
    const auto tokens = std::ssize(batch.tokens);
    machine_->steps.push_back(tokens);
    machine_->now += machine_->fixed_seconds + machine_->token_seconds * static_cast<double>(tokens);
    for (const std::int32_t position : batch.positions) machine_->now += machine_->position_seconds * position;
    return inner_.forward(batch, logits);
  }
  void copy_block(model::BlockId from, model::BlockId to) override { inner_.copy_block(from, to); }

 private:
  PrefixRunner inner_;
  Simulated* machine_;
};

// Notes when each token came and how it ended.
struct Timed final : TokenSink {
  explicit Timed(const Simulated* on) : machine(on) {}
  Next on_token(const TokenEvent& event) override {
    if (event.token) {
      tokens.push_back(*event.token);
      times.push_back(machine->now);
    }
    finish = event.finish;
    error = event.error;
    queue_seconds = event.queue_seconds;
    return Next::kContinue;
  }
  double longest_gap() const {
    double longest = 0;
    for (std::size_t i = 1; i < times.size(); ++i) longest = std::max(longest, times[i] - times[i - 1]);
    return longest;
  }
  const Simulated* machine;
  std::vector<TokenId> tokens;
  std::vector<double> times;
  FinishReason finish = FinishReason::kNone;
  Error error;
  double queue_seconds = -1;
};

class World {
 public:
  explicit World(EngineOptions options,
                 PrefixRunnerOptions model = {
                     .max_context_tokens = 20'000, .num_blocks = 400, .max_batch_tokens = 512, .max_logit_rows = 32}) {
    options.clock = [this] { return machine.now; };
    core = std::make_unique<EngineCore>(std::make_unique<SimulatedRunner>(model, &log_, &machine), options);
  }
  std::shared_ptr<Timed> add(std::int64_t prompt, std::int64_t max_tokens, std::int32_t priority = 0,
                             double timeout = 0,
                             std::function<std::unique_ptr<TokenMask>(std::int32_t)> make_mask = nullptr) {
    auto sink = std::make_shared<Timed>(&machine);
    Request request;
    for (std::int64_t i = 0; i < prompt; ++i)
      request.prompt.push_back(static_cast<TokenId>(mix64(last_id_ * 100'000 + static_cast<std::uint64_t>(i)) % 40));
    request.max_tokens = max_tokens;
    request.sampling.seed = last_id_;
    request.priority = priority;
    request.timeout_seconds = timeout;
    request.make_mask = std::move(make_mask);
    request.sink = sink;
    EXPECT_TRUE(check_request(request, core->limits()).ok());
    core->add(RequestId{++last_id_}, std::move(request));
    return sink;
  }
  void step() {
    core->step();
    const Status status = core->check_integrity();
    ASSERT_TRUE(status.ok()) << status.error().message;
  }
  void finish() {
    for (int i = 0; !core->idle(); ++i) {
      ASSERT_LT(i, 100'000);
      step();
    }
  }
  Simulated machine;
  std::unique_ptr<EngineCore> core;

 private:
  PrefixRunnerLog log_;
  std::uint64_t last_id_ = 0;
};

TEST(Load, ALongPromptDoesNotStretchOthersGaps) {
  std::vector<std::vector<TokenId>> answers;
  for (const double bound : {0.0, 1.0, 0.3}) {
    SCOPED_TRACE(bound);
    World world({.max_batch_tokens = 512, .max_sequences = 32, .max_gap_seconds = bound});
    std::vector<std::shared_ptr<Timed>> talkers;
    for (int i = 0; i < 3; ++i) talkers.push_back(world.add(20, 60));
    for (int i = 0; i < 10; ++i) world.step();
    const auto reader = world.add(6000, 5);  // alone it would take 12 steps of 5.2 s
    world.finish();
    double longest = 0;
    for (const auto& sink : talkers) longest = std::max(longest, sink->longest_gap());
    if (bound == 0) {
      EXPECT_GT(longest, 5);
    } else {
      EXPECT_LT(longest, bound);
      EXPECT_GT(longest, bound * 0.5);  // and what the bound allows is used
    }
    EXPECT_EQ(reader->tokens.size(), 5u);
    for (const auto& sink : talkers) answers.push_back(sink->tokens);
    answers.push_back(reader->tokens);
  }
  for (std::size_t i = 0; i < 4; ++i) {  // when tokens come depends on the bound, which they are does not
    EXPECT_EQ(answers[i], answers[i + 4]);
    EXPECT_EQ(answers[i], answers[i + 8]);
  }
}

// The further a prompt is, the longer its tokens take: what earlier steps took is always too little.
TEST(Load, TheBoundHoldsWhileAPromptGrowsDearer) {
  World world({.max_batch_tokens = 512, .max_sequences = 32, .max_gap_seconds = 1});
  world.machine.position_seconds = 2e-6;  // tokens at the prompt's end take twice as long as those at its start
  const auto talker = world.add(20, 1000);
  for (int i = 0; i < 10; ++i) world.step();
  const auto reader = world.add(6000, 1);
  std::size_t steps = 0;
  for (; reader->tokens.empty(); ++steps) world.step();
  EXPECT_LE(talker->longest_gap(), 1);
  EXPECT_LT(static_cast<double>(steps), 2 * 6000 * (0.01 + 3000 * 2e-6));  // they take half of the bound and more
}

TEST(Load, APromptStillAdvancesWhenNoBoundCanBeKept) {
  World world({.max_sequences = 32, .max_gap_seconds = 0.01});  // a decode alone takes longer
  const auto talker = world.add(10, 1000);
  for (int i = 0; i < 5; ++i) world.step();
  const auto reader = world.add(1600, 2);
  const std::size_t before = world.machine.steps.size();
  while (reader->tokens.empty()) world.step();
  EXPECT_LE(world.machine.steps.size() - before, 1600u / 16 + 1);
}

TEST(Load, FewRowsDoNotKeepADecodeWaitingForPrompts) {
  World world({.max_sequences = 32}, {.max_context_tokens = 20'000, .num_blocks = 400, .max_logit_rows = 32});
  std::vector<std::shared_ptr<Timed>> talkers;
  for (int i = 0; i < 31; ++i) talkers.push_back(world.add(5, 200));
  for (int i = 0; i < 5; ++i) world.step();
  world.add(3000, 1);
  std::vector<std::size_t> before;
  for (const auto& sink : talkers) before.push_back(sink->tokens.size());
  for (int i = 0; i < 10; ++i) world.step();
  for (std::size_t i = 0; i < talkers.size(); ++i) EXPECT_EQ(talkers[i]->tokens.size(), before[i] + 10);
}

TEST(Load, TheUrgentGoFirstAndTakeAPlaceThatRuns) {
  World world({.max_sequences = 2});
  const auto first = world.add(100, 400), second = world.add(100, 400);
  for (int i = 0; i < 20; ++i) world.step();
  const auto later = world.add(100, 5), urgent = world.add(100, 5, -5);
  world.step();
  world.step();
  EXPECT_EQ(world.core->stats().preemptions, 1);  // the second, which came last
  while (urgent->finish == FinishReason::kNone) world.step();
  EXPECT_EQ(later->tokens.size(), 0u);
  EXPECT_EQ(first->finish, FinishReason::kNone);
  world.finish();
  for (const auto& sink : {first, second, later, urgent}) EXPECT_EQ(sink->finish, FinishReason::kLength);
  EXPECT_LE(first->times.back(), later->times.front());  // the second came before, so it has its place back first
  EXPECT_LT(urgent->queue_seconds, 1);
}

TEST(Load, WhatPreemptsInVainPreemptsNothing) {
  World world({.max_sequences = 8}, {.max_context_tokens = 700, .num_blocks = 10, .max_batch_tokens = 512});
  const auto old = world.add(64 * 6, 100);  // 8 of 10 blocks in the end
  for (int i = 0; i < 3; ++i) world.step();
  world.machine.now += 60;
  const auto young = world.add(10, 50);
  for (int i = 0; i < 3; ++i) world.step();
  const auto urgent = world.add(64 * 5, 1, -1);  // ranks before the young one only, whose place would not do
  for (int i = 0; i < 5; ++i) world.step();
  EXPECT_EQ(world.core->stats().preemptions, 0);
  EXPECT_GT(young->tokens.size(), 0u);
  world.finish();
  EXPECT_EQ(urgent->finish, FinishReason::kLength);
}

// One step of priority is worth 10 s: a request of priority 3 goes before those of priority 0 that come 30 s later.
TEST(Load, NoPriorityStarves) {
  World world({.max_sequences = 1});
  const auto patient = world.add(10, 5, 3);
  const double came = world.machine.now;
  std::vector<std::shared_ptr<Timed>> crowd;
  while (patient->finish == FinishReason::kNone) {
    ASSERT_LT(world.machine.now - came, 100);
    while (world.core->num_queued() < 3) crowd.push_back(world.add(10, 20));
    world.step();
  }
  EXPECT_GT(world.machine.now - came, 29);
  EXPECT_LT(world.machine.now - came, 45);  // and the three ahead of it, 2.2 s each, and its own
}

TEST(Load, ADeadlineEndsWhatWaitsAndWhatRuns) {
  World world({.max_sequences = 1});
  const auto runs = world.add(50, 10'000, 0, 20), waits = world.add(50, 10, 0, 5), after = world.add(50, 3);
  while (runs->finish == FinishReason::kNone) {
    world.step();
    EXPECT_TRUE(world.machine.now >= 1005 || waits->finish == FinishReason::kNone);
  }
  EXPECT_EQ(runs->finish, FinishReason::kError);
  EXPECT_EQ(runs->error.code, Errc::kTimeout);
  EXPECT_GT(runs->tokens.size(), 100u);
  EXPECT_LT(world.machine.now, 1020.8);  // one step, in which the next one's prompt begins
  EXPECT_EQ(waits->error.code, Errc::kTimeout);
  EXPECT_TRUE(waits->tokens.empty());
  EXPECT_NE(waits->error.message.find("before it could begin"), std::string::npos);
  EXPECT_NEAR(waits->queue_seconds, 5, 0.3);
  world.finish();
  EXPECT_EQ(after->finish, FinishReason::kLength);
  const EngineStats stats = world.core->stats();
  EXPECT_EQ(stats.requests_timed_out, 2);
  EXPECT_EQ(stats.requests_failed, 2);
  EXPECT_EQ(stats.blocks_free + stats.blocks_cached, stats.blocks_total);
  EXPECT_EQ(stats.requests_queued, 0);
  EXPECT_EQ(stats.tokens_queued, 0);
}

TEST(Load, ThePlanKeepsNoTimeAfterTheLastDeadline) {
  World world({.max_sequences = 4});
  const auto quick = world.add(50, 3, 0, 100), slow = world.add(50, 3);
  world.finish();
  world.machine.now += 1000;
  const auto next = world.add(50, 3);
  world.finish();
  for (const auto& sink : {quick, slow, next}) EXPECT_EQ(sink->finish, FinishReason::kLength);
}

TEST(Load, StatsSayWhatHappened) {
  World world({.max_sequences = 4});
  for (int i = 0; i < 6; ++i) world.add(100, 20);
  EXPECT_EQ(world.core->stats().requests_queued, 6);
  EXPECT_EQ(world.core->stats().tokens_queued, 600);
  world.finish();
  const EngineStats stats = world.core->stats();
  EXPECT_EQ(stats.queue_seconds.count(), 6);
  EXPECT_EQ(stats.prompt_tokens.count(), 6);
  EXPECT_EQ(stats.prompt_tokens.sum(), 600);
  EXPECT_EQ(stats.output_tokens.sum(), 120);
  EXPECT_EQ(stats.batch_tokens.count(), stats.steps);
  EXPECT_EQ(stats.batch_tokens.sum(), static_cast<double>(stats.tokens_prefilled + stats.tokens_decoded));
  EXPECT_GT(stats.step_seconds.count(), 0);
}

// Allows one token after another, and takes its time to say so.
struct SlowMask final : TokenMask {
  bool fill(std::span<std::uint64_t> allowed, std::int64_t) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    allowed[0] = std::uint64_t{1} << next;
    return true;
  }
  void accept(TokenId token) override { next = token + 1; }
  TokenId next = 3;
};

TEST(Load, MasksAreTimed) {
  World world({.max_sequences = 4});
  const auto sink = world.add(10, 5, 0, 0, [](std::int32_t) { return std::make_unique<SlowMask>(); });
  world.finish();
  EXPECT_EQ(sink->tokens, (std::vector<TokenId>{3, 4, 5, 6, 7}));
  const EngineStats stats = world.core->stats();
  EXPECT_EQ(stats.mask_seconds.count(), 5);
  EXPECT_GT(stats.mask_seconds.sum(), 0.01);
}

// Blocks every step until it is told to go on.
struct GateRunner final : ModelRunner {
  std::int64_t vocab_size() const override { return 10; }
  std::int64_t max_context_tokens() const override { return 100'000; }
  std::int64_t num_blocks() const override { return 2000; }
  std::int64_t max_batch_tokens() const override { return 64; }
  std::int64_t max_logit_rows() const override { return 4; }
  Status forward(const model::Batch&, std::span<float> logits) override {
    while (!*open) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::fill(logits.begin(), logits.end(), 0.0f);
    return {};
  }
  void copy_block(model::BlockId, model::BlockId) override {}
  std::shared_ptr<std::atomic<bool>> open = std::make_shared<std::atomic<bool>>(false);
};

struct Ignoring final : TokenSink {
  Next on_token(const TokenEvent&) override { return Next::kContinue; }
};

TEST(Load, TheQueueIsBoundInTokensToo) {
  auto runner = std::make_unique<GateRunner>();
  const auto open = runner->open;
  Engine engine(std::move(runner), {.max_sequences = 1, .max_queue = 4, .max_queue_tokens = 1000});
  const auto submit = [&](std::size_t tokens) {
    Request request;
    request.prompt.assign(tokens, 1);
    request.max_tokens = 1;
    request.sink = std::make_shared<Ignoring>();
    const auto id = engine.submit(std::move(request));
    return id.ok() ? Error{.code = Errc::kInternal, .message = "taken"} : id.error();
  };
  EXPECT_EQ(submit(5000).message, "taken");  // alone, it may
  const Error much = submit(10);
  EXPECT_EQ(much.code, Errc::kOverloaded);
  EXPECT_NE(much.message.find("current: 5000, limit: 1000"), std::string::npos) << much.message;
  *open = true;
  engine.drain(30);
  EXPECT_EQ(engine.stats().requests_finished, 1);
}

}  // namespace
}  // namespace baltoro::engine
