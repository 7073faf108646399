// SPDX-License-Identifier: Apache-2.0
// The bits of KV are pinned for each instruction set and arithmetic: KV on disk outlives the program that computed it,
// so a change of bits must come with a change of model::kArithmeticRevision.
#include <gtest/gtest.h>

#include <numeric>

#include "baltoro/base/sha256.h"
#include "baltoro/model/decoder.h"
#include "baltoro/model/kv_identity.h"
#include "tests/property/random_model.h"

namespace baltoro::model {
namespace {

using enum kernels::Isa;

constexpr int kModels = 6;
constexpr std::int64_t kTokens = 2 * kBlockTokens;

// The KV of a prompt of two blocks in each of some models of all shapes and formats.
std::string bits_of(kernels::Isa isa, Math math, DenseWeights dense) {
  Sha256 hash;
  for (std::uint64_t seed = 1; seed <= kModels; ++seed) {
    test::Random random(seed);
    const ModelConfig config = test::random_config(random);
    const auto weights = test::random_weights(config, random);
    auto decoder = Decoder::create(
        weights,
        {.math = math, .dense = dense, .threads = 1, .isa = isa, .max_batch_tokens = kTokens, .max_logit_rows = 1});
    EXPECT_TRUE(decoder.ok()) << decoder.error().message;
    const auto kv = *KvCache::create(config, math, 2);
    std::vector<std::int32_t> tokens(kTokens), positions(kTokens), sequences(kTokens, 0);
    for (std::int32_t& token : tokens)
      token = static_cast<std::int32_t>(test::uniform(random, 0, config.vocab_size - 1));
    std::iota(positions.begin(), positions.end(), 0);
    const std::vector<BlockId> blocks = {BlockId{0}, BlockId{1}};
    const std::vector<std::span<const BlockId>> tables = {blocks};
    EXPECT_TRUE((*decoder)->forward({tokens, positions, sequences, tables, {}}, *kv, {}).ok());
    for (const BlockId block : blocks) hash.update(kv->whole_block(block));
  }
  return to_hex(hash.finish()).substr(0, 16);
}

struct Pin {
  kernels::Isa isa;
  Math math;
  DenseWeights dense;
  const char* bits;
};
// The C library has its part in them (exp, cos, sin, pow): these are glibc 2.36's, on x86-64.
constexpr Pin kPins[] = {
    {kScalar, Math::kExact, DenseWeights::kReleased, "48b6d56a942f2545"},
    {kScalar, Math::kExact, DenseWeights::kInt8, "ea48b9e5145be721"},
    {kScalar, Math::kFast, DenseWeights::kReleased, "d13d1452ac715770"},
    {kScalar, Math::kFast, DenseWeights::kInt8, "9314e1c433bcb4b4"},
    {kScalar, Math::kF32, DenseWeights::kReleased, "1c257e06ec86c9e1"},
    {kAvx2, Math::kExact, DenseWeights::kReleased, "66c401e46ded5f69"},
    {kAvx2, Math::kExact, DenseWeights::kInt8, "bd15d2c195fc3a53"},
    {kAvx2, Math::kFast, DenseWeights::kReleased, "ab37994c5836d677"},
    {kAvx2, Math::kFast, DenseWeights::kInt8, "1316ebf89615cc0b"},
    {kAvx512, Math::kExact, DenseWeights::kReleased, "4f0cf172da92b569"},
    {kAvx512, Math::kExact, DenseWeights::kInt8, "4a8a8fd360a488e0"},
    {kAvx512, Math::kFast, DenseWeights::kReleased, "6257d334fc38a3b7"},
    {kAvx512, Math::kFast, DenseWeights::kInt8, "cf98105fa725dbad"},
    {kAvx512Bf16, Math::kExact, DenseWeights::kReleased, "4768dbbb7b74abb9"},
    {kAvx512Bf16, Math::kExact, DenseWeights::kInt8, "fc62000445049d66"},
    {kAvx512Bf16, Math::kFast, DenseWeights::kReleased, "51b38d51499b0c98"},
    {kAvx512Bf16, Math::kFast, DenseWeights::kInt8, "bf82c63e11134e35"},
};
constexpr int kPinnedRevision = 1;

TEST(KvBits, AreThoseOfTheRevision) {
  EXPECT_EQ(kArithmeticRevision, kPinnedRevision) << "a new revision: pin its bits here";
  for (const Pin& pin : kPins) {
    if (!kernels::isa_supported(pin.isa)) continue;
    EXPECT_EQ(bits_of(pin.isa, pin.math, pin.dense), pin.bits)
        << kernels::isa_name(pin.isa) << ", " << arithmetic_name(pin.math, pin.dense)
        << ": KV that earlier builds left on disk has other bits. Raise kArithmeticRevision in model/kv_identity.h, "
           "say there why, and pin the new ones";
  }
}

}  // namespace
}  // namespace baltoro::model
