// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/weight_pages.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "baltoro/base/cpu_list.h"
#include "baltoro/model/folder_for_test.h"

namespace baltoro::model {
namespace {

std::int64_t bytes_of(const tensor::MatrixView& w) { return w.data_bytes() + w.scale_bytes(); }
std::int64_t bytes_of(const FfnWeights& w) { return bytes_of(w.gate) + bytes_of(w.up) + bytes_of(w.down); }

std::int64_t bytes_of_all_tokens(const Weights& w) {
  std::int64_t bytes = bytes_of(w.lm_head);
  for (const LayerWeights& layer : w.layers) {
    const MlaWeights& mla = layer.attention;
    bytes += (mla.q_a ? bytes_of(*mla.q_a) : 0) + bytes_of(mla.kv_a) + bytes_of(mla.q_b) + bytes_of(mla.kv_b) +
             bytes_of(mla.o);
    if (layer.dense) bytes += bytes_of(*layer.dense);
    if (layer.moe) bytes += bytes_of(layer.moe->router) + bytes_of(*layer.moe->shared);
  }
  return bytes;
}

TEST(WeightPages, ReadsWhatIsNeededThenTheRest) {
  for (const QuantScheme quant : {QuantScheme::kBf16, QuantScheme::kInt4, QuantScheme::kFp8}) {
    const test::TemporaryFolder folder;
    test::write_folder(folder.path(), test::small_config(), test::loose_checkpoint(test::small_config(), quant));
    const auto weights = open_weights(folder.path());
    ASSERT_TRUE(weights.ok()) << weights.error().message;
    const std::vector<FfnWeights>& experts = (*weights)->layers[1].moe->experts;
    WeightPages pages(**weights, place_by_share(std::vector<WorkerPlace>(2)));
    const std::int64_t first = bytes_of_all_tokens(**weights);
    EXPECT_EQ(pages.finish(), first);

    const std::int64_t one = bytes_of(experts[0]);
    pages.choose(1, std::array<std::int32_t, 2>{0, 3});
    EXPECT_EQ(pages.finish(), first + 2 * one);
    pages.choose(1, std::array<std::int32_t, 2>{3, 5});
    EXPECT_EQ(pages.finish(), first + 3 * one);

    pages.end_step();
    EXPECT_EQ(pages.finish(), first + (3 + static_cast<std::int64_t>(experts.size())) * one);
    pages.choose(1, std::array<std::int32_t, 1>{7});
    pages.finish();
    pages.end_step();  // all is there: nothing more to do
    EXPECT_EQ(pages.finish(), 0);
    pages.choose(1, std::array<std::int32_t, 1>{6});
    pages.end_step();
  }
}

// Two nodes that both have this machine's CPUs: every byte is read by one of them, a weight's rows in halves, experts'
// gate and up by expert.
TEST(WeightPages, EveryByteOnOneNode) {
  const test::TemporaryFolder folder;
  test::write_folder(folder.path(), test::small_config(),
                     test::loose_checkpoint(test::small_config(), QuantScheme::kInt4));
  const auto weights = open_weights(folder.path());
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  const std::vector<int> cpus = affinity_cpus();
  const std::vector<WorkerPlace> places{{.cpus = cpus, .node = 0}, {.cpus = cpus, .node = 1}};
  WeightPages pages(**weights, place_by_share(places));
  const std::int64_t all = bytes_of_all_tokens(**weights);
  EXPECT_EQ(pages.finish(), all);
  EXPECT_NEAR(static_cast<double>(pages.bytes_of_node(0)), static_cast<double>(all) / 2, static_cast<double>(all) / 50);

  const std::int64_t before = pages.bytes_of_node(0), before_1 = pages.bytes_of_node(1);
  pages.choose(1, std::array<std::int32_t, 2>{0, 1});  // both in node 0's half of eight experts
  EXPECT_EQ(pages.finish(), all + 2 * bytes_of((*weights)->layers[1].moe->experts[0]));
  const std::int64_t down = bytes_of((*weights)->layers[1].moe->experts[0].down);
  EXPECT_EQ(pages.bytes_of_node(1) - before_1, 2 * (down / 2));
  EXPECT_EQ(pages.bytes_of_node(0) - before, 2 * (bytes_of((*weights)->layers[1].moe->experts[0]) - down / 2));
}

}  // namespace
}  // namespace baltoro::model
