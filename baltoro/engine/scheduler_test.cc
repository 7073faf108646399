// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/scheduler.h"

#include <gtest/gtest.h>

#include <map>

namespace baltoro::engine {
namespace {

// A scheduler without a model: sequences "sample" token 1 whenever their last row was planned.
class Bench {
 public:
  explicit Bench(SchedulerOptions options) : scheduler(options) {}

  Sequence& add(std::int64_t prompt, std::int64_t max_tokens, TokenId first) {
    owners_.push_back(std::make_unique<RequestState>());
    owners_.back()->max_tokens = max_tokens;
    auto sequence = std::make_unique<Sequence>();
    sequence->owner = owners_.back().get();
    sequence->rank = {.arrival = owners_.size(), .choice = 0};
    sequence->tokens.assign(static_cast<std::size_t>(prompt), 0);
    sequence->tokens[0] = first;  // distinct prompts share nothing
    sequence->tokens_prompt = prompt;
    Sequence& reference = *sequence;
    scheduler.add(std::move(sequence));
    return reference;
  }

  // Tokens planned for each sequence in one step.
  std::map<const Sequence*, std::int64_t> step() {
    std::map<const Sequence*, std::int64_t> planned;
    const StepPlan& plan = scheduler.plan();
    EXPECT_LE(plan.tokens, scheduler.options().max_batch_tokens);
    EXPECT_LE(plan.logit_rows, scheduler.options().max_logit_rows);
    for (const Chunk& chunk : plan.chunks) planned[chunk.sequence] = chunk.count;
    scheduler.commit();
    for (const Chunk& chunk : plan.chunks) {
      if (chunk.sequence->tokens_remaining() > 0) continue;
      chunk.sequence->tokens.push_back(1);
      if (chunk.sequence->tokens_output() == chunk.sequence->owner->max_tokens) scheduler.finish(*chunk.sequence);
    }
    scheduler.sweep();
    const Status status = scheduler.check_integrity();
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
    return planned;
  }

  Scheduler scheduler;

 private:
  std::vector<std::unique_ptr<RequestState>> owners_;
};

TEST(Scheduler, AShortPromptOvertakesALongOneAndNeitherStarves) {
  Bench bench({.max_batch_tokens = 100, .max_logit_rows = 8, .max_sequences = 8, .num_blocks = 200});
  const Sequence& large = bench.add(5000, 4, 1);
  EXPECT_EQ(bench.step()[&large], 100);
  const Sequence& small = bench.add(40, 50, 2);
  auto planned = bench.step();
  EXPECT_EQ(planned[&small], 40);
  EXPECT_EQ(planned[&large], 60);
  planned = bench.step();
  EXPECT_EQ(planned[&small], 1);  // decodes ride along
  EXPECT_EQ(planned[&large], 99);
}

TEST(Scheduler, SeveralPromptsShareAStep) {
  Bench bench({.max_batch_tokens = 90, .max_logit_rows = 8, .max_sequences = 8, .num_blocks = 200});
  const Sequence& a = bench.add(400, 4, 1);
  const Sequence& b = bench.add(300, 4, 2);
  const Sequence& c = bench.add(20, 4, 3);
  auto planned = bench.step();
  EXPECT_EQ(planned[&a], 45);
  EXPECT_EQ(planned[&c], 20);
  EXPECT_EQ(planned[&b], 25);
}

TEST(Scheduler, FewLogitRowsAreTakenInTurn) {
  Bench bench({.max_batch_tokens = 64, .max_logit_rows = 2, .max_sequences = 8, .num_blocks = 64});
  std::vector<const Sequence*> sequences;
  for (TokenId i = 0; i < 6; ++i) sequences.push_back(&bench.add(8, 1000, i));
  std::map<const Sequence*, std::int64_t> served;
  for (int i = 0; i < 300; ++i)
    for (const auto& [sequence, count] : bench.step()) served[sequence] += count;
  for (const Sequence* sequence : sequences) EXPECT_GT(served[sequence], 90);  // 600 rows over six
}

TEST(Scheduler, TheYoungestIsPreemptedAndAllFinish) {
  Bench bench({.max_batch_tokens = 256, .max_logit_rows = 8, .max_sequences = 8, .num_blocks = 6});
  for (TokenId i = 0; i < 4; ++i) bench.add(50, 300, i);  // each wants 6 blocks in the end: all there are
  int steps = 0;
  for (; !bench.scheduler.idle(); ++steps) {
    ASSERT_LT(steps, 5000);
    ASSERT_FALSE(bench.step().empty());
  }
  EXPECT_GE(bench.scheduler.preemptions(), 3);
  EXPECT_EQ(bench.scheduler.blocks().num_available(), 6);
}

TEST(Scheduler, TheHeadOfTheLineIsNotOvertaken) {
  Bench bench({.max_batch_tokens = 256, .max_logit_rows = 8, .max_sequences = 8, .num_blocks = 10});
  const Sequence& first = bench.add(64 * 6, 20, 1);
  (void)bench.step();
  const Sequence& large = bench.add(64 * 8, 2, 2);
  const Sequence& small = bench.add(10, 2, 3);
  for (int i = 0; i < 10; ++i) {
    auto planned = bench.step();
    EXPECT_EQ(planned.count(&small) + planned.count(&large), 0u) << "KV for the large one is not there yet";
    EXPECT_EQ(planned.count(&first), 1u);
  }
}

TEST(Scheduler, TheNextPromptStartsWhereTheLastAnswerEnded) {
  Bench bench({.max_batch_tokens = 200, .max_logit_rows = 8, .max_sequences = 8, .num_blocks = 20});
  Sequence& first = bench.add(100, 11, 5);
  std::vector<TokenId> said;
  while (!bench.scheduler.idle()) {
    said = first.tokens;
    (void)bench.step();
  }
  said.push_back(1);  // the answer's last token, which has no row
  const std::vector<TokenId> answered = said;
  ASSERT_EQ(answered.size(), 111u);
  said.insert(said.end(), 30, 7);
  Sequence& next = bench.add(std::ssize(said), 1, 5);
  next.tokens = said;
  const RequestState& owner = *next.owner;
  EXPECT_EQ(bench.step()[&next], 31);  // the last token and what is new
  EXPECT_EQ(owner.match.tokens_cached, 110);
  EXPECT_EQ(owner.match.end, PrefixEnd::kNew);
  // A third one that leaves the path in the middle of the tail.
  Sequence& other = bench.add(std::ssize(answered), 1, 5);
  other.tokens = answered;
  other.tokens[105] = 9;
  const PrefixMatch& left = other.owner->match;
  EXPECT_EQ(bench.step()[&other], 6);
  EXPECT_EQ(left.tokens_cached, 105);
  EXPECT_EQ(left.end, PrefixEnd::kDiffers);
  EXPECT_EQ(left.known, 1);
  EXPECT_EQ(left.seen, 9);
  // The same again, and the same for another tenant.
  Sequence& again = bench.add(std::ssize(answered), 1, 5);
  again.tokens = answered;
  const PrefixMatch& whole = again.owner->match;
  EXPECT_EQ(bench.step()[&again], 1);
  EXPECT_EQ(whole.end, PrefixEnd::kWhole);
  Sequence& foreign = bench.add(std::ssize(answered), 1, 5);
  foreign.tokens = answered;
  foreign.owner->request.cache_salt = {.high = 0, .low = 1};
  const PrefixMatch& unknown = foreign.owner->match;
  EXPECT_EQ(bench.step()[&foreign], 111);
  EXPECT_EQ(unknown.end, PrefixEnd::kNew);
}

}  // namespace
}  // namespace baltoro::engine
