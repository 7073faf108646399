// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "baltoro/model/checkpoint.h"
#include "baltoro/model/folder_for_test.h"

namespace baltoro::model {
namespace {

using testing::HasSubstr;

class MemoryPlanTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto tensors = test::loose_checkpoint(test::small_config(), QuantScheme::kFp8);
    test::write_folder(folder_.path(), test::small_config(), tensors);
    auto opened = open_weights(folder_.path());
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    weights_ = *std::move(opened);
  }
  MemoryPlan plan(std::int64_t available, std::int64_t sequences = 1, std::int64_t kv_buffer_blocks = 0) {
    MachineMemory machine;
    machine.total = std::int64_t{1} << 40;
    machine.available = available;
    const auto planned = plan_memory(
        *weights_, {.context_tokens = 256, .sequences = sequences, .decoder = {}, .kv_buffer_blocks = kv_buffer_blocks},
        machine);
    EXPECT_TRUE(planned.ok()) << planned.error().message;
    return *planned;
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<const Weights> weights_;
};

TEST_F(MemoryPlanTest, AddsUpWeightsKvAndScratch) {
  const MemoryPlan p = plan(std::int64_t{1} << 40, 3);
  EXPECT_EQ(p.kv_token, 2 * (32 + 8) * 2);  // layers * (latent + rope) * BF16
  EXPECT_EQ(p.kv, 3 * 256 * p.kv_token);
  const DecoderOptions options;
  EXPECT_EQ(p.scratch, Decoder::scratch_bytes(weights_->config, options) +
                           options.max_logit_rows * weights_->config.vocab_size * 4);
  EXPECT_EQ(p.total(), p.weights + p.kv + p.scratch);
  EXPECT_TRUE(check_memory(p, false).ok());
}

TEST_F(MemoryPlanTest, BuffersForTheDiskCount) {
  const MemoryPlan without = plan(std::int64_t{1} << 40), with = plan(std::int64_t{1} << 40, 1, 16);
  EXPECT_EQ(with.kv_buffers, 16 * 64 * with.kv_token);
  EXPECT_EQ(with.total(), without.total() + with.kv_buffers);
  const auto refused = check_memory(plan(without.total(), 1, 16), false);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("KV on its way to disk 164 kB, scratch"));
}

TEST_F(MemoryPlanTest, WeightsAreTheFilesBytesWithWidenedVectors) {
  std::int64_t file = 0;
  std::int64_t vectors = 0;
  for (const auto& [name, tensor] : weights_->files->tensors()) {
    const TensorInfo& info = tensor.view->info;
    file += info.bytes();
    if (info.shape.size() == 1 && info.dtype == tensor::DType::kBF16) vectors += info.bytes();
  }
  const WeightBytes bytes = count_weight_bytes(*weights_);
  EXPECT_EQ(bytes.total, file + vectors);
  EXPECT_LT(bytes.active, bytes.total);
  // 6 of 8 experts idle, and all but one row of the embedding.
  const auto& expert = weights_->layers[1].moe->experts[0];
  const std::int64_t one = expert.gate.data_bytes() + expert.gate.scale_bytes() + expert.up.data_bytes() +
                           expert.up.scale_bytes() + expert.down.data_bytes() + expert.down.scale_bytes();
  EXPECT_EQ(bytes.active, bytes.total - 6 * one - 511 * 160 * 2);
}

TEST_F(MemoryPlanTest, WhatCannotFitIsRefusedWithNumbersUnlessForced) {
  const MemoryPlan roomy = plan(std::int64_t{1} << 40);
  const MemoryPlan tight = plan(roomy.total() - 1);
  const auto refused = check_memory(tight, false);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Errc::kResourceExhausted);
  EXPECT_THAT(refused.error().message, HasSubstr("256 tokens x 1 sequence x 160 bytes"));
  EXPECT_THAT(refused.error().message, HasSubstr("read from disk again"));
  EXPECT_TRUE(check_memory(tight, true).ok());
  EXPECT_TRUE(check_memory(plan(roomy.total()), false).ok());
  EXPECT_THAT(check_memory(plan(roomy.owned() - 1), false).error().message, HasSubstr("KV and scratch alone"));
}

TEST_F(MemoryPlanTest, ATighterControlGroupCounts) {
  MemoryPlan p = plan(std::int64_t{1} << 40);
  p.machine.cgroup_limit = 1000;
  p.machine.cgroup_available = 900;
  EXPECT_THAT(check_memory(p, false).error().message, HasSubstr("control group limit 1.00 kB"));
}

TEST_F(MemoryPlanTest, RequestsOutOfRangeAreRefused) {
  for (const std::int64_t context : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{257}}) {
    EXPECT_EQ(plan_memory(*weights_, {.context_tokens = context, .decoder = {}}, {}).error().code,
              Errc::kInvalidArgument);
  }
  for (const std::int64_t sequences : {std::int64_t{0}, std::int64_t{65537}}) {
    EXPECT_EQ(plan_memory(*weights_, {.context_tokens = 1, .sequences = sequences, .decoder = {}}, {}).error().code,
              Errc::kInvalidArgument);
  }
}

}  // namespace
}  // namespace baltoro::model
