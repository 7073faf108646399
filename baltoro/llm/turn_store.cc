// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/turn_store.h"

#include <cstring>
#include <iterator>
#include <utility>

namespace baltoro::llm {
namespace {

Sha256Digest key_of(const Sha256Digest& prompt, const Sha256Digest& visible,
                    const std::optional<Sha256Digest>& reasoning) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(prompt)));
  hash.update(std::as_bytes(std::span(visible)));
  if (reasoning) hash.update(std::as_bytes(std::span(*reasoning)));
  return hash.finish();
}

std::size_t bytes_of(const text::SampledTurn& turn) {
  constexpr std::size_t kKeeping = 500;  // list node, two map nodes, control block, vectors
  std::size_t bytes = kKeeping + turn.tokens.size() * sizeof(text::TokenId);
  for (const std::string& id : turn.call_ids) bytes += sizeof id + id.size();
  return bytes;
}

}  // namespace

std::size_t TurnStore::DigestHash::operator()(const Sha256Digest& digest) const {
  std::size_t hash;
  std::memcpy(&hash, digest.data(), sizeof hash);
  return hash;
}

void TurnStore::keep(KeptTurn kept) {
  kept.turn.tokens.shrink_to_fit();
  Entry entry{.with_reasoning = key_of(kept.prompt, kept.visible, kept.reasoning),
              .without = key_of(kept.prompt, kept.visible, std::nullopt),
              .prompt = kept.prompt,
              .visible = kept.visible,
              .reasoning = kept.reasoning,
              .turn = nullptr,
              .bytes = bytes_of(kept.turn)};
  entry.turn = std::make_shared<const text::SampledTurn>(std::move(kept.turn));
  const std::lock_guard lock(mutex_);
  if (entry.bytes > limits_.bytes) {
    ++stats_.dropped;
    return;
  }
  const auto same = by_key_.find(entry.with_reasoning);
  if (same != by_key_.end() && same->second->with_reasoning == entry.with_reasoning) erase(same->second);
  stats_.bytes += static_cast<std::int64_t>(entry.bytes);
  const auto added = entries_.insert(entries_.end(), std::move(entry));
  by_key_[added->with_reasoning] = added;
  by_key_[added->without] = added;
  ++stats_.kept;
  while (entries_.size() > limits_.turns || stats_.bytes > static_cast<std::int64_t>(limits_.bytes)) {
    erase(entries_.begin());
    ++stats_.dropped;
  }
}

void TurnStore::erase(Entries::iterator entry) {
  forget_key(entry->with_reasoning, entry);
  forget_key(entry->without, entry);
  stats_.bytes -= static_cast<std::int64_t>(entry->bytes);
  entries_.erase(entry);
}

// A later turn may have taken the key over.
void TurnStore::forget_key(const Sha256Digest& key, Entries::iterator entry) {
  const auto found = by_key_.find(key);
  if (found != by_key_.end() && found->second == entry) by_key_.erase(found);
}

std::shared_ptr<const text::SampledTurn> TurnStore::find(const Sha256Digest& prompt, const text::Message& message) {
  const Sha256Digest key = key_of(prompt, visible_digest(message), reasoning_digest(message.reasoning));
  const std::lock_guard lock(mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) {
    ++stats_.missed;
    return nullptr;
  }
  ++stats_.found;
  entries_.splice(entries_.end(), entries_, found->second);
  return found->second->turn;
}

std::vector<KeptTurn> TurnStore::all() const {
  std::vector<Entry> entries;  // whose tokens are copied without the lock, on which the engine's thread would wait
  {
    const std::lock_guard lock(mutex_);
    entries.assign(entries_.begin(), entries_.end());
  }
  std::vector<KeptTurn> turns;
  for (const Entry& entry : entries)
    turns.push_back(
        {.prompt = entry.prompt, .visible = entry.visible, .reasoning = entry.reasoning, .turn = *entry.turn});
  return turns;
}

TurnStoreStats TurnStore::stats() const {
  const std::lock_guard lock(mutex_);
  TurnStoreStats stats = stats_;
  stats.turns = static_cast<std::int64_t>(entries_.size());
  return stats;
}

const text::SampledTurn* TurnLookup::find(std::span<const text::TokenId> before, std::span<const text::TokenId> opening,
                                          const text::Message& message) {
  found_ = store_->find(digest_.of(before, opening), message);
  return found_.get();
}

}  // namespace baltoro::llm
