// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/context.h"

#include <gtest/gtest.h>

#include <barrier>
#include <mutex>
#include <vector>

#include "baltoro/model/weight_placement.h"

namespace baltoro::model {
namespace {

// Work that takes less than waking a core is one chunk; the rest is cut into whole multiples, enough for every thread.
TEST(ChunkItems, FollowTheWorkNotTheCount) {
  const ItemWork light{.bytes = 8, .flops = 0}, heavy{.bytes = 16384, .flops = 0};
  EXPECT_EQ(chunk_items({.name = "", .count = 1000, .item = light}, 2), 1000);
  EXPECT_EQ(chunk_items({.name = "", .count = 0, .item = light}, 2), 1);
  for (const int threads : {1, 2, 200}) {
    const Region region{.name = "", .count = 7168, .item = heavy, .multiple = 32};
    const std::int64_t chunk = chunk_items(region, threads);
    EXPECT_EQ(chunk % 32, 0);
    EXPECT_GE(chunk, 32);
    EXPECT_LE(chunk, 7168 / (24 * threads) + 32);  // at least 24 chunks a thread, but for whole multiples
  }
}

class ParallelRows : public testing::Test {
 protected:
  Context context(ThreadPool& pool) {
    return {.config = weights_.config,
            .math = Math::kExact,
            .norm_eps = 0,
            .latent_norm_eps = 0,
            .softmax_scale = 1,
            .kernels = kernels::kernels(kernels::Isa::kScalar),
            .pool = pool,
            .experts = experts_,
            .a = {}};
  }

 private:
  Weights weights_;
  MappedExperts experts_{weights_};
};

TEST_F(ParallelRows, MeetEveryRowAndTokenOnce) {
  ThreadPool pool(2);
  const Context c = context(pool);
  for (const double flops : {1.0, 1e4, 1e8}) {  // a row: all in one chunk, to many
    for (const std::int64_t rows : {1, 33, 1000}) {
      for (const std::int64_t tokens : {1, 96, 97, 500}) {
        const Region region{.name = "", .count = rows, .item = {.bytes = 0, .flops = flops}, .multiple = 32};
        std::vector<std::atomic<int>> met(static_cast<std::size_t>(rows * tokens));
        const auto meet = [&](std::int64_t row, std::int64_t row_end, std::int64_t begin, std::int64_t end, int) {
          EXPECT_LE(end - begin, 96);
          for (; row < row_end; ++row) {
            for (std::int64_t t = begin; t < end; ++t) ++met[static_cast<std::size_t>(row * tokens + t)];
          }
        };
        parallel_rows(c, region, tokens, 96, meet);
        for (const std::atomic<int>& times : met) ASSERT_EQ(times, 1) << rows << " x " << tokens << ", " << flops;
      }
    }
  }
}

// In any number of token blocks a node's workers meet the rows that lie there. All workers take each piece together, so
// that no node is done early and helps another.
TEST_F(ParallelRows, StayOnTheirNode) {
  for (const std::vector<int>& nodes : {std::vector<int>{0, 0, 1, 1}, {0, 1, 1}, {0, 1, 2}}) {
    std::vector<WorkerPlace> places;
    for (const int node : nodes) places.push_back({.node = node});
    const auto placement = place_by_share(places);
    ThreadPool pool(places);
    ASSERT_EQ(pool.size(), static_cast<int>(nodes.size()));
    const Context c = context(pool);
    const std::int64_t rows = 32 * pool.size();
    for (const std::int64_t tokens : {64, 97, 512, 900}) {
      const Region region{.name = "", .count = rows, .item = {.bytes = 0, .flops = 1e9}, .multiple = 32};
      std::barrier together(pool.size());
      std::mutex mutex;
      std::int64_t pieces = 0;
      const auto meet = [&](std::int64_t row, std::int64_t row_end, std::int64_t, std::int64_t, int worker) {
        together.arrive_and_wait();
        const std::scoped_lock lock(mutex);
        ++pieces;
        const int node = pool.node_of(worker);
        EXPECT_GE(row, placement->first_row(node, rows)) << tokens;
        EXPECT_LE(row_end, placement->first_row(node + 1, rows)) << tokens;
      };
      parallel_rows(c, region, tokens, 96, meet);
      EXPECT_EQ(pieces, pool.size() * token_blocks(rows, tokens, 96, pool.size()));
    }
  }
}

}  // namespace
}  // namespace baltoro::model
