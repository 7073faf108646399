// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "baltoro/base/huge_pages.h"
#include "baltoro/base/result.h"
#include "baltoro/model/config.h"
#include "baltoro/model/math.h"

namespace baltoro::model {

// Positions one block (page) holds: kernels::kAttendBlock. Fixed, so that results never depend on how a sequence was
// chunked.
inline constexpr int kBlockTokens = 64;

enum class BlockId : std::int32_t {};

// The paged latent KV store: for each block and layer, kBlockTokens rows of kv_dim elements [c_kv (R) | k_pe (rope)],
// c_kv after its norm and k_pe after RoPE. BF16 in `exact`, F32 in `f32`. Reserved in one mapping at start; the
// operating system gives (huge) pages as they are first touched. One thread writes; ownership of blocks is the
// engine's.
class KvCache {
 public:
  // kResourceExhausted when the address range cannot be reserved.
  static Result<std::unique_ptr<KvCache>> create(const ModelConfig& config, Math math, std::int64_t num_blocks);
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  std::int64_t num_blocks() const { return num_blocks_; }
  std::int64_t kv_dim() const { return kv_dim_; }
  std::int64_t element_bytes() const { return element_bytes_; }
  // First byte of a block's rows in one layer: kBlockTokens * kv_dim elements, rows contiguous.
  std::byte* block(std::int64_t layer, BlockId id) {
    return memory_.data() + ((static_cast<std::int64_t>(id) * layers_ + layer) * layer_stride_);
  }
  const std::byte* block(std::int64_t layer, BlockId id) const { return const_cast<KvCache*>(this)->block(layer, id); }
  // All layers of a block, which lie one behind the other.
  std::span<std::byte> whole_block(BlockId id) {
    return {block(0, id), static_cast<std::size_t>(layers_ * layer_stride_)};
  }
  // Copies all layers of one block: copy-on-write of a shared, partly filled block.
  void copy_block(BlockId from, BlockId to);

  // Bytes a block takes over all layers, and bytes a token takes.
  static std::int64_t block_bytes(const ModelConfig& config, Math math);
  static std::int64_t token_bytes(const ModelConfig& config, Math math);

 private:
  explicit KvCache(HugeBuffer memory) : memory_(std::move(memory)) {}
  HugeBuffer memory_;
  std::int64_t num_blocks_ = 0, layers_ = 0, kv_dim_ = 0, element_bytes_ = 0, layer_stride_ = 0;
};

}  // namespace baltoro::model
