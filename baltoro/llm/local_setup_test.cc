// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/local_setup.h"

#include <gtest/gtest.h>

#include "baltoro/engine/kv_store.h"
#include "baltoro/model/kv_cache.h"
#include "baltoro/model/streamed_weights.h"

namespace baltoro::llm {
namespace {

// The least memory limit under which a model opens.
std::int64_t least_limit(const model::Weights& weights, LocalOptions options) {
  std::int64_t refused = 0, taken = std::int64_t{4} << 30;
  while (taken - refused > 1) {
    options.memory_bytes = refused + (taken - refused) / 2;
    (plan_kv(weights, {}, options).ok() ? taken : refused) = options.memory_bytes;
  }
  return taken;
}

TEST(LocalSetup, AFolderForKvTakesItsBuffersFromTheLimit) {
  LocalOptions options{.dir = BALTORO_SOURCE_DIR "/models/ledger", .kv_tokens = 1024};
  const auto weights = model::open_weights_within(options.dir, std::int64_t{4} << 30);
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  const std::int64_t without = least_limit(**weights, options);
  options.kv_dir = "somewhere";
  const std::int64_t block = model::KvCache::block_bytes((*weights)->config, model::Math::kExact);
  EXPECT_EQ(least_limit(**weights, options), without + 2 * std::int64_t{engine::KvStore::kBuffers} * block);
  options.prefix_cache = false;  // then the folder is for answers alone
  EXPECT_EQ(least_limit(**weights, options), without);
}

}  // namespace
}  // namespace baltoro::llm
