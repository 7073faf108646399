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
    {kScalar, Math::kExact, DenseWeights::kReleased, "f121b287c4d3bac7"},
    {kScalar, Math::kExact, DenseWeights::kInt8, "e4e51d92aa8b6ca9"},
    {kScalar, Math::kFast, DenseWeights::kReleased, "8edb4de85ad7c0c7"},
    {kScalar, Math::kFast, DenseWeights::kInt8, "f048fea4d55ef246"},
    {kScalar, Math::kF32, DenseWeights::kReleased, "fb8df99bf6f51e90"},
    {kAvx2, Math::kExact, DenseWeights::kReleased, "e4a2305fabd04b53"},
    {kAvx2, Math::kExact, DenseWeights::kInt8, "bde1f904ddee7d55"},
    {kAvx2, Math::kFast, DenseWeights::kReleased, "44c3b1fbb96e8ceb"},
    {kAvx2, Math::kFast, DenseWeights::kInt8, "60ffcf230f72fbb8"},
    {kAvx512, Math::kExact, DenseWeights::kReleased, "3c1782e9dbb71024"},
    {kAvx512, Math::kExact, DenseWeights::kInt8, "6b87aa6f2264320b"},
    {kAvx512, Math::kFast, DenseWeights::kReleased, "2fd31f58bf612781"},
    {kAvx512, Math::kFast, DenseWeights::kInt8, "af04deb93cc3230a"},
    {kAvx512Bf16, Math::kExact, DenseWeights::kReleased, "2e722f75aa6a5c4f"},
    {kAvx512Bf16, Math::kExact, DenseWeights::kInt8, "9e8407f86c0e8e31"},
    {kAvx512Bf16, Math::kFast, DenseWeights::kReleased, "26c565a7d4e2c69b"},
    {kAvx512Bf16, Math::kFast, DenseWeights::kInt8, "9a07cddda48c9032"},
};
constexpr int kPinnedRevision = 3;

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
