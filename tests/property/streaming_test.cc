// SPDX-License-Identifier: Apache-2.0
// Experts read from disk into bounded memory: the same bits as experts in memory, whatever fits; faults are errors.
#include <gmock/gmock.h>

#include <bit>
#include <filesystem>
#include <numeric>
#include <random>
#include <thread>

#include "baltoro/base/direct_reader.h"
#include "baltoro/model/decoder.h"
#include "baltoro/model/expert_units.h"
#include "baltoro/model/folder_for_test.h"
#include "baltoro/model/streamed_weights.h"
#include "baltoro/model/synth.h"

namespace baltoro::model {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kLots = std::int64_t{1} << 40;

// One dense and three MoE layers, 16 experts of 768 KiB in BF16, 4 a token: each expert is a unit of reading.
std::string config_text() {
  return test::small_config_with({{"hidden_size", 256},
                                  {"num_hidden_layers", 4},
                                  {"moe_intermediate_size", 512},
                                  {"n_routed_experts", 16},
                                  {"num_experts_per_tok", 4}});
}

// The same folder for all tests of a storage format.
class Folder {
 public:
  explicit Folder(QuantScheme quant, std::string config = config_text()) {
    // Small shards, so that experts and layers lie in several files.
    const auto made = synthesize({.config_json = std::move(config),
                                  .quant = quant,
                                  .seed = 5,
                                  .out = folder_.path(),
                                  .shard_bytes = 9'000'000,
                                  .threads = 2,
                                  .progress = ProgressStyle::kSilent});
    EXPECT_TRUE(made.ok()) << made.error().message;
  }
  const std::string& path() const { return folder_.path(); }
  std::shared_ptr<const Weights> mapped() const {
    auto weights = open_weights(path());
    EXPECT_TRUE(weights.ok()) << weights.error().message;
    return *std::move(weights);
  }
  std::shared_ptr<const Weights> streamed() const {
    auto weights = open_streamed_weights(path(), kLots, ProgressStyle::kSilent);
    EXPECT_TRUE(weights.ok()) << weights.error().message;
    return *std::move(weights);
  }

 private:
  test::TemporaryFolder folder_;
};

// A prompt in chunks, then steps of one and of several sequences; all logits in one row of bits.
class Session {
 public:
  static Result<Session> create(std::shared_ptr<const Weights> weights, DecoderOptions options) {
    Session session;
    session.vocab_ = weights->config.vocab_size;
    options.max_batch_tokens = options.max_logit_rows = 64;
    BALTORO_TRY(session.kv_, KvCache::create(weights->config, options.math, 8));
    BALTORO_TRY(session.decoder_, Decoder::create(std::move(weights), options));
    return session;
  }
  Status step(std::span<const std::int32_t> sequences, std::int64_t tokens_each) {
    std::vector<std::int32_t> tokens, positions, owners, rows;
    std::vector<BlockId> blocks(8);
    for (std::size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<BlockId>(i);
    std::vector<std::span<const BlockId>> tables;
    for (std::size_t s = 0; s < 4; ++s) tables.emplace_back(blocks.data() + 2 * s, 2);
    for (const std::int32_t s : sequences) {
      for (std::int64_t t = 0; t < tokens_each; ++t) {
        auto& length = lengths_[static_cast<std::size_t>(s)];
        tokens.push_back(static_cast<std::int32_t>((length * 97 + s * 31 + 11) % vocab_));
        positions.push_back(length++);
        owners.push_back(s);
        rows.push_back(static_cast<std::int32_t>(rows.size()));
      }
    }
    std::vector<float> logits(rows.size() * static_cast<std::size_t>(vocab_));
    BALTORO_TRY_STATUS(decoder_->forward({tokens, positions, owners, tables, rows}, *kv_, logits));
    for (const float value : logits) bits_.push_back(std::bit_cast<std::uint32_t>(value));
    return {};
  }
  Status run() {
    const std::int32_t first[] = {0}, two[] = {1, 2}, all[] = {0, 1, 2, 3};
    BALTORO_TRY_STATUS(step(first, 50));
    BALTORO_TRY_STATUS(step(two, 7));
    for (int i = 0; i < 6; ++i) BALTORO_TRY_STATUS(step(first, 1));
    for (int i = 0; i < 3; ++i) BALTORO_TRY_STATUS(step(all, 1));
    return {};
  }
  const std::vector<std::uint32_t>& bits() const { return bits_; }
  Decoder& decoder() { return *decoder_; }

 private:
  std::int64_t vocab_ = 0;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<KvCache> kv_;
  std::array<std::int32_t, 4> lengths_{};
  std::vector<std::uint32_t> bits_;
};

std::vector<std::uint32_t> bits_of(std::shared_ptr<const Weights> weights, DecoderOptions options) {
  auto session = Session::create(std::move(weights), options);
  EXPECT_TRUE(session.ok()) << session.error().message;
  const Status run = session->run();
  EXPECT_TRUE(run.ok()) << run.error().message;
  return session->bits();
}

class Streaming : public testing::TestWithParam<QuantScheme> {};

TEST_P(Streaming, TheSameBitsWhateverFits) {
  const Folder folder(GetParam());
  const auto expected = bits_of(folder.mapped(), {.threads = 2});
  const auto weights = folder.streamed();
  const ExpertUnits units(weights->config, *weights->streamed);
  for (const std::int64_t slots : {1, 2, 3, 4, 5, 9, 16, 24, 47, 48, 100}) {
    for (const int threads : {1, 2}) {
      auto session = Session::create(
          weights, {.threads = threads, .expert_cache_bytes = slots * units.slot_bytes() + units.slot_bytes() / 2});
      ASSERT_TRUE(session.ok()) << session.error().message;
      ASSERT_TRUE(session->run().ok());
      EXPECT_EQ(session->bits(), expected) << slots << " slots, " << threads << " threads";
      const ExpertStats stats = *session->decoder().expert_stats();
      EXPECT_EQ(stats.slots, std::min<std::int64_t>(slots, units.count()));
      EXPECT_GT(stats.misses, 0);
      EXPECT_GE(stats.bytes_read, stats.misses * units.slot_bytes() * 9 / 10);
      if (slots >= 48) {
        EXPECT_LE(stats.misses + stats.read_ahead, 48) << "nothing is read twice when all fits";
      }
    }
  }
}

TEST_P(Streaming, WithoutRingOrDirectReads) {
  const Folder folder(GetParam());
  const auto expected = bits_of(folder.mapped(), {.threads = 2});
  const auto weights = folder.streamed();
  const ExpertUnits units(weights->config, *weights->streamed);
  const auto open = [](const std::vector<std::string>& paths, BlockReader::Done done, std::uint32_t tags) {
    return open_direct_reader(paths, std::move(done), {.tags = tags, .io_uring = false, .direct = false});
  };
  EXPECT_EQ(bits_of(weights, {.threads = 2, .expert_cache_bytes = 6 * units.slot_bytes(), .open_reader = open}),
            expected);
}

INSTANTIATE_TEST_SUITE_P(Formats, Streaming,
                         testing::Values(QuantScheme::kBf16, QuantScheme::kFp8, QuantScheme::kInt4));

TEST(Streaming, SmallExpertsAreReadInUnits) {
  const Folder folder(QuantScheme::kBf16,
                      test::small_config_with({{"num_hidden_layers", 4}, {"n_routed_experts", 13}}));
  const auto weights = folder.streamed();
  const ExpertUnits units(weights->config, *weights->streamed);
  EXPECT_EQ(units.per_layer(), 4);  // experts of 60 KiB, four a unit
  const auto expected = bits_of(folder.mapped(), {.math = Math::kF32, .threads = 2});
  for (const std::int64_t slots : {1, 3, 12}) {
    EXPECT_EQ(bits_of(weights, {.math = Math::kF32, .threads = 2, .expert_cache_bytes = slots * units.slot_bytes()}),
              expected);
  }
}

TEST(Streaming, OpeningChecksAndCounts) {
  const Folder folder(QuantScheme::kInt4);
  const auto refused = open_streamed_weights(folder.path(), 1 << 20, ProgressStyle::kSilent);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kResourceExhausted);
  EXPECT_THAT(refused.error().message, HasSubstr("--memory"));
  const auto weights = folder.streamed();
  const auto small = Session::create(weights, {.threads = 1, .expert_cache_bytes = 1000});
  ASSERT_FALSE(small.ok());
  EXPECT_EQ(small.error().code, Errc::kResourceExhausted);
  EXPECT_EQ(weights->layers[1].moe->experts[3].gate.data, nullptr);
  EXPECT_EQ(open_streamed_weights(folder.path() + "/none", kLots).error().code, Errc::kNotFound);
}

// Reads that fail now and then, at random, in the reader's own threads.
class FaultyReader final : public BlockReader {
 public:
  FaultyReader(std::unique_ptr<BlockReader> reader, std::shared_ptr<std::atomic<int>> fail_in)
      : reader_(std::move(reader)), fail_in_(std::move(fail_in)) {}
  // Every read whose turn it is when *fail_in counts to zero fails.
  static OpenBlockReader open(std::shared_ptr<std::atomic<int>> fail_in) {
    return [fail_in](const std::vector<std::string>& paths, Done done,
                     std::uint32_t tags) -> Result<std::unique_ptr<BlockReader>> {
      const auto faulty = [fail_in, done](std::uint32_t tag, Status status) {
        if (fail_in->fetch_sub(1) == 1) status = Error{Errc::kIo, "[test] cannot read: Input/output error"};
        done(tag, std::move(status));
      };
      BALTORO_TRY(auto reader, open_direct_reader(paths, faulty, {.tags = tags, .depth = 3}));
      return std::unique_ptr<BlockReader>(std::make_unique<FaultyReader>(std::move(reader), fail_in));
    };
  }
  void read(const BlockRead& read, Urgency urgency) override { reader_->read(read, urgency); }
  void hurry(std::uint32_t tag) override { reader_->hurry(tag); }
  bool cancel(std::uint32_t tag) override { return reader_->cancel(tag); }
  BlockReaderStats stats() const override { return reader_->stats(); }
  std::string way() const override { return "faulty " + reader_->way(); }

 private:
  std::unique_ptr<BlockReader> reader_;
  std::shared_ptr<std::atomic<int>> fail_in_;
};

TEST(Streaming, AFailedReadFailsTheStepAndNothingElse) {
  const Folder folder(QuantScheme::kInt4);
  const auto weights = folder.streamed();
  const ExpertUnits units(weights->config, *weights->streamed);
  const std::int32_t first[] = {0};
  auto reference = Session::create(folder.mapped(), {.threads = 2});
  ASSERT_TRUE(reference.ok() && reference->step(first, 40).ok());
  int failed = 0;
  for (const std::int64_t slots : {1, 5, 20}) {
    for (int at = 1; at < 60; at += 7) {
      const auto fail_in = std::make_shared<std::atomic<int>>(at);
      auto session = Session::create(
          weights,
          {.threads = 2, .expert_cache_bytes = slots * units.slot_bytes(), .open_reader = FaultyReader::open(fail_in)});
      ASSERT_TRUE(session.ok());
      const Status run = session->step(first, 40);
      if (!run.ok()) {
        ++failed;
        EXPECT_EQ(run.error().code, Errc::kIo);
        EXPECT_THAT(run.error().message, HasSubstr("Input/output error"));
        EXPECT_TRUE(session->bits().empty());
        // The disk is well again: another sequence gets its own right answer.
        const std::int32_t other[] = {1};
        auto fresh = Session::create(folder.mapped(), {.threads = 2});
        ASSERT_TRUE(fresh.ok() && fresh->step(other, 30).ok());
        ASSERT_TRUE(session->step(other, 30).ok());
        EXPECT_EQ(session->bits(), fresh->bits());
      } else {  // it was a read ahead that nobody needed
        EXPECT_EQ(session->bits(), reference->bits());
      }
    }
  }
  EXPECT_GT(failed, 10);
}

TEST(Streaming, AFileCutShortWhileRunningIsAnError) {
  const Folder folder(QuantScheme::kBf16);
  const auto weights = folder.streamed();
  const ExpertUnits units(weights->config, *weights->streamed);
  auto session = Session::create(weights, {.threads = 2, .expert_cache_bytes = 4 * units.slot_bytes()});
  ASSERT_TRUE(session.ok());
  const std::int32_t first[] = {0};
  ASSERT_TRUE(session->step(first, 20).ok());
  for (const std::string& path : weights->streamed->paths) std::filesystem::resize_file(path, 4096);
  const Status run = session->step(first, 20);
  ASSERT_FALSE(run.ok());
  EXPECT_EQ(run.error().code, Errc::kCorrupt);
  EXPECT_THAT(run.error().message, HasSubstr("shorter than when it was opened"));
}

TEST(Streaming, RemovedFilesAreStillRead) {
  std::vector<std::uint32_t> expected;
  std::optional<Session> session;
  {
    const Folder folder(QuantScheme::kInt4);
    expected = bits_of(folder.mapped(), {.threads = 2});
    auto made = Session::create(folder.streamed(), {.threads = 2, .expert_cache_bytes = 3 << 20});
    ASSERT_TRUE(made.ok());
    session.emplace(*std::move(made));
  }
  ASSERT_TRUE(session->run().ok());
  EXPECT_EQ(session->bits(), expected);
}

}  // namespace
}  // namespace baltoro::model
