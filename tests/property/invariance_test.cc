// SPDX-License-Identifier: Apache-2.0
// One request never changes another: in `exact` and in `fast`, with and without `--dense int8`, a position's logits are
// the same bits whatever the chunking, the batch neighbours, the thread count, the places of its KV blocks, and whether
// a prefix was computed or taken from the cache.
#include <gtest/gtest.h>

#include <bit>
#include <cstdio>
#include <numeric>

#include "baltoro/model/decoder.h"
#include "tests/property/random_model.h"

namespace baltoro::model {
namespace {

using test::Random;
using test::uniform;

constexpr std::int64_t kMaxTokens = 200;
constexpr kernels::Isa kIsas[] = {kernels::Isa::kScalar, kernels::Isa::kAvx2, kernels::Isa::kAvx512,
                                  kernels::Isa::kAvx512Bf16};

#ifdef BALTORO_DCHECKS  // slow builds with sanitizers
constexpr int kScalarModels = 1, kModels = 3, kApproximateModels = 1;
#else
constexpr int kScalarModels = 6, kModels = 16, kApproximateModels = 4;
#endif

struct Arithmetic {
  kernels::Isa isa = kernels::Isa::kScalar;
  Math math = Math::kExact;
  DenseWeights dense = DenseWeights::kReleased;
};

struct Sequence {
  std::vector<std::int32_t> tokens;
  std::vector<std::uint32_t> expected;  // [tokens, V] bits of the logits, computed alone and in one piece
  std::vector<BlockId> blocks;
  std::size_t done = 0;
};

// One decoder with a cache whose free blocks are handed out in random order.
class Runner {
 public:
  Runner(std::shared_ptr<const Weights> weights, const Arithmetic& arithmetic, int threads, Random& random)
      : random_(random), vocab_(weights->config.vocab_size) {
    auto decoder = Decoder::create(weights, {.math = arithmetic.math,
                                             .dense = arithmetic.dense,
                                             .threads = threads,
                                             .isa = arithmetic.isa,
                                             .max_batch_tokens = kMaxTokens,
                                             .max_logit_rows = kMaxTokens});
    EXPECT_TRUE(decoder.ok()) << decoder.error().message;
    decoder_ = *std::move(decoder);
    kv_ = *KvCache::create(weights->config, arithmetic.math, 32);
    for (int id = 0; id < 32; ++id) free_.push_back(BlockId{id});
  }

  void add_blocks(Sequence& sequence) {
    while (sequence.blocks.size() * kBlockTokens < sequence.tokens.size()) {
      const auto i = static_cast<std::size_t>(uniform(random_, 0, static_cast<std::int64_t>(free_.size()) - 1));
      sequence.blocks.push_back(free_[i]);
      free_.erase(free_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  // Gives the sequence new blocks with the same rows: what copy-on-write and a moved prefix do.
  void move_blocks(Sequence& sequence) {
    std::vector<BlockId> old;
    std::swap(old, sequence.blocks);
    add_blocks(sequence);
    for (std::size_t i = 0; i < old.size(); ++i) kv_->copy_block(old[i], sequence.blocks[i]);
    free_.insert(free_.end(), old.begin(), old.end());
  }

  // Runs the next chunk[i] tokens of each sequence in one batch, tokens of different sequences randomly interleaved.
  // Appends a random half of the logits, or all of them, to `rows` as (sequence, position, bits).
  struct Row {
    std::size_t sequence, position;
    std::vector<std::uint32_t> bits;
  };
  void step(std::vector<Sequence>& sequences, std::vector<std::size_t> chunk, bool all_rows, std::vector<Row>& rows) {
    std::vector<std::int32_t> tokens, positions, owners, logit_rows;
    std::vector<std::span<const BlockId>> tables;
    for (const Sequence& s : sequences) tables.emplace_back(s.blocks);
    std::size_t left = std::accumulate(chunk.begin(), chunk.end(), std::size_t{0});
    while (left > 0) {
      const auto i = static_cast<std::size_t>(uniform(random_, 0, static_cast<std::int64_t>(sequences.size()) - 1));
      if (chunk[i] == 0) continue;
      Sequence& s = sequences[i];
      if (all_rows || uniform(random_, 0, 1) == 0) logit_rows.push_back(static_cast<std::int32_t>(tokens.size()));
      tokens.push_back(s.tokens[s.done]);
      positions.push_back(static_cast<std::int32_t>(s.done));
      owners.push_back(static_cast<std::int32_t>(i));
      ++s.done, --chunk[i], --left;
    }
    const auto vocab = static_cast<std::size_t>(vocab_);
    std::vector<float> logits(logit_rows.size() * vocab, std::nanf(""));
    EXPECT_TRUE(decoder_->forward({tokens, positions, owners, tables, logit_rows}, *kv_, logits).ok());
    for (std::size_t r = 0; r < logit_rows.size(); ++r) {
      const auto t = static_cast<std::size_t>(logit_rows[r]);
      Row& row = rows.emplace_back(Row{static_cast<std::size_t>(owners[t]), static_cast<std::size_t>(positions[t]),
                                       std::vector<std::uint32_t>(vocab)});
      for (std::size_t v = 0; v < vocab; ++v) row.bits[v] = std::bit_cast<std::uint32_t>(logits[r * vocab + v]);
    }
  }

 private:
  Random& random_;
  std::int64_t vocab_;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<KvCache> kv_;
  std::vector<BlockId> free_;
};

// How one case cuts its work.
struct Plan {
  const char* name;
  bool together;       // all sequences in one batch, or one after the other
  std::int64_t chunk;  // largest chunk; random between 1 and this
  int threads;
  bool restart = false;  // now and then throw rows away and compute them again, in blocks moved elsewhere
};

constexpr Plan kPlans[] = {
    {"whole, 2 threads", false, kMaxTokens, 2},
    {"whole, 3 threads", false, kMaxTokens, 3},
    {"whole, more threads than rows", false, kMaxTokens, 24},
    {"random chunks", false, 60, 1},
    {"one token at a time", false, 1, 2},
    {"batched, random chunks", true, 40, 3},
    {"batched, one token each", true, 1, 1},
    {"batched, recomputed, moved", true, 50, 2, true},
};

struct Counts {
  std::int64_t cases = 0, rows = 0;
};

bool unfinished(const std::vector<Sequence>& sequences, std::size_t first, std::size_t last) {
  for (std::size_t i = first; i < last; ++i) {
    if (sequences[i].done < sequences[i].tokens.size()) return true;
  }
  return false;
}

void rewind_some(std::vector<Sequence>& sequences, Runner& runner, Random& random) {
  for (Sequence& s : sequences) {
    if (s.done == 0 || uniform(random, 0, 3) != 0) continue;
    s.done = static_cast<std::size_t>(uniform(random, 0, static_cast<std::int64_t>(s.done) - 1));
    runner.move_blocks(s);
  }
}

// Runs the sequences as `plan` says and compares every row it sees with the expected bits.
void run_case(const std::shared_ptr<const Weights>& weights, std::vector<Sequence> sequences,
              const Arithmetic& arithmetic, const Plan& plan, Random& random, Counts& counts) {
  Runner runner(weights, arithmetic, plan.threads, random);
  for (Sequence& s : sequences) runner.add_blocks(s);
  std::vector<Runner::Row> rows;
  int rewinds = plan.restart ? 3 : 0;
  const std::size_t groups = plan.together ? 1 : sequences.size();
  for (std::size_t g = 0; g < groups; ++g) {
    const std::size_t first = plan.together ? 0 : g, last = plan.together ? sequences.size() : g + 1;
    while (unfinished(sequences, first, last)) {
      std::vector<std::size_t> chunk(sequences.size(), 0);
      std::int64_t room = kMaxTokens;
      for (std::size_t i = first; i < last; ++i) {
        const auto left = static_cast<std::int64_t>(sequences[i].tokens.size() - sequences[i].done);
        const std::int64_t most = std::min({left, plan.chunk, room});
        const bool whole = plan.chunk == kMaxTokens;
        chunk[i] = static_cast<std::size_t>(most == 0 ? 0 : uniform(random, whole ? most : 1, most));
        room -= static_cast<std::int64_t>(chunk[i]);
      }
      runner.step(sequences, chunk, false, rows);
      if (rewinds > 0 && uniform(random, 0, 1) == 0) {
        rewind_some(sequences, runner, random);
        --rewinds;
      }
    }
  }
  for (const Runner::Row& row : rows) {
    const auto vocab = row.bits.size();
    const auto& expected = sequences[row.sequence].expected;
    const bool same = std::equal(row.bits.begin(), row.bits.end(),
                                 expected.begin() + static_cast<std::ptrdiff_t>(row.position * vocab));
    ASSERT_TRUE(same) << plan.name << ": sequence " << row.sequence << " position " << row.position;
  }
  ++counts.cases;
  counts.rows += static_cast<std::int64_t>(rows.size());
}

// Lengths around the 64-token blocks and some others.
std::vector<Sequence> random_sequences(const ModelConfig& config, Random& random) {
  constexpr std::int64_t kLengths[] = {1, 2, 63, 64, 65, 127, 128, 129, 150};
  std::vector<Sequence> sequences(static_cast<std::size_t>(uniform(random, 2, 4)));
  for (Sequence& s : sequences) {
    const std::int64_t length = uniform(random, 0, 1) == 0 ? kLengths[uniform(random, 0, 8)] : uniform(random, 3, 90);
    for (std::int64_t i = 0; i < length; ++i) {
      s.tokens.push_back(static_cast<std::int32_t>(uniform(random, 0, config.vocab_size - 1)));
    }
  }
  return sequences;
}

// Each sequence alone, in one piece, on one thread.
void compute_expected(const std::shared_ptr<const Weights>& weights, std::vector<Sequence>& sequences,
                      const Arithmetic& arithmetic, Random& random) {
  for (Sequence& s : sequences) {
    Runner runner(weights, arithmetic, 1, random);
    std::vector<Sequence> alone{s};
    runner.add_blocks(alone[0]);
    std::vector<Runner::Row> rows;
    runner.step(alone, {s.tokens.size()}, true, rows);
    for (const Runner::Row& row : rows) s.expected.insert(s.expected.end(), row.bits.begin(), row.bits.end());
    for (const std::uint32_t bits : s.expected) ASSERT_TRUE(std::isfinite(std::bit_cast<float>(bits)));
  }
}

void run_models(const Arithmetic& arithmetic, int models) {
  Counts counts;
  const char* name = arithmetic_name(arithmetic.math, arithmetic.dense);
  for (int m = 0; m < models; ++m) {
    SCOPED_TRACE(testing::Message() << kernels::isa_name(arithmetic.isa) << ", " << name << ", model " << m);
    Random random(static_cast<std::uint64_t>(m) * 4 + static_cast<std::uint64_t>(arithmetic.isa) + 1);
    const auto weights = test::random_weights(test::random_config(random), random);
    auto sequences = random_sequences(weights->config, random);
    ASSERT_NO_FATAL_FAILURE(compute_expected(weights, sequences, arithmetic, random));
    for (const Plan& plan : kPlans) {
      ASSERT_NO_FATAL_FAILURE(run_case(weights, sequences, arithmetic, plan, random, counts));
    }
  }
  std::printf("invariance %-12s %-17s %3d random models, %4lld cases, %6lld logit rows equal bit for bit\n",
              kernels::isa_name(arithmetic.isa), name, models, static_cast<long long>(counts.cases),
              static_cast<long long>(counts.rows));
  std::fflush(stdout);
}

TEST(Invariance, SameBitsHoweverTheWorkIsCut) {
  for (const kernels::Isa isa : kIsas) {
    if (!kernels::isa_supported(isa)) continue;
    run_models({.isa = isa}, isa == kernels::Isa::kScalar ? kScalarModels : kModels);
  }
}

TEST(Invariance, SameBitsInTheApproximateModes) {
  constexpr Arithmetic kModes[] = {{.math = Math::kFast},
                                   {.math = Math::kFast, .dense = DenseWeights::kInt8},
                                   {.math = Math::kExact, .dense = DenseWeights::kInt8}};
  for (const kernels::Isa isa : kIsas) {
    if (!kernels::isa_supported(isa)) continue;
    for (Arithmetic mode : kModes) {
      mode.isa = isa;
      run_models(mode, isa == kernels::Isa::kScalar ? 1 : kApproximateModels);
    }
  }
}

}  // namespace
}  // namespace baltoro::model
