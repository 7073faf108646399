// SPDX-License-Identifier: Apache-2.0
// The approximate modes on random models: what `--dense int8` copies, and that each mode computes what it says.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "baltoro/model/decoder.h"
#include "baltoro/model/dense_copy.h"
#include "baltoro/model/memory_plan.h"
#include "tests/property/random_model.h"

namespace baltoro::model {
namespace {

using tensor::MatrixView;
using tensor::WeightFormat;
using test::Random;

class ApproximateModes : public testing::Test {
 protected:
  ApproximateModes() : weights_(test::random_weights(test::random_config(random_), random_)) {}

  std::vector<float> logits(Math math, DenseWeights dense) const {
    constexpr std::int32_t kTokens = 40;
    auto decoder = *Decoder::create(
        weights_, {.math = math, .dense = dense, .threads = 2, .max_batch_tokens = kTokens, .max_logit_rows = kTokens});
    auto kv = *KvCache::create(weights_->config, math, 1);
    std::vector<std::int32_t> tokens(kTokens), rows(kTokens);
    std::iota(rows.begin(), rows.end(), 0);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = static_cast<std::int32_t>(i * 7 % static_cast<std::size_t>(weights_->config.vocab_size));
    }
    const std::vector<std::int32_t> sequences(kTokens, 0);
    const std::vector<BlockId> blocks{BlockId{0}};
    const std::span<const BlockId> table(blocks);
    std::vector<float> out(static_cast<std::size_t>(kTokens * weights_->config.vocab_size));
    EXPECT_TRUE(decoder->forward({tokens, rows, sequences, {&table, 1}, rows}, *kv, out).ok());
    return out;
  }

  Random random_{42};
  std::shared_ptr<const Weights> weights_;
};

// `count` pairs of an element and its copy: within half a step of the largest (and the scale's rounding).
template <typename Pair>
void expect_group(std::int64_t count, const Pair& pair) {
  float highest = 0;
  for (std::int64_t i = 0; i < count; ++i) highest = std::max(highest, std::fabs(pair(i).first));
  for (std::int64_t i = 0; i < count; ++i) {
    ASSERT_NEAR(pair(i).second, pair(i).first, highest / 127 * (0.5f + 0x1p-8f));
  }
}

void expect_copied(const MatrixView& from, const MatrixView& to) {
  const bool small = from.format == WeightFormat::kFp8Block || from.format == WeightFormat::kInt4Group;
  ASSERT_EQ(to.format, small ? from.format : WeightFormat::kInt8Group);
  ASSERT_EQ(to.rows, from.rows);
  ASSERT_EQ(to.cols, from.cols);
  if (to.format == from.format) {
    EXPECT_EQ(to.data, from.data);
    return;
  }
  for (std::int64_t r = 0; r < from.rows; ++r) {
    for (std::int64_t first = 0; first < from.cols; first += 32) {
      expect_group(std::min<std::int64_t>(32, from.cols - first), [&](std::int64_t i) {
        return std::pair(matrix_element(from, r, first + i), matrix_element(to, r, first + i));
      });
    }
  }
}

std::int64_t bytes_of(const MatrixView& w) { return w.data_bytes() + w.scale_bytes(); }

// The halves of a head of kv_b, the first of which has its groups along the rows.
void expect_copied_head(const MatrixView& kv_b, const MatrixView& w_uk, const MatrixView& w_uv) {
  for (std::int64_t c = 0; c < kv_b.cols; ++c) {
    for (std::int64_t first = 0; first < w_uk.rows; first += 32) {
      expect_group(32, [&](std::int64_t i) {
        return std::pair(matrix_element(kv_b, first + i, c), matrix_element(w_uk, first + i, c));
      });
    }
  }
  expect_copied(kv_b.row_slice(w_uk.rows, w_uv.rows), w_uv);
}

TEST(DenseInt8, CopiesKvBByHeadsWhereItHasMoreBits) {
  int copied = 0, kept = 0;
  for (std::uint64_t seed = 1; seed <= 24; ++seed) {
    Random random(seed);
    const ModelConfig config = test::random_config(random);
    const auto weights = test::random_weights(config, random);
    ThreadPool pool(2);
    const auto made = make_dense_int8(*weights, kernels::kernels(kernels::Isa::kScalar), pool);
    ASSERT_TRUE(made.ok()) << made.error().message;
    const std::int64_t nope = config.qk_nope_head_dim, v = config.v_head_dim;
    Weights without = **made;
    std::int64_t more = 0;  // bytes of the halves than of kv_b
    for (std::size_t l = 0; l < weights->layers.size(); ++l) {
      const MatrixView& kv_b = weights->layers[l].attention.kv_b;
      const auto& copy = (*made)->layers[l].attention.kv_b_copy;
      const bool small = kv_b.format == WeightFormat::kFp8Block || kv_b.format == WeightFormat::kInt4Group;
      ASSERT_EQ(copy.has_value(), !small && nope % 32 == 0) << "seed " << seed;
      ++(copy ? copied : kept);
      without.layers[l].attention.kv_b_copy.reset();
      if (copy) more += bytes_of(copy->w_uk) + bytes_of(copy->w_uv) - bytes_of(kv_b);
      for (std::int64_t h = 0; copy && h < config.num_attention_heads; ++h) {
        expect_copied_head(kv_b.row_slice(h * (nope + v), nope + v), copy->w_uk.row_slice(h * nope, nope),
                           copy->w_uv.row_slice(h * v, v));
      }
    }
    EXPECT_EQ(count_weight_bytes(**made).total - count_weight_bytes(without).total, more);
  }
  EXPECT_GT(copied, 5);
  EXPECT_GT(kept, 5);
}

TEST_F(ApproximateModes, DenseInt8CopiesWhatEveryTokenUses) {
  ThreadPool pool(2);
  const auto copied = make_dense_int8(*weights_, kernels::kernels(kernels::Isa::kScalar), pool);
  ASSERT_TRUE(copied.ok());
  const Weights &a = *weights_, &b = **copied;
  ASSERT_NE(b.copy, nullptr);
  expect_copied(a.lm_head, b.lm_head);
  EXPECT_EQ(a.embed.data, b.embed.data);
  for (std::size_t l = 0; l < a.layers.size(); ++l) {
    SCOPED_TRACE(l);
    const LayerWeights &from = a.layers[l], &to = b.layers[l];
    if (from.attention.q_a) expect_copied(*from.attention.q_a, *to.attention.q_a);
    expect_copied(from.attention.q_b, to.attention.q_b);
    expect_copied(from.attention.o, to.attention.o);
    EXPECT_EQ(from.attention.kv_a.data, to.attention.kv_a.data);
    EXPECT_EQ(from.attention.kv_b.data, to.attention.kv_b.data);
    if (from.dense) {
      expect_copied(from.dense->gate, to.dense->gate);
      expect_copied(from.dense->up, to.dense->up);
      expect_copied(from.dense->down, to.dense->down);
      continue;
    }
    EXPECT_EQ(from.moe->router.data, to.moe->router.data);
    EXPECT_EQ(from.moe->experts[0].gate.data, to.moe->experts[0].gate.data);
    if (from.moe->shared) expect_copied(from.moe->shared->down, to.moe->shared->down);
  }
}

TEST_F(ApproximateModes, ThePlanCountsTheCopyAsMemoryThatMustBeThere) {
  const MachineMemory machine{.total = 1 << 30, .available = 1 << 30, .cgroup_limit = {}, .cgroup_available = 1 << 30};
  MemoryRequest request;
  request.context_tokens = 64;
  const auto released = *plan_memory(*weights_, request, machine);
  request.decoder.dense = DenseWeights::kInt8;
  const auto plan = *plan_memory(*weights_, request, machine);
  EXPECT_EQ(released.dense_copy, 0);
  EXPECT_EQ(plan.dense_copy, dense_int8_bytes(*weights_));
  EXPECT_EQ(plan.owned(), released.owned() + plan.dense_copy);
  EXPECT_LT(plan.weights, released.weights);

  ThreadPool pool(1);
  const auto copied = *make_dense_int8(*weights_, kernels::kernels(kernels::Isa::kScalar), pool);
  EXPECT_EQ(static_cast<std::int64_t>(copied->copy->size()), plan.dense_copy);

  MemoryPlan tight = plan;
  tight.machine.available = tight.machine.cgroup_available = tight.machine.total = plan.owned() - 1;
  const Status refused = check_memory(tight, false);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("INT8 copy"), std::string::npos) << refused.error().message;
}

TEST_F(ApproximateModes, AWeightThatIsNotFiniteIsRefusedByName) {
  Weights broken = *weights_;
  const std::vector<float> values(static_cast<std::size_t>(broken.lm_head.rows * broken.lm_head.cols),
                                  std::numeric_limits<float>::infinity());
  broken.lm_head = {.format = WeightFormat::kF32, .rows = broken.lm_head.rows, .cols = broken.lm_head.cols};
  broken.lm_head.data = reinterpret_cast<const std::byte*>(values.data());
  ThreadPool pool(2);
  const auto copied = make_dense_int8(broken, kernels::kernels(kernels::Isa::kScalar), pool);
  ASSERT_FALSE(copied.ok());
  EXPECT_EQ(copied.error().code, Errc::kCorrupt);
  EXPECT_NE(copied.error().message.find("lm_head"), std::string::npos) << copied.error().message;
}

double rms_distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

// Every mode differs from the others (so it is what runs) and stays near f32. The bound is for random networks, which
// have near-ties of experts; deviation_test.cc has tight ones for trained models.
TEST_F(ApproximateModes, EachComputesSomethingElseNearTheReference) {
  const auto f32 = logits(Math::kF32, DenseWeights::kReleased);
  const auto exact = logits(Math::kExact, DenseWeights::kReleased);
  const double size = rms_distance(f32, std::vector<float>(f32.size(), 0.0f));
  std::vector<std::vector<float>> seen{exact};
  for (const auto& [math, dense] : {std::pair{Math::kFast, DenseWeights::kReleased},
                                    {Math::kExact, DenseWeights::kInt8},
                                    {Math::kFast, DenseWeights::kInt8}}) {
    const auto mode = logits(math, dense);
    for (const auto& other : seen) EXPECT_NE(mode, other) << arithmetic_name(math, dense);
    EXPECT_LT(rms_distance(mode, f32), 0.25 * size) << arithmetic_name(math, dense);
    seen.push_back(mode);
  }
}

}  // namespace
}  // namespace baltoro::model
