// SPDX-License-Identifier: Apache-2.0
// The engine under random operations on a small KV cache: every stream must equal what its request would have got
// alone, and every invariant must hold after every step.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <stdexcept>

#include "baltoro/engine/engine_core.h"
#include "baltoro/engine/prefix_runner.h"

namespace baltoro::engine {
namespace {

using testing::IsEmpty;

struct Choice {
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;
  std::vector<std::vector<TokenLogprob>> tops;
  FinishReason finish = FinishReason::kNone;
  bool ended = false, stopped_by_sink = false;
};

// Records a request's events; may end a choice or throw at a given token.
struct Recorder final : TokenSink {
  explicit Recorder(std::int32_t n) : choices(static_cast<std::size_t>(n)) {}

  Next on_token(const TokenEvent& event) override {
    Choice& choice = choices.at(static_cast<std::size_t>(event.choice));
    if (choice.ended) ADD_FAILURE() << "an event after the last";
    if (event.token) {
      choice.tokens.push_back(*event.token);
      choice.logprobs.push_back(event.logprob);
      choice.tops.emplace_back(event.top.begin(), event.top.end());
    }
    choice.finish = event.finish;
    choice.ended = event.finish != FinishReason::kNone;
    timed_out |= event.error.code == Errc::kTimeout;
    tokens_cached = event.tokens_cached;
    const auto count = static_cast<std::int64_t>(choice.tokens.size());
    if (count == throw_at && event.finish == FinishReason::kNone) throw std::runtime_error("a sink that fails");
    if (count != stop_at || choice.ended) return Next::kContinue;
    choice.stopped_by_sink = choice.ended = true;
    return Next::kStop;
  }
  void on_prefill(std::int64_t done, std::int64_t total) override {
    EXPECT_GT(done, prefilled);
    EXPECT_LE(done, total);
    prefilled = done;
  }
  void on_prompt_logprob(std::int64_t position, TokenLogprob token, std::span<const TokenLogprob> top) override {
    EXPECT_EQ(position, static_cast<std::int64_t>(echoed.size()) + 1);
    echoed.push_back(token);
    EXPECT_LE(top.size(), 20u);
  }

  std::vector<Choice> choices;
  std::vector<TokenLogprob> echoed;
  bool timed_out = false;
  std::int64_t prefilled = 0, tokens_cached = 0, throw_at = -1, stop_at = -1;
};

// What may come depends on all tokens before, in their order, and on how many may follow.
class HistoryMask final : public TokenMask {
 public:
  HistoryMask(std::int64_t vocab_size, std::int32_t choice)
      : vocab_size_(static_cast<std::uint64_t>(vocab_size)), history_(static_cast<std::uint64_t>(choice)) {}
  bool fill(std::span<std::uint64_t> allowed, std::int64_t remaining_tokens) override {
    const std::uint64_t seen = history_ * 31 + static_cast<std::uint64_t>(remaining_tokens);
    for (std::uint64_t id = 0; id < vocab_size_; ++id)
      if (id == seen % vocab_size_ || ((seen ^ id) * 0x9E3779B97F4A7C15 >> 62) != 0)
        allowed[id / 64] |= std::uint64_t{1} << (id % 64);
    return true;
  }
  void accept(TokenId token) override { history_ = history_ * 0x100000001B3 + static_cast<std::uint64_t>(token) + 1; }

 private:
  std::uint64_t vocab_size_, history_;
};

// What the request gets by definition: no batch, no cache, no blocks.
Choice alone(const Request& request, std::int32_t choice, const RequestLimits& limits, std::int64_t stop_at) {
  Choice result;
  Sampler sampler(limits.vocab_size);
  std::vector<TokenId> tokens = request.prompt;
  const auto prompt = static_cast<std::int64_t>(tokens.size());
  const std::int64_t most = std::min(request.max_tokens, limits.max_context_tokens - prompt);
  result.finish = FinishReason::kLength;
  const auto mask = request.make_mask ? request.make_mask(choice) : nullptr;
  for (std::int64_t i = 0; i < most; ++i) {
    const auto logits = PrefixRunner::logits_after(tokens, limits.vocab_size);
    const TokenId token = *sampler.sample({.logits = logits,
                                           .tokens = tokens,
                                           .tokens_prompt = prompt,
                                           .params = request.sampling,
                                           .seed = *request.sampling.seed,
                                           .choice = choice,
                                           .mask = mask.get(),
                                           .tokens_left = most - i});
    if (mask != nullptr) mask->accept(token);
    const auto logprobs = *sampler.logprobs(logits, token, request.top_logprobs);
    tokens.push_back(token);
    result.tokens.push_back(token);
    result.logprobs.push_back(request.logprobs ? logprobs.logprob : 0);
    const auto& stops = request.stop_token_ids;
    if (std::find(stops.begin(), stops.end(), token) != stops.end()) {
      result.finish = FinishReason::kStop;
      return result;
    }
    if (i + 1 == stop_at && i + 1 < most) {
      result.stopped_by_sink = true;
      return result;
    }
  }
  return result;
}

class World {
 public:
  explicit World(std::uint64_t seed) : random_(seed) {
    model_ = {.vocab_size = pick(3, 50),
              .max_context_tokens = pick(150, 500),
              .num_blocks = pick(3, 24),
              .max_batch_tokens = pick(1, 8) == 1 ? 1 : pick(2, 160),
              .max_logit_rows = pick(1, 6)};
    auto runner = std::make_unique<PrefixRunner>(model_, &log_);
    core_ = std::make_unique<EngineCore>(
        std::move(runner),
        EngineOptions{.max_batch_tokens = pick(1, 200),
                      .max_sequences = pick(1, 7),
                      .max_queue = 100,
                      .max_gap_seconds = pick(0, 2) == 0 ? 0.0 : static_cast<double>(pick(1, 40)) / 10,
                      .clock = [this] { return now_; }});
    for (int i = 0; i < 3; ++i) stems_.push_back(random_tokens(pick(1, 200)));
  }

  void run(int operations) {
    for (int i = 0; i < operations; ++i) {
      const auto dice = pick(1, 100);
      if (dice <= 12) submit();
      if (dice == 13 && !live_.empty()) cancel();
      if (dice == 14) now_ += 10;
      now_ += 0.01 * static_cast<double>(pick(1, 100));
      core_->step();
      ASSERT_NO_FATAL_FAILURE(check());
      remember();
    }
    for (int i = 0; !core_->idle(); ++i) {
      ASSERT_LT(i, 200'000) << "no progress";
      ASSERT_TRUE(core_->step()) << "requests wait and none advances";
      ASSERT_NO_FATAL_FAILURE(check());
    }
    for (const auto& [id, work] : live_) compare(work);
    ASSERT_THAT(log_.errors, IsEmpty());
    const EngineStats stats = core_->stats();
    EXPECT_EQ(stats.blocks_free + stats.blocks_cached, stats.blocks_total);
    EXPECT_EQ(stats.requests_finished + stats.requests_cancelled + stats.requests_failed, stats.requests_submitted);
  }

  EngineStats stats() const { return core_->stats(); }
  const PrefixRunnerLog& log() const { return log_; }
  std::int64_t streams = 0, tokens = 0, partial = 0, masked = 0;

 private:
  struct Work {
    Request request;
    std::shared_ptr<Recorder> recorder;
    bool cancelled = false;
  };

  std::int64_t pick(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }
  float fraction() { return std::uniform_real_distribution<float>(0, 1)(random_); }

  std::vector<TokenId> random_tokens(std::int64_t count) {
    std::vector<TokenId> ids;
    for (std::int64_t i = 0; i < count; ++i) ids.push_back(static_cast<TokenId>(pick(0, model_.vocab_size - 1)));
    return ids;
  }

  Request random_request() {
    Request request;
    request.prompt = stems_[static_cast<std::size_t>(pick(0, 2))];
    if (pick(0, 1) == 1) request.prompt.resize(static_cast<std::size_t>(pick(1, std::ssize(request.prompt))));
    const auto tail = random_tokens(pick(0, 3) == 0 ? 0 : pick(0, 100));
    request.prompt.insert(request.prompt.end(), tail.begin(), tail.end());
    if (pick(0, 2) == 0 && !said_.empty()) {  // the next turn of a conversation
      request.prompt = said_[static_cast<std::size_t>(pick(0, std::ssize(said_) - 1))];
      const auto more = random_tokens(pick(0, 20));
      request.prompt.insert(request.prompt.end(), more.begin(), more.end());
    }
    if (pick(0, 7) == 0) request.cache_salt = {.high = 0, .low = 1};
    request.n = static_cast<std::int32_t>(pick(0, 2) == 0 ? pick(1, core_->limits().max_choices) : 1);
    request.max_tokens = pick(0, 9) == 0 ? pick(0, 2) : pick(1, 150);
    request.sampling.seed = random_();
    request.sampling.temperature = pick(0, 3) == 0 ? 0.0f : fraction() * 2;
    if (pick(0, 2) == 0) request.sampling.top_k = static_cast<std::int32_t>(pick(1, 20));
    if (pick(0, 2) == 0) request.sampling.top_p = 0.01f + 0.98f * fraction();
    if (pick(0, 4) == 0) request.sampling.min_p = fraction() / 2;
    if (pick(0, 4) == 0) request.sampling.repetition_penalty = 0.5f + fraction();
    if (pick(0, 4) == 0) request.sampling.frequency_penalty = fraction();
    if (pick(0, 4) == 0) request.sampling.presence_penalty = fraction() - 0.5f;
    if (pick(0, 4) == 0) request.sampling.logit_bias = {{0, fraction() * 5}, {1, -100.0f}};
    if (pick(0, 2) == 0) request.stop_token_ids = random_tokens(1);
    if (pick(0, 2) == 0)
      request.make_mask = [size = model_.vocab_size](std::int32_t choice) {
        return std::make_unique<HistoryMask>(size, choice);
      };
    request.logprobs = pick(0, 3) == 0;
    request.top_logprobs = request.logprobs ? static_cast<std::int32_t>(pick(0, 5)) : 0;
    request.echo_logprobs = pick(0, 5) == 0;
    if (pick(0, 2) == 0) request.priority = static_cast<std::int32_t>(pick(-3, 3));
    if (pick(0, 15) == 0) request.timeout_seconds = static_cast<double>(pick(1, 400));
    return request;
  }

  void submit() {
    Work work{.request = random_request(), .recorder = nullptr};
    work.recorder = std::make_shared<Recorder>(work.request.n);
    if (pick(0, 5) == 0) work.recorder->stop_at = pick(1, 40);
    if (pick(0, 15) == 0) work.recorder->throw_at = pick(1, 20);
    work.request.sink = work.recorder;
    if (!check_request(work.request, core_->limits()).ok()) return;
    const RequestId id{++last_id_};
    core_->add(id, work.request);
    live_.emplace(id, std::move(work));
  }

  // Prompts with their answers, for later ones to go on from.
  void remember() {
    for (const auto& [id, work] : live_) {
      const Choice& choice = work.recorder->choices[0];
      if (!choice.ended || choice.tokens.empty() || pick(0, 9) > 0) continue;
      said_.push_back(work.request.prompt);
      said_.back().insert(said_.back().end(), choice.tokens.begin(), choice.tokens.end());
      if (said_.size() > 4) said_.erase(said_.begin());
    }
  }

  void cancel() {
    auto victim = live_.begin();
    std::advance(victim, pick(0, std::ssize(live_) - 1));
    for (const Choice& choice : victim->second.recorder->choices) victim->second.cancelled |= !choice.ended;
    core_->cancel(victim->first);
    for (const Choice& choice : victim->second.recorder->choices) EXPECT_TRUE(choice.ended);
  }

  void check() {
    const Status status = core_->check_integrity();
    ASSERT_TRUE(status.ok()) << status.error().message;
    ASSERT_THAT(log_.errors, IsEmpty());
  }

  void compare(const Work& work) {
    bool failed = false;
    for (const Choice& got : work.recorder->choices) failed |= got.finish == FinishReason::kError;
    EXPECT_TRUE(!failed || work.recorder->throw_at > 0 || work.recorder->timed_out);
    EXPECT_TRUE(!work.recorder->timed_out || work.request.timeout_seconds > 0);
    for (std::int32_t c = 0; c < work.request.n; ++c) {
      const Choice& got = work.recorder->choices[static_cast<std::size_t>(c)];
      Choice want = alone(work.request, c, core_->limits(), work.recorder->stop_at);
      ASSERT_TRUE(got.ended);
      ++streams;
      masked += work.request.make_mask != nullptr;
      if (c == 0) partial += work.recorder->tokens_cached % kBlockTokens != 0;
      tokens += std::ssize(got.tokens);
      const bool cut = got.finish == FinishReason::kCancelled || got.finish == FinishReason::kError;
      EXPECT_TRUE(!cut || work.cancelled || failed);
      if (cut) {
        ASSERT_LE(got.tokens.size(), want.tokens.size());
        want.tokens.resize(got.tokens.size());
        want.logprobs.resize(got.tokens.size());
      } else {
        EXPECT_EQ(got.stopped_by_sink, want.stopped_by_sink);
        EXPECT_TRUE(got.stopped_by_sink || got.finish == want.finish);
      }
      ASSERT_EQ(got.tokens, want.tokens);
      ASSERT_EQ(got.logprobs, want.logprobs);
    }
    compare_echo(work);
  }

  void compare_echo(const Work& work) {
    if (!work.request.echo_logprobs) {
      EXPECT_THAT(work.recorder->echoed, IsEmpty());
      return;
    }
    const auto& prompt = work.request.prompt;
    EXPECT_TRUE(work.cancelled || work.recorder->timed_out || work.recorder->echoed.size() == prompt.size() - 1);
    Sampler sampler(model_.vocab_size);
    for (std::size_t i = 0; i < work.recorder->echoed.size(); ++i) {
      const auto logits = PrefixRunner::logits_after(std::span(prompt).first(i + 1), model_.vocab_size);
      EXPECT_EQ(work.recorder->echoed[i].token, prompt[i + 1]);
      EXPECT_EQ(work.recorder->echoed[i].logprob, sampler.logprobs(logits, prompt[i + 1], 0)->logprob);
    }
  }

  double now_ = 0;
  std::mt19937_64 random_;
  PrefixRunnerOptions model_;
  PrefixRunnerLog log_;
  std::unique_ptr<EngineCore> core_;
  std::vector<std::vector<TokenId>> stems_, said_;
  std::map<RequestId, Work> live_;
  std::uint64_t last_id_ = 0;
};

TEST(EngineProperty, RandomOperationsKeepEveryStreamAndInvariant) {
  std::int64_t streams = 0, tokens = 0, preemptions = 0, cached = 0, copies = 0, cancelled = 0, failed = 0,
               submitted = 0, partial = 0, masked = 0, timed_out = 0;
  for (std::uint64_t seed = 1; seed <= 120; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    World world(seed);
    world.run(400);
    if (HasFailure()) return;
    const EngineStats stats = world.stats();
    streams += world.streams;
    tokens += world.tokens;
    preemptions += stats.preemptions;
    cached += stats.tokens_cached;
    copies += world.log().copies;
    cancelled += stats.requests_cancelled;
    failed += stats.requests_failed;
    timed_out += stats.requests_timed_out;
    submitted += stats.requests_submitted;
    partial += world.partial;
    masked += world.masked;
  }
  RecordProperty("requests", static_cast<int>(submitted));
  RecordProperty("streams", static_cast<int>(streams));
  RecordProperty("tokens", static_cast<int>(tokens));
  RecordProperty("preemptions", static_cast<int>(preemptions));
  // The test means something only if all of these happened.
  EXPECT_GT(streams, 2000);
  EXPECT_GT(preemptions, 200);
  EXPECT_GT(cached, 10'000);
  EXPECT_GT(copies, 1000);
  EXPECT_GT(partial, 500);
  EXPECT_GT(masked, 500);
  EXPECT_GT(cancelled, 50);
  EXPECT_GT(failed, 50);
  EXPECT_GT(timed_out, 20);
}

}  // namespace
}  // namespace baltoro::engine
