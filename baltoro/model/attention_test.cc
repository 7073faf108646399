// SPDX-License-Identifier: Apache-2.0
// attend() over long contexts: the same bits however queries are grouped, whatever the threads and whether parts of a
// context are worked on side by side. That those bits are attention is shown in baltoro/kernels/attend_test.cc.
#include "baltoro/model/attention.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace baltoro::model {
namespace {

ModelConfig small_config(std::int64_t heads) {
  ModelConfig c;
  c.vocab_size = 8;
  c.hidden_size = c.intermediate_size = 32;
  c.num_hidden_layers = 2;
  c.num_attention_heads = heads;
  c.kv_lora_rank = 40;
  c.qk_nope_head_dim = c.v_head_dim = 16;
  c.qk_rope_head_dim = 8;
  c.max_position_embeddings = 12000;
  return c;
}

// Some queries of two sequences with full caches of random rows.
class Attention {
 public:
  Attention(std::int64_t heads, kernels::Isa isa) : isa_(isa), config_(small_config(heads)) {
    weights_.config = config_;
    kv_ = *KvCache::create(config_, Math::kExact, 2 * kBlocks);
    for (int i = 0; i < kBlocks; ++i) {
      for (std::size_t s = 0; s < 2; ++s) {
        tables_[s].push_back(static_cast<BlockId>(2 * i + static_cast<int>(s)));
        auto* row = reinterpret_cast<tensor::bf16*>(kv_->block(1, tables_[s].back()));
        for (std::int64_t k = 0; k < kBlockTokens * config_.kv_dim(); ++k) row[k] = random_bf16();
      }
    }
  }

  // Adds queries of `tokens` neighbours.
  void add(std::int32_t sequence, std::int32_t position, int tokens) {
    for (int t = 0; t < tokens; ++t) {
      sequences_.push_back(sequence);
      positions_.push_back(position + t);
      for (std::int64_t k = 0; k < query_elements(); ++k) queries_.push_back(random_bf16());
    }
  }

  // z of those tokens that `rows` names, as bits.
  std::vector<tensor::bf16> run(int threads, const std::vector<std::int32_t>& rows) {
    ThreadPool pool(threads);
    MappedExperts experts(weights_);
    std::int64_t bytes = 0;
    const ActivationSizes sizes{.batch_tokens = static_cast<std::int64_t>(rows.size()), .threads = threads};
    lay_out_activations(config_, sizes, nullptr, &bytes);
    std::vector<std::byte> arena(static_cast<std::size_t>(bytes + 64));
    std::byte* base = arena.data() + (64 - reinterpret_cast<std::uintptr_t>(arena.data()) % 64) % 64;
    const Context c{.config = config_,
                    .math = Math::kExact,
                    .norm_eps = 0,
                    .latent_norm_eps = 0,
                    .softmax_scale = 0.3f,
                    .kernels = kernels::kernels(isa_),
                    .pool = pool,
                    .experts = experts,
                    .a = lay_out_activations(config_, sizes, base, &bytes)};
    for (std::size_t i = 0; i < rows.size(); ++i) {
      std::memcpy(c.a.q_latent + static_cast<std::int64_t>(i) * query_elements() * 2,
                  queries_.data() + rows[i] * query_elements(), static_cast<std::size_t>(query_elements()) * 2);
    }
    const std::vector<std::span<const BlockId>> tables(tables_, tables_ + 2);
    const std::vector<std::int32_t> tokens(positions_.size(), 0);
    const Batch batch{tokens, positions_, sequences_, tables, {}};
    const Step step{.batch = batch, .kv = *kv_, .trace = nullptr};
    attend(1, {step, rows.data(), static_cast<std::int64_t>(rows.size())},
           operand_rows(c, c.a.z, c.config.kv_lora_rank), c);
    const auto* z = reinterpret_cast<const tensor::bf16*>(c.a.z);
    return {z, z + static_cast<std::int64_t>(rows.size()) * config_.num_attention_heads * config_.kv_lora_rank};
  }

  std::size_t tokens() const { return positions_.size(); }

 private:
  static constexpr int kBlocks = 160;  // 10,240 positions: more parts than a small pool has states
  std::int64_t query_elements() const { return config_.num_attention_heads * config_.kv_dim(); }
  tensor::bf16 random_bf16() { return tensor::f32_to_bf16(normal_(random_)); }

  kernels::Isa isa_;
  ModelConfig config_;
  Weights weights_;
  std::unique_ptr<KvCache> kv_;
  std::vector<BlockId> tables_[2];
  std::vector<std::int32_t> positions_, sequences_;
  std::vector<tensor::bf16> queries_;
  std::mt19937_64 random_{5};
  std::normal_distribution<float> normal_;
};

class AttentionTest : public testing::TestWithParam<kernels::Isa> {};

TEST_P(AttentionTest, SameBitsHoweverTheContextIsCut) {
  if (!kernels::isa_supported(GetParam())) GTEST_SKIP() << "not on this CPU";
  for (const std::int64_t heads : {1, 5, 16, 70}) {
    Attention attention(heads, GetParam());
    attention.add(0, 10000, 1);  // alone: rounds of parts
    attention.add(1, 10239, 1);
    attention.add(0, 61, 7);    // over the end of a block
    attention.add(1, 1530, 3);  // three parts, with others
    attention.add(1, 2, 1);
    const auto row_bits = [&](int threads, const std::vector<std::int32_t>& rows) {
      return attention.run(threads, rows);
    };
    std::vector<std::vector<tensor::bf16>> alone;
    for (std::int32_t t = 0; t < static_cast<std::int32_t>(attention.tokens()); ++t) alone.push_back(row_bits(1, {t}));
    const std::vector<std::int32_t> sets[] = {{0},
                                              {1},
                                              {9},
                                              {0, 1},
                                              {4, 5, 6, 9, 10, 11},
                                              {9, 10, 11, 12},
                                              {1, 9, 11},
                                              {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};
    for (const int threads : {1, 2, 5}) {
      for (const auto& rows : sets) {
        const auto together = row_bits(threads, rows);
        const std::size_t n = together.size() / rows.size();
        for (std::size_t i = 0; i < rows.size(); ++i) {
          ASSERT_EQ(std::memcmp(together.data() + i * n, alone[static_cast<std::size_t>(rows[i])].data(), n * 2), 0)
              << heads << " heads, " << threads << " threads, token " << rows[i] << " of " << rows.size();
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, AttentionTest,
                         testing::Values(kernels::Isa::kScalar, kernels::Isa::kAvx2, kernels::Isa::kAvx512,
                                         kernels::Isa::kAvx512Bf16),
                         [](const auto& isa) { return std::string(kernels::isa_name(isa.param)); });

}  // namespace
}  // namespace baltoro::model
