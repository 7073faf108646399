// SPDX-License-Identifier: Apache-2.0
// A KV block as a file: what it holds is said in front of it, and everything is checked before a byte of it is used.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "baltoro/base/sha256.h"
#include "baltoro/engine/prefix_cache.h"

namespace baltoro::engine {

// Names the tokens of a block and all before it. 128 bits of a digest under the store's secret: nobody outside can make
// two prompts meet, and two meet by chance once in 2^64 blocks. On top of it each page's own tokens are compared.
using ChainKey = std::array<std::uint8_t, 16>;

// Keys of chains of blocks under one secret. Immutable; any thread.
class ChainKeys {
 public:
  explicit ChainKeys(const Sha256Digest& secret) : secret_(secret) {}
  ChainKey root(CacheSalt salt) const;  // before the first block
  ChainKey next(const ChainKey& before, std::span<const TokenId> tokens) const;

 private:
  Sha256Digest secret_;
};

// What a page must be to be used.
struct PageId {
  Sha256Digest fingerprint{};  // of everything that the KV's bits depend on but the tokens
  ChainKey before{}, key{};    // of the blocks in front, and with this one
  std::uint64_t index = 0;     // of the block in its sequence
  std::array<TokenId, kBlockTokens> tokens{};
};

// The file, all numbers little-endian:
//   offset  bytes  what
//        0      8  "BALTORO\n"
//        8      4  version, kPageVersion
//       12      4  bytes of the header, kPageHeaderBytes
//       16     32  fingerprint
//       48     16  key of the blocks in front
//       64     16  key
//       80      8  index
//       88      8  bytes of the KV
//       96    256  64 token ids
//      352     32  SHA-256 of the KV
//      384     32  SHA-256 of bytes 0 to 383
//      416         the block's KV: layers in order, 64 rows each, as model::KvCache holds them
inline constexpr std::size_t kPageHeaderBytes = 416;
inline constexpr std::uint32_t kPageVersion = 1;
using PageHeader = std::array<std::byte, kPageHeaderBytes>;

PageHeader make_page_header(const PageId& id, std::span<const std::byte> kv);

// What is wrong with a page; kNone: nothing.
enum class PageFault : std::uint8_t { kNone, kSize, kFormat, kVersion, kHeader, kFingerprint, kTokens, kContent };
const char* page_fault_name(PageFault fault);  // "size", "format", "version", ...

// Holds `header` and `kv`, all the bytes that a file has behind it, against `wanted`. `kv_bytes`: what a block takes.
PageFault check_page(std::span<const std::byte> header, std::span<const std::byte> kv, std::size_t kv_bytes,
                     const PageId& wanted);

}  // namespace baltoro::engine
