// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/kv_cache.h"

#include <fmt/format.h>

#include <cstring>
#include <limits>
#include <utility>

namespace baltoro::model {
namespace {

std::int64_t row_bytes(const ModelConfig& config, Math math) { return config.kv_dim() * element_bytes(math); }

}  // namespace

std::int64_t KvCache::block_bytes(const ModelConfig& config, Math math) {
  return token_bytes(config, math) * kBlockTokens;
}

std::int64_t KvCache::token_bytes(const ModelConfig& config, Math math) {
  return row_bytes(config, math) * config.num_hidden_layers;
}

Result<std::unique_ptr<KvCache>> KvCache::create(const ModelConfig& config, Math math, std::int64_t num_blocks) {
  const std::int64_t bytes_per_block = block_bytes(config, math);
  std::int64_t bytes = 0;
  if (num_blocks < 1 || num_blocks > std::numeric_limits<std::int32_t>::max() ||
      __builtin_mul_overflow(num_blocks, bytes_per_block, &bytes)) {
    return Error{Errc::kResourceExhausted,
                 fmt::format("[kv_cache] needed 1 to {} blocks of {} bytes, asked for {}",
                             std::numeric_limits<std::int32_t>::max(), bytes_per_block, num_blocks)};
  }
  auto memory = HugeBuffer::create(static_cast<std::size_t>(bytes));
  if (!memory.ok()) {
    return Error{memory.error().code, fmt::format("[kv_cache] {} blocks: {}", num_blocks, memory.error().message)};
  }
  std::unique_ptr<KvCache> cache(new KvCache(*std::move(memory)));
  cache->num_blocks_ = num_blocks;
  cache->layers_ = config.num_hidden_layers;
  cache->kv_dim_ = config.kv_dim();
  cache->element_bytes_ = model::element_bytes(math);
  cache->layer_stride_ = row_bytes(config, math) * kBlockTokens;
  return cache;
}

void KvCache::copy_block(BlockId from, BlockId to) {
  BALTORO_CHECK(static_cast<std::int64_t>(from) >= 0 && static_cast<std::int64_t>(from) < num_blocks_ &&
                    static_cast<std::int64_t>(to) >= 0 && static_cast<std::int64_t>(to) < num_blocks_,
                "block ids within the cache");
  if (from == to) return;
  std::memcpy(block(0, to), block(0, from), static_cast<std::size_t>(layer_stride_ * layers_));
}

}  // namespace baltoro::model
