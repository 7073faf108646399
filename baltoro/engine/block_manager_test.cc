// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/block_manager.h"

#include <gtest/gtest.h>

namespace baltoro::engine {
namespace {

std::vector<TokenId> block_of(TokenId fill) { return std::vector<TokenId>(kBlockTokens, fill); }

TEST(PrefixCache, ForcedCollisionsNeverMatch) {
  PrefixCache cache(8, 1);  // one bucket: everything collides
  EXPECT_EQ(cache.insert(kNoBlock, block_of(1), BlockId{0}), BlockId{0});
  EXPECT_EQ(cache.insert(kNoBlock, block_of(2), BlockId{1}), BlockId{1});
  EXPECT_EQ(cache.insert(BlockId{0}, block_of(3), BlockId{2}), BlockId{2});
  EXPECT_EQ(cache.insert(BlockId{1}, block_of(3), BlockId{3}), BlockId{3});
  EXPECT_EQ(cache.find(kNoBlock, block_of(1)), BlockId{0});
  EXPECT_EQ(cache.find(kNoBlock, block_of(3)), std::nullopt);
  EXPECT_EQ(cache.find(BlockId{0}, block_of(3)), BlockId{2});
  EXPECT_EQ(cache.find(BlockId{1}, block_of(3)), BlockId{3});
  auto last_differs = block_of(1);
  last_differs.back() = 0;
  EXPECT_EQ(cache.find(kNoBlock, last_differs), std::nullopt);
  EXPECT_EQ(cache.insert(kNoBlock, block_of(1), BlockId{4}), BlockId{0});  // already known
  EXPECT_FALSE(cache.contains(BlockId{4}));
  EXPECT_TRUE(cache.check_integrity().ok());
}

TEST(BlockManager, KeepsUsedBlocksAndEvictsTheOldestFirst) {
  BlockManager blocks(3);
  std::vector<BlockId> a = {*blocks.allocate(), *blocks.allocate()};
  a[0] = blocks.cache(kNoBlock, block_of(1), a[0]);
  a[1] = blocks.cache(a[0], block_of(2), a[1]);
  blocks.release_all(a);
  EXPECT_EQ(blocks.num_free(), 1);
  EXPECT_EQ(blocks.num_cached(), 2);
  const auto hit = blocks.find_cached(kNoBlock, block_of(1));  // keeps the parent in use
  ASSERT_TRUE(hit);
  EXPECT_TRUE(blocks.allocate());  // the free one
  EXPECT_TRUE(blocks.allocate());  // the cached child
  EXPECT_EQ(blocks.find_cached(*hit, block_of(2)), std::nullopt);
  EXPECT_EQ(blocks.allocate(), std::nullopt);  // all are held
  const std::vector<BlockId> all = {BlockId{0}, BlockId{1}, BlockId{2}};
  const std::span<const BlockId> chains[] = {all};
  EXPECT_TRUE(blocks.check_integrity(chains).ok());
  EXPECT_FALSE(blocks.check_integrity({}).ok());
}

TEST(BlockManager, TwoWritersOfOnePrefixEndWithOneCopy) {
  BlockManager blocks(4);
  const BlockId first = *blocks.allocate(), second = *blocks.allocate();
  EXPECT_EQ(blocks.cache(kNoBlock, block_of(9), first), first);
  EXPECT_EQ(blocks.cache(kNoBlock, block_of(9), second), first);
  EXPECT_TRUE(blocks.is_shared(first));
  EXPECT_EQ(blocks.num_free(), 3);
}

TEST(BlockManager, ChainsAreEvictedFromTheirTail) {
  BlockManager blocks(4);
  std::vector<BlockId> chain;
  for (TokenId i = 0; i < 4; ++i) {
    chain.push_back(*blocks.allocate());
    const BlockId parent = i == 0 ? kNoBlock : chain[static_cast<std::size_t>(i - 1)];
    chain.back() = blocks.cache(parent, block_of(i), chain.back());
  }
  const auto copy = chain;
  blocks.release_all(chain);
  for (std::size_t i = 4; i-- > 0;) {
    EXPECT_EQ(blocks.allocate(), copy[i]);
    std::vector<std::span<const BlockId>> held = {std::span(copy).subspan(i)};
    EXPECT_TRUE(blocks.check_integrity(held).ok());
  }
}

std::vector<TokenId> tail_of(std::int64_t count, TokenId fill, TokenId last) {
  std::vector<TokenId> tokens(static_cast<std::size_t>(count), fill);
  tokens.back() = last;
  return tokens;
}

TEST(PrefixCache, SaltsPartEverythingBehindTheFirstBlock) {
  PrefixCache cache(8, 1);
  const CacheSalt mine{.high = 1, .low = 2}, other{.high = 1, .low = 3};
  EXPECT_EQ(cache.insert(kNoBlock, block_of(1), BlockId{0}, mine), BlockId{0});
  EXPECT_EQ(cache.find(kNoBlock, block_of(1)), std::nullopt);
  EXPECT_EQ(cache.find(kNoBlock, block_of(1), other), std::nullopt);
  EXPECT_EQ(cache.find(kNoBlock, block_of(1), mine), BlockId{0});
  EXPECT_EQ(cache.closest(kNoBlock, block_of(1), other).block, kNoBlock);
  EXPECT_EQ(cache.closest(kNoBlock, block_of(1), mine).tokens, kBlockTokens);
  EXPECT_EQ(cache.insert(kNoBlock, block_of(1), BlockId{1}, other), BlockId{1});
  EXPECT_EQ(cache.insert(BlockId{1}, block_of(2), BlockId{2}, other), BlockId{2});
  EXPECT_EQ(cache.find(BlockId{0}, block_of(2), mine), std::nullopt);
  EXPECT_TRUE(cache.insert_tail(kNoBlock, tail_of(5, 7, 7), BlockId{3}, mine));
  EXPECT_TRUE(cache.insert_tail(kNoBlock, tail_of(5, 7, 7), BlockId{4}, other));
  EXPECT_EQ(cache.closest(kNoBlock, tail_of(9, 7, 7)).tokens, 0);
  EXPECT_TRUE(cache.check_integrity().ok());
}

TEST(PrefixCache, TheClosestChildSharesTheMostTokens) {
  PrefixCache cache(8);
  EXPECT_EQ(cache.insert(kNoBlock, block_of(1), BlockId{0}), BlockId{0});
  EXPECT_TRUE(cache.insert_tail(BlockId{0}, tail_of(10, 5, 6), BlockId{1}));
  EXPECT_TRUE(cache.insert_tail(BlockId{0}, tail_of(12, 5, 7), BlockId{2}));
  EXPECT_FALSE(cache.insert_tail(BlockId{0}, tail_of(11, 5, 5), BlockId{3}));  // the second has them
  const PartialMatch differs = cache.closest(BlockId{0}, tail_of(10, 5, 8));
  EXPECT_EQ(differs.tokens, 9);
  ASSERT_TRUE(differs.next);
  EXPECT_EQ(*differs.next, 5);  // of the one that goes on
  const PartialMatch longer = cache.closest(BlockId{0}, tail_of(30, 5, 7));
  EXPECT_EQ(longer.block, BlockId{2});
  EXPECT_EQ(longer.tokens, 11);
  EXPECT_EQ(*longer.next, 7);
  auto extension = tail_of(12, 5, 7);
  extension.push_back(9);
  EXPECT_EQ(cache.closest(BlockId{0}, extension).tokens, 12);
  EXPECT_EQ(cache.closest(BlockId{0}, extension).next, std::nullopt);
  EXPECT_EQ(cache.closest(BlockId{0}, block_of(9)).tokens, 0);
  EXPECT_TRUE(cache.check_integrity().ok());
}

TEST(BlockManager, AFullBlockTakesThePlaceOfTheTailsThatLedToIt) {
  BlockManager blocks(4);
  std::vector<BlockId> chain = {*blocks.allocate()};
  blocks.cache_tail(kNoBlock, tail_of(10, 3, 3), chain[0]);
  blocks.release_all(chain);
  EXPECT_EQ(blocks.num_cached(), 1);
  std::vector<BlockId> other = {*blocks.allocate()};
  blocks.cache_tail(kNoBlock, tail_of(10, 3, 4), other[0]);
  blocks.release_all(other);
  EXPECT_EQ(blocks.num_cached(), 2);
  chain = {*blocks.allocate()};
  chain[0] = blocks.cache(kNoBlock, block_of(3), chain[0]);
  EXPECT_EQ(blocks.num_cached(), 1);  // the one that goes elsewhere
  EXPECT_EQ(blocks.num_free(), 2);
  const std::span<const BlockId> held[] = {chain};
  EXPECT_TRUE(blocks.check_integrity(held).ok());
}

TEST(BlockManager, ASharedBlockIsNoTail) {
  BlockManager blocks(2);
  std::vector<BlockId> one = {*blocks.allocate()}, two = one;
  blocks.acquire(two[0]);
  blocks.cache_tail(kNoBlock, tail_of(4, 1, 1), one[0]);
  blocks.release_all(one);
  EXPECT_EQ(blocks.num_cached(), 0);
  blocks.cache_tail(kNoBlock, tail_of(4, 1, 1), two[0]);
  blocks.release_all(two);
  EXPECT_EQ(blocks.num_cached(), 1);
  EXPECT_EQ(blocks.num_free(), 1);
}

}  // namespace
}  // namespace baltoro::engine
