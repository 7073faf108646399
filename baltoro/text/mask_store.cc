// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/mask_store.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace baltoro::text {
namespace {

void clear_bit(std::span<std::uint64_t> bits, TokenId id) {
  bits[static_cast<std::size_t>(id) / 64] &= ~(std::uint64_t{1} << (id % 64));
}

constexpr std::size_t kFewTokens = 2048;      // listed rather than kept as bits
constexpr std::uint32_t kNarrowCosts = 4096;  // a range of costs that is ordered by counting

// Dearest first.
void sort_by_cost(std::vector<std::pair<std::uint32_t, TokenId>>& tokens, std::uint32_t low, std::uint32_t high) {
  if (high - low > kNarrowCosts) {
    std::sort(tokens.begin(), tokens.end(), std::greater<>());
    return;
  }
  std::vector<std::size_t> places(high - low + 2);
  for (const auto& [cost, token] : tokens) ++places[high - cost + 1];
  for (std::size_t i = 1; i < places.size(); ++i) places[i] += places[i - 1];
  std::vector<std::pair<std::uint32_t, TokenId>> sorted(tokens.size());
  for (const auto& entry : tokens) sorted[places[high - entry.first]++] = entry;
  tokens.swap(sorted);
}

}  // namespace

TokenExits::TokenExits(std::vector<TokenExit>& exits) {
  const auto before = [](const TokenExit& a, const TokenExit& b) {
    return a.spelling != b.spelling ? a.spelling < b.spelling : a.token < b.token;
  };
  if (!std::is_sorted(exits.begin(), exits.end(), before)) std::sort(exits.begin(), exits.end(), before);
  std::vector<std::uint32_t> path = {0};
  nodes.push_back({.end = 0, .tokens_begin = 0, .tokens_end = 0, .byte = 0, .depth = 0});
  std::string_view previous;
  const auto close = [&](std::size_t depth) {
    while (path.size() > depth) {
      nodes[path.back()].end = static_cast<std::uint32_t>(nodes.size());
      path.pop_back();
    }
  };
  for (const TokenExit& exit : exits) {
    const std::string_view text = exit.spelling;
    const auto common = static_cast<std::size_t>(
        std::mismatch(previous.begin(), previous.end(), text.begin(), text.end()).first - previous.begin());
    close(common + 1);
    for (std::size_t i = common; i < text.size(); ++i) {
      const auto first = static_cast<std::uint32_t>(tokens.size());
      path.push_back(static_cast<std::uint32_t>(nodes.size()));
      nodes.push_back({.end = 0,
                       .tokens_begin = first,
                       .tokens_end = first,
                       .byte = static_cast<std::uint8_t>(text[i]),
                       .depth = static_cast<std::uint16_t>(i + 1)});
    }
    tokens.push_back(exit.token);
    characters.push_back(exit.characters);
    nodes[path.back()].tokens_end = static_cast<std::uint32_t>(tokens.size());
    previous = text;
  }
  close(0);
}

std::size_t TokenExits::bytes() const {
  return nodes.size() * sizeof(Node) + tokens.size() * (sizeof(TokenId) + sizeof(std::uint16_t));
}

std::shared_ptr<MaskEntry> make_mask_entry(std::vector<std::pair<std::uint32_t, TokenId>>& inside,
                                           std::vector<TokenExit>& exits, std::size_t words) {
  auto entry = std::make_shared<MaskEntry>();
  entry->any_inside = !inside.empty();
  if (entry->any_inside) {
    const auto [least, most] = std::minmax_element(inside.begin(), inside.end());
    entry->base_cost = least->first;
    entry->max_cost = most->first;
    const bool dense = inside.size() > kFewTokens;
    if (dense) entry->bits.resize(words);
    for (const auto& [cost, token] : inside) {
      if (dense) set_bit(entry->bits, token);
      if (!dense && cost == entry->base_cost) entry->ids.push_back(token);
    }
    std::erase_if(inside, [&](const auto& token) { return token.first == entry->base_cost; });
    sort_by_cost(inside, entry->base_cost, entry->max_cost);
    entry->costly.reserve(inside.size());
    for (const auto& [cost, token] : inside) {
      entry->costly.push_back(token);
      if (entry->costs.empty() || entry->costs.back().first != cost) entry->costs.emplace_back(cost, 0);
      entry->costs.back().second = static_cast<std::uint32_t>(entry->costly.size());
    }
  }
  entry->exits = TokenExits(exits);
  return entry;
}

std::size_t MaskEntry::bytes() const {
  return sizeof *this + bits.size() * 8 + ids.size() * sizeof(TokenId) + costly.size() * sizeof(TokenId) +
         costs.size() * 8 + exits.bytes();
}

void MaskEntry::set_inside(std::span<std::uint64_t> allowed, std::uint32_t budget,
                           std::span<std::uint64_t> scratch) const {
  if (!any_inside || budget < base_cost) return;
  std::size_t dear = 0;
  for (std::size_t i = 0; i < costs.size() && costs[i].first > budget; ++i) dear = costs[i].second;
  if (!bits.empty()) {
    std::span<const std::uint64_t> cheap = bits;
    if (dear > 0) {
      std::copy(bits.begin(), bits.end(), scratch.begin());
      for (std::size_t i = 0; i < dear; ++i) clear_bit(scratch, costly[i]);
      cheap = scratch;
    }
    for (std::size_t i = 0; i < bits.size(); ++i) allowed[i] |= cheap[i];
    return;
  }
  for (const TokenId id : ids) set_bit(allowed, id);  // those of base_cost
  for (std::size_t i = dear; i < costly.size(); ++i) set_bit(allowed, costly[i]);
}

std::size_t MaskStore::Hash::operator()(const MaskKey& key) const {
  const std::uint64_t place = std::uint64_t{key.kind} << 32 | key.place;
  return static_cast<std::size_t>((key.graph * 0x9E3779B97F4A7C15 ^ place) * 0xC2B2AE3D27D4EB4F >> 7);
}

std::shared_ptr<const MaskEntry> MaskStore::find(const MaskKey& key) {
  Entries dropped;  // freed without the lock
  const std::lock_guard lock(mutex_);
  if (const auto found = entries_.find(key); found != entries_.end()) return found->second;
  const auto found = old_.find(key);
  if (found == old_.end()) return nullptr;
  std::shared_ptr<const MaskEntry> entry = std::move(found->second);
  old_.erase(found);
  old_bytes_ -= entry->bytes();
  dropped = add(key, entry);
  return entry;
}

void MaskStore::keep(const MaskKey& key, std::shared_ptr<const MaskEntry> entry) {
  Entries dropped;
  const std::lock_guard lock(mutex_);
  if (!entries_.contains(key)) dropped = add(key, std::move(entry));
}

// Returns what is dropped.
MaskStore::Entries MaskStore::add(const MaskKey& key, std::shared_ptr<const MaskEntry> entry) {
  Entries dropped;
  if (bytes_ > max_bytes_ / 2) {
    dropped = std::exchange(old_, std::exchange(entries_, {}));
    old_bytes_ = std::exchange(bytes_, 0);
  }
  bytes_ += entry->bytes();
  entries_.emplace(key, std::move(entry));
  return dropped;
}

std::size_t MaskStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_ + old_bytes_;
}

}  // namespace baltoro::text
