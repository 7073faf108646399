// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/mask_store.h"

namespace baltoro::text {
namespace {

void set_bit(std::span<std::uint64_t> bits, TokenId id) {
  bits[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (id % 64);
}
bool has_bit(std::span<const std::uint64_t> bits, TokenId id) {
  return (bits[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0;
}

}  // namespace

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
