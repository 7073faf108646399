// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/expert_cache.h"

#include <gmock/gmock.h>

#include <atomic>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "baltoro/model/folder_for_test.h"

namespace baltoro::model {
namespace {

std::string config_text() {
  return test::small_config_with({{"hidden_size", 256},
                                  {"num_hidden_layers", 4},
                                  {"moe_intermediate_size", 256},
                                  {"n_routed_experts", 12},
                                  {"num_experts_per_tok", 3}});
}

class ExpertCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(synthesize({.config_json = config_text(),
                            .seed = 9,
                            .out = folder_.path(),
                            .shard_bytes = 5'000'000,
                            .threads = 1,
                            .progress = ProgressStyle::kSilent})
                    .ok());
    mapped_ = *open_weights(folder_.path());
    streamed_ = *open_streamed_weights(folder_.path(), std::int64_t{1} << 40, ProgressStyle::kSilent);
  }
  std::unique_ptr<ExpertCache> cache(std::int64_t slots) {
    const ExpertUnits units(streamed_->config, *streamed_->streamed);
    auto made = ExpertCache::create(streamed_, slots * units.slot_bytes());
    EXPECT_TRUE(made.ok());
    return *std::move(made);
  }

  // A layer's experts for some tokens at random: ascending, with the first slot of each.
  struct Choice {
    std::vector<std::int32_t> active, first_slot;
  };
  Choice choose(std::int64_t tokens) {
    std::vector<std::int32_t> counts(13, 0);
    for (std::int64_t i = 0; i < tokens * 3; ++i) ++counts[random_() % 4 == 0 ? random_() % 12 : random_() % 5];
    Choice choice{.active = {}, .first_slot = {0}};
    for (std::int32_t e = 0; e < 12; ++e) {
      if (counts[static_cast<std::size_t>(e)] > 0) choice.active.push_back(e);
      choice.first_slot.push_back(choice.first_slot.back() + counts[static_cast<std::size_t>(e)]);
    }
    return choice;
  }
  static bool same(const tensor::MatrixView& a, const tensor::MatrixView& b) {
    return std::memcmp(a.data, b.data, static_cast<std::size_t>(a.data_bytes())) == 0;
  }
  void expect_right(std::int64_t layer, std::int32_t e, const FfnWeights& seen) const {
    const FfnWeights& right =
        mapped_->layers[static_cast<std::size_t>(layer)].moe->experts[static_cast<std::size_t>(e)];
    EXPECT_TRUE(same(seen.gate, right.gate) && same(seen.up, right.up) && same(seen.down, right.down))
        << "layer " << layer << " expert " << e;
  }

  static void run_layer(ExpertCache& cache, std::int64_t layer, const std::set<std::int32_t>& chosen,
                        std::int64_t tokens) {
    const std::vector<std::int32_t> active(chosen.begin(), chosen.end());
    std::vector<std::int32_t> first{0};
    for (std::int32_t e = 0; e < 12; ++e) first.push_back(first.back() + static_cast<std::int32_t>(chosen.count(e)));
    cache.begin(layer, active, first.data(), tokens);
    for (std::int64_t done = 0; done < static_cast<std::int64_t>(active.size()); cache.finish(done)) {
      const auto end = cache.wait(done);
      ASSERT_TRUE(end.ok());
      done = *end;
    }
  }

  std::mt19937 random_{3};
  test::TemporaryFolder folder_;
  std::shared_ptr<const Weights> mapped_, streamed_;
};

// Steps of all kinds, some given up half way or interrupted, while another thread looks at the figures.
TEST_F(ExpertCacheTest, ShowsTheRightBytesWhateverHappened) {
  for (const std::int64_t slots : {1, 2, 4, 9, 17, 36}) {
    const auto cache = this->cache(slots);
    std::atomic<bool> stop = false;
    std::thread watcher([&] {
      while (!stop) EXPECT_GE(cache->stats().bytes_read, 0);
    });
    for (int step = 0; step < 60; ++step) {
      const auto tokens = static_cast<std::int64_t>(random_() % 5 == 0 ? 20 : 1 + random_() % 2);
      for (std::int64_t layer = 0; layer < 4; ++layer) {
        Choice choice;
        if (layer > 0) {
          choice = choose(tokens);
          cache->begin(layer, choice.active, choice.first_slot.data(), tokens);
        }
        if (const LayerWeights* next = cache->guess_after(layer, tokens)) {
          EXPECT_EQ(next, &streamed_->layers[static_cast<std::size_t>(layer + 1)]);
          const std::vector<std::int32_t> guess = choose(1).active;
          const std::vector<float> mix(guess.size(), 0.25f);
          cache->expect(guess, mix);
        }
        if (layer == 0) continue;
        const auto count = static_cast<std::int64_t>(choice.active.size());
        const std::int64_t give_up = random_() % 7 == 0 ? static_cast<std::int64_t>(random_() % 4) : count;
        const bool interrupted = random_() % 9 == 0;
        if (interrupted) cache->interrupt(true);
        for (std::int64_t done = 0; done < std::min(count, give_up);) {
          const auto end = cache->wait(done);
          if (interrupted) {
            ASSERT_FALSE(end.ok());
            EXPECT_EQ(end.error().code, Errc::kCancelled);
            break;
          }
          ASSERT_TRUE(end.ok()) << end.error().message;
          ASSERT_GT(*end, done);
          for (; done < *end; ++done) {
            const std::int32_t e = choice.active[static_cast<std::size_t>(done)];
            expect_right(layer, e, cache->weights()[static_cast<std::size_t>(e)]);
          }
          cache->finish(done);
        }
        cache->interrupt(false);
        const Status sound = cache->check_integrity();
        ASSERT_TRUE(sound.ok()) << sound.error().message;
      }
    }
    stop = true;
    watcher.join();
  }
}

TEST_F(ExpertCacheTest, KeepsWhatIsChosenOften) {
  const auto cache = this->cache(10);  // of 36: what two layers of three choose most
  for (int step = 0; step < 200; ++step) {
    for (std::int64_t layer = 1; layer < 4; ++layer) {
      // Experts 0 to 2 nine times of ten, the others in turn.
      std::set<std::int32_t> chosen{0, 1, 2};
      if (step % 10 == 9) chosen = {3 + step / 10 % 9};
      run_layer(*cache, layer, chosen, 1);
    }
  }
  const ExpertStats stats = cache->stats();
  EXPECT_EQ(stats.hits + stats.late + stats.misses, 3 * (180 * 3 + 20));
  // 9 popular units fit beside one other: each is read once, and the rare ones each time.
  EXPECT_LE(stats.misses + stats.late, 9 + 60 + 10);
}

TEST_F(ExpertCacheTest, ManyTokensNeedNoGuessToReadAhead) {
  const auto cache = this->cache(36);
  const std::set<std::int32_t> all{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  EXPECT_EQ(cache->guess_after(0, 64), nullptr);
  EXPECT_EQ(cache->stats().read_ahead, 12);
  run_layer(*cache, 1, all, 64);
  EXPECT_EQ(cache->stats().misses, 0);
  EXPECT_EQ(cache->stats().read_ahead_used, 12);
  EXPECT_EQ(cache->guess_after(1, 64), nullptr);
  EXPECT_EQ(cache->stats().read_ahead, 24);
  EXPECT_EQ(cache->guess_after(2, 64), nullptr);
  EXPECT_EQ(cache->stats().read_ahead, 24) << "the last layer may compute one token only";
}

// A reader whose reads of kLater never begin by themselves, so that a guess is still waiting when its layer comes.
class LazyReader final : public BlockReader {
 public:
  explicit LazyReader(Done done) : done_(std::move(done)) {}
  void read(const BlockRead& read, Urgency urgency) override {
    reads_[read.tag] = read;
    if (urgency == Urgency::kNow) hurry(read.tag);
  }
  void hurry(std::uint32_t tag) override {
    if (begun_ != tag) hurried_.push_back(tag);
  }
  bool cancel(std::uint32_t tag) override {
    if (begun_ == tag) return false;
    return reads_.erase(tag) > 0;
  }
  BlockReaderStats stats() const override { return {}; }
  std::string way() const override { return "lazy"; }
  // Ends what is wanted now.
  void run() {
    for (auto tags = std::exchange(hurried_, {}); !tags.empty(); tags = std::exchange(hurried_, {}))
      for (const std::uint32_t tag : tags) end(tag, {});
  }
  void begin_of(std::uint32_t tag) { begun_ = tag; }
  void end(std::uint32_t tag, Status status) {
    if (begun_ == tag) begun_.reset();
    if (reads_.erase(tag) > 0) done_(tag, std::move(status));
  }
  const std::map<std::uint32_t, BlockRead>& waiting() const { return reads_; }

 private:
  Done done_;
  std::map<std::uint32_t, BlockRead> reads_;
  std::vector<std::uint32_t> hurried_;
  std::optional<std::uint32_t> begun_;
};

TEST_F(ExpertCacheTest, WrongGuessesAreGivenUp) {
  LazyReader* reader = nullptr;
  const ExpertUnits units(streamed_->config, *streamed_->streamed);
  auto made = ExpertCache::create(
      streamed_, 20 * units.slot_bytes(),
      [&](const auto&, BlockReader::Done done, std::uint32_t) -> Result<std::unique_ptr<BlockReader>> {
        auto lazy = std::make_unique<LazyReader>(std::move(done));
        reader = lazy.get();
        return std::unique_ptr<BlockReader>(std::move(lazy));
      });
  ASSERT_TRUE(made.ok());
  ExpertCache& cache = **made;
  ASSERT_NE(cache.guess_after(0, 1), nullptr);
  const std::int32_t guess[] = {2, 5, 7};
  const float weights[] = {0.5f, 0.3f, 0.2f};
  cache.expect(guess, weights);
  EXPECT_EQ(cache.stats().read_ahead, 3);
  const std::uint32_t of_five = static_cast<std::uint32_t>(units.max_extents());  // the second slot's first tag
  ASSERT_TRUE(reader->waiting().contains(of_five));
  reader->begin_of(of_five);  // a part of expert 5 is under way already
  const std::int32_t better_guess[] = {2, 7};
  cache.expect(better_guess, std::span(weights).first(2));
  EXPECT_EQ(cache.stats().read_ahead_given_up, 1);
  const std::int32_t chosen[] = {2, 3};
  const std::int32_t first_slot[] = {0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2};
  cache.begin(1, chosen, first_slot, 1);
  EXPECT_EQ(cache.stats().read_ahead_given_up, 2);
  EXPECT_EQ(cache.stats().read_ahead_used, 1);
  EXPECT_TRUE(cache.check_integrity().ok());
  reader->run();
  ASSERT_TRUE(cache.wait(0).ok());
  cache.finish(2);
  EXPECT_EQ(cache.stats().bytes_used, units[units.unit_of(1, 2)].bytes() + units[units.unit_of(1, 3)].bytes());
  // The next step wants expert 5 before its first reading has ended: it is read again, and only then there.
  const std::int32_t five[] = {5};
  const std::int32_t first_of_five[] = {0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1};
  cache.begin(1, five, first_of_five, 1);
  reader->run();
  reader->end(of_five, Error{Errc::kCancelled, "[test] cancelled"});
  EXPECT_FALSE(cache.ready());
  reader->run();
  EXPECT_TRUE(cache.ready());
  ASSERT_TRUE(cache.wait(0).ok());
  cache.finish(1);
  EXPECT_TRUE(cache.check_integrity().ok());
}

TEST_F(ExpertCacheTest, AfterADropEverythingMisses) {
  const auto cache = this->cache(36);
  const std::set<std::int32_t> some{1, 4, 7};
  for (int round = 1; round <= 3; ++round) {
    cache->drop();
    const Status sound = cache->check_integrity();
    ASSERT_TRUE(sound.ok()) << sound.error().message;
    const ExpertStats before = cache->stats();
    run_layer(*cache, 1, some, 1);
    run_layer(*cache, 1, some, 1);
    EXPECT_EQ(cache->stats().misses - before.misses, 3);
    EXPECT_EQ(cache->stats().hits - before.hits, 3);
  }
}

}  // namespace
}  // namespace baltoro::model
