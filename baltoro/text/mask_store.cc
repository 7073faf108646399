// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/mask_store.h"

#include <algorithm>
#include <functional>

namespace baltoro::text {
namespace {

void set_bit(std::span<std::uint64_t> bits, TokenId id) {
  bits[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (id % 64);
}
bool has_bit(std::span<const std::uint64_t> bits, TokenId id) {
  return (bits[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0;
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

void index_exits(std::vector<TokenExit>& exits, MaskEntry& entry) {
  const auto before = [](const TokenExit& a, const TokenExit& b) {
    return a.spelling != b.spelling ? a.spelling < b.spelling : a.token < b.token;
  };
  if (!std::is_sorted(exits.begin(), exits.end(), before)) std::sort(exits.begin(), exits.end(), before);
  std::vector<std::uint32_t> path = {0};
  entry.exits.push_back({.end = 0, .tokens_begin = 0, .tokens_end = 0, .byte = 0, .depth = 0});
  std::string_view previous;
  const auto close = [&](std::size_t depth) {
    while (path.size() > depth) {
      entry.exits[path.back()].end = static_cast<std::uint32_t>(entry.exits.size());
      path.pop_back();
    }
  };
  for (const TokenExit& exit : exits) {
    const std::string_view text = exit.spelling;
    const auto common = static_cast<std::size_t>(
        std::mismatch(previous.begin(), previous.end(), text.begin(), text.end()).first - previous.begin());
    close(common + 1);
    for (std::size_t i = common; i < text.size(); ++i) {
      const auto tokens = static_cast<std::uint32_t>(entry.exit_tokens.size());
      path.push_back(static_cast<std::uint32_t>(entry.exits.size()));
      entry.exits.push_back({.end = 0,
                             .tokens_begin = tokens,
                             .tokens_end = tokens,
                             .byte = static_cast<std::uint8_t>(text[i]),
                             .depth = static_cast<std::uint16_t>(i + 1)});
    }
    entry.exit_tokens.push_back(exit.token);
    entry.exits[path.back()].tokens_end = static_cast<std::uint32_t>(entry.exit_tokens.size());
    previous = text;
  }
  close(0);
}

}  // namespace

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
      if (cost > entry->base_cost) {
        entry->costly.emplace_back(cost, token);
      } else if (!dense) {
        entry->ids.push_back(token);
      }
    }
    sort_by_cost(entry->costly, entry->base_cost, entry->max_cost);
  }
  index_exits(exits, *entry);
  return entry;
}

std::size_t MaskEntry::bytes() const {
  return sizeof *this + bits.size() * 8 + ids.size() * sizeof(TokenId) + costly.size() * 8 +
         exits.size() * sizeof(Exit) + exit_tokens.size() * sizeof(TokenId);
}

void MaskEntry::set_inside(std::span<std::uint64_t> allowed, std::uint32_t budget) const {
  if (!any_inside || budget < base_cost) return;
  // Tokens that cost too much, but that somebody else has allowed, stay so.
  std::size_t dear = 0;
  while (dear < costly.size() && costly[dear].first > budget) ++dear;
  if (!bits.empty()) {
    if (dear == 0) {
      for (std::size_t i = 0; i < bits.size(); ++i) allowed[i] |= bits[i];
      return;
    }
    std::vector<TokenId> gone;  // near the end of a budget only
    for (std::size_t i = 0; i < dear; ++i)
      if (!has_bit(allowed, costly[i].second)) gone.push_back(costly[i].second);
    for (std::size_t i = 0; i < bits.size(); ++i) allowed[i] |= bits[i];
    for (const TokenId id : gone) allowed[static_cast<std::size_t>(id) / 64] &= ~(std::uint64_t{1} << (id % 64));
    return;
  }
  for (const TokenId id : ids) set_bit(allowed, id);  // those of base_cost
  for (std::size_t i = dear; i < costly.size(); ++i) set_bit(allowed, costly[i].second);
}

std::size_t MaskStore::Hash::operator()(const MaskKey& key) const {
  std::uint64_t hash = key.graph;
  for (const std::uint64_t part : {key.kind, key.a, key.b, key.c})
    hash = (hash ^ part) * 0x9E3779B97F4A7C15 + (hash >> 29);
  return static_cast<std::size_t>(hash);
}

std::shared_ptr<const MaskEntry> MaskStore::find(const MaskKey& key) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : found->second;
}

void MaskStore::keep(const MaskKey& key, std::shared_ptr<const MaskEntry> entry) {
  const std::lock_guard lock(mutex_);
  if (bytes_ > max_bytes_) {
    entries_.clear();
    bytes_ = 0;
  }
  bytes_ += entry->bytes();
  entries_.insert_or_assign(key, std::move(entry));
}

std::size_t MaskStore::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace baltoro::text
