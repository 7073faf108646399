// SPDX-License-Identifier: Apache-2.0
// The decoder's promises about memory and hostile weights, on random models.
#include "baltoro/model/decoder.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>

#include "tests/property/random_model.h"

namespace {
std::atomic<std::int64_t> allocations{0};

void* counted(std::size_t bytes, std::size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* p = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
}  // namespace

// The counting allocator of this program. The array forms come to these.
// Not inlined: g++ would take the malloc or free inside for a mismatched pair.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  return counted(bytes == 0 ? 1 : bytes, alignof(std::max_align_t));
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes == 0 ? 1 : bytes, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  try {
    return operator new(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace baltoro::model {
namespace {

using test::Random;
using test::uniform;

// One sequence in one chunk; all buffers made beforehand.
struct Prompt {
  std::vector<std::int32_t> tokens, positions, sequences, logit_rows;
  std::vector<BlockId> blocks;
  std::vector<std::span<const BlockId>> tables;

  Prompt(const ModelConfig& config, std::int32_t length, Random& random)
      : sequences(static_cast<std::size_t>(length), 0) {
    for (std::int32_t i = 0; i < length; ++i) {
      tokens.push_back(static_cast<std::int32_t>(uniform(random, 0, config.vocab_size - 1)));
      positions.push_back(i);
      if (i % kBlockTokens == 0) blocks.push_back(BlockId{i / kBlockTokens});
    }
    tables.emplace_back(blocks);
    logit_rows = {length / 2, length - 1};
  }
  Batch batch() const { return {tokens, positions, sequences, tables, logit_rows}; }
};

class DecoderOnRandomModels : public testing::TestWithParam<Math> {};

TEST_P(DecoderOnRandomModels, ForwardAllocatesNothing) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    Random random(seed);
    const auto weights = test::random_weights(test::random_config(random), random);
    const auto decoder = *Decoder::create(weights, {.math = GetParam(), .threads = 2});
    const auto kv = *KvCache::create(weights->config, GetParam(), 4);
    const Prompt prompt(weights->config, 100, random);
    std::vector<float> logits(2 * static_cast<std::size_t>(weights->config.vocab_size));
    const std::int64_t before = allocations.load();
    ASSERT_TRUE(decoder->forward(prompt.batch(), *kv, logits).ok());
    EXPECT_EQ(allocations.load(), before) << "seed " << seed;
  }
  const std::int64_t before = allocations.load();
  ::operator delete(::operator new(8));
  EXPECT_EQ(allocations.load(), before + 1) << "the counter counts";
}

TEST_P(DecoderOnRandomModels, PlanAndArenaAgree) {
  for (std::uint64_t seed = 10; seed < 20; ++seed) {
    Random random(seed);
    const auto weights = test::random_weights(test::random_config(random), random);
    const DecoderOptions options{.math = GetParam(), .threads = static_cast<int>(seed % 3), .max_batch_tokens = 37};
    const auto decoder = *Decoder::create(weights, options);
    EXPECT_EQ(decoder->scratch_bytes(), Decoder::scratch_bytes(weights->config, options));
  }
}

// Without a trace the last layer finishes only the wanted rows; the result must not show it.
TEST_P(DecoderOnRandomModels, TraceChangesNothing) {
  for (std::uint64_t seed = 20; seed < 26; ++seed) {
    Random random(seed);
    const auto weights = test::random_weights(test::random_config(random), random);
    const ModelConfig& config = weights->config;
    const auto decoder = *Decoder::create(weights, {.math = GetParam(), .threads = 2});
    const auto kv = *KvCache::create(config, GetParam(), 4);
    const Prompt prompt(config, 70, random);
    std::vector<float> plain(2 * static_cast<std::size_t>(config.vocab_size)), traced(plain.size());
    ASSERT_TRUE(decoder->forward(prompt.batch(), *kv, plain).ok());

    std::int64_t attention = 0, hidden = 0, routing = 0;
    const std::size_t rows = 70 * static_cast<std::size_t>(config.hidden_size);
    Trace trace;
    trace.attention = [&](std::int64_t, std::span<const float> x) { attention += x.size() == rows ? 1 : 1000; };
    trace.hidden = [&](std::int64_t, std::span<const float> x) { hidden += x.size() == rows ? 1 : 1000; };
    trace.routing = [&](std::int64_t, std::span<const std::int32_t> experts, std::span<const float> mix) {
      const auto k = static_cast<std::size_t>(config.num_experts_per_tok);
      EXPECT_EQ(experts.size(), 70 * k);
      EXPECT_EQ(mix.size(), 70 * k);
      for (std::size_t i = 1; i < experts.size(); ++i) {
        EXPECT_TRUE(i % k == 0 || experts[i - 1] < experts[i]);
      }
      ++routing;
    };
    ASSERT_TRUE(decoder->forward(prompt.batch(), *kv, traced, &trace).ok());
    EXPECT_EQ(plain, traced) << "seed " << seed;
    EXPECT_EQ(attention, config.num_hidden_layers);
    EXPECT_EQ(hidden, config.num_hidden_layers);
    EXPECT_EQ(routing, config.num_hidden_layers - config.first_k_dense_replace);
  }
}

// A chunk larger than what a worker of the FFN holds at a time, on few and on many threads, and the same in two chunks.
TEST_P(DecoderOnRandomModels, LongChunks) {
  constexpr std::int32_t kLength = 1100, kCut = 450;
  for (std::uint64_t seed = 50; seed < 53; ++seed) {
    Random random(seed);
    ModelConfig config = test::random_config(random);
    const auto weights = test::random_weights(config, random);
    Prompt whole(config, kLength, random);
    whole.logit_rows = {kLength - 1};
    std::vector<std::vector<float>> logits;
    for (const int threads : {1, 2, 24}) {
      const auto decoder =
          *Decoder::create(weights, {.math = GetParam(), .threads = threads, .max_batch_tokens = kLength});
      const auto kv = *KvCache::create(config, GetParam(), 18);
      auto& out = logits.emplace_back(static_cast<std::size_t>(config.vocab_size));
      Batch batch = whole.batch();
      if (threads == 1) {
        batch.tokens = batch.tokens.first(kCut);
        batch.positions = batch.positions.first(kCut);
        batch.sequences = batch.sequences.first(kCut);
        batch.logit_rows = {};
        ASSERT_TRUE(decoder->forward(batch, *kv, out).ok());
        batch = whole.batch();
        batch.tokens = batch.tokens.subspan(kCut);
        batch.positions = batch.positions.subspan(kCut);
        batch.sequences = batch.sequences.subspan(kCut);
      }
      std::vector<std::int32_t> last{static_cast<std::int32_t>(batch.tokens.size()) - 1};
      batch.logit_rows = last;
      ASSERT_TRUE(decoder->forward(batch, *kv, out).ok());
    }
    EXPECT_EQ(logits[1], logits[0]) << "seed " << seed;
    EXPECT_EQ(logits[2], logits[0]) << "seed " << seed;
  }
}

// NaN in the weights reaches the router; it must come out as NaN logits, never as a crash.
TEST_P(DecoderOnRandomModels, NanWeightsDoNotCrash) {
  for (std::uint64_t seed = 30; seed < 34; ++seed) {
    Random random(seed);
    ModelConfig config = test::random_config(random);
    config.first_k_dense_replace = 0;
    const auto owner = test::random_weights(config, random);  // keeps the viewed memory alive
    const auto weights = std::make_shared<Weights>(*owner);
    weights->layers[0].post_attention_norm[0] = std::numeric_limits<float>::quiet_NaN();
    const auto decoder = *Decoder::create(weights, {.math = GetParam(), .threads = 2});
    const auto kv = *KvCache::create(config, GetParam(), 4);
    const Prompt prompt(config, 66, random);
    std::vector<float> logits(2 * static_cast<std::size_t>(config.vocab_size));
    ASSERT_TRUE(decoder->forward(prompt.batch(), *kv, logits).ok());
    EXPECT_TRUE(std::isnan(logits.back()));
  }
}

// Position 262,143 after rows of zeros, all blocks but the last one being the same page: both arithmetics agree.
TEST(Decoder, LastPositionOfTheLongestContext) {
  Random random(40);
  ModelConfig config = test::random_config(random);
  config.max_position_embeddings = 262144;
  const auto weights = test::random_weights(config, random);
  std::vector<BlockId> blocks(262144 / kBlockTokens, BlockId{0});
  blocks.back() = BlockId{1};
  const std::span<const BlockId> table(blocks);
  const std::vector<std::int32_t> tokens{3, 5}, positions{262142, 262143}, sequences{0, 0}, rows{1};
  std::vector<std::vector<float>> logits;
  for (const Math math : {Math::kF32, Math::kExact}) {
    const auto decoder = *Decoder::create(weights, {.math = math, .threads = 2, .max_batch_tokens = 2});
    const auto kv = *KvCache::create(config, math, 2);
    auto& out = logits.emplace_back(static_cast<std::size_t>(config.vocab_size));
    ASSERT_TRUE(decoder->forward({tokens, positions, sequences, {&table, 1}, rows}, *kv, out).ok());
  }
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < logits[0].size(); ++i) {
    difference += std::pow(double{logits[1][i]} - double{logits[0][i]}, 2);
    norm += std::pow(double{logits[0][i]}, 2);
  }
  EXPECT_LT(std::sqrt(difference / norm), 0.03);  // some times the relative rounding 2^-9 of a few layers
}

INSTANTIATE_TEST_SUITE_P(Arithmetics, DecoderOnRandomModels, testing::Values(Math::kExact, Math::kF32));

TEST(DecoderOptions, OutOfRangeIsAnError) {
  Random random(1);
  const auto weights = test::random_weights(test::random_config(random), random);
  for (const DecoderOptions& options :
       {DecoderOptions{.max_batch_tokens = 0}, DecoderOptions{.max_batch_tokens = std::int64_t{1} << 40},
        DecoderOptions{.max_logit_rows = 0}, DecoderOptions{.threads = 1 << 20}}) {
    const auto decoder = Decoder::create(weights, options);
    ASSERT_FALSE(decoder.ok());
    EXPECT_EQ(decoder.error().code, Errc::kInvalidArgument);
    EXPECT_FALSE(decoder.error().field.empty());
  }
}

TEST(KvCache, FarLargerThanMemoryTakesNone) {
  ModelConfig config;
  config.num_hidden_layers = 61;
  config.kv_lora_rank = 512;
  config.qk_rope_head_dim = 64;
  EXPECT_EQ(KvCache::token_bytes(config, Math::kExact), 70272);
  EXPECT_EQ(KvCache::token_bytes(config, Math::kF32), 2 * 70272);
  const auto kv = KvCache::create(config, Math::kExact, 1 << 18);  // 1.2 TB of address space
  ASSERT_TRUE(kv.ok()) << kv.error().message;
  (*kv)->block(60, BlockId{(1 << 18) - 1})[kBlockTokens * 576 * 2 - 1] = std::byte{7};
  (*kv)->copy_block(BlockId{(1 << 18) - 1}, BlockId{3});
  EXPECT_EQ((*kv)->block(60, BlockId{3})[kBlockTokens * 576 * 2 - 1], std::byte{7});
}

TEST(KvCache, ImpossibleSizesAreErrors) {
  ModelConfig config;
  config.num_hidden_layers = 61;
  config.kv_lora_rank = 512;
  config.qk_rope_head_dim = 64;
  for (const std::int64_t blocks : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{1} << 31, std::int64_t{1} << 62}) {
    const auto kv = KvCache::create(config, Math::kExact, blocks);
    ASSERT_FALSE(kv.ok());
    EXPECT_EQ(kv.error().code, Errc::kResourceExhausted);
  }
}

}  // namespace
}  // namespace baltoro::model
