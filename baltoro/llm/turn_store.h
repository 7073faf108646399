// SPDX-License-Identifier: Apache-2.0
// Answers as they were sampled, so that a client that sends one back gets the same tokens into its next prompt: then
// that is prompt and answer and a little more, and the prefix cache has all of it. Inside llm/ only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "baltoro/base/sha256.h"
#include "baltoro/llm/turn_digest.h"
#include "baltoro/text/chat_format.h"

namespace baltoro::llm {

// One answer: what it followed, what it says, what its tokens were.
struct KeptTurn {
  Sha256Digest prompt;   // tenant and tokens before it
  Sha256Digest visible;  // see visible_digest
  std::optional<Sha256Digest> reasoning;
  text::SampledTurn turn;
};

struct TurnStoreLimits {
  std::size_t turns = 1 << 17;
  std::size_t bytes = std::size_t{64} << 20;  // of tokens, ids and their keeping
};

struct TurnStoreStats {
  std::int64_t turns = 0, bytes = 0;                          // kept now
  std::int64_t kept = 0, found = 0, missed = 0, dropped = 0;  // since start; dropped: for want of room
};

// Turns by (tenant, tokens of the prompt, what is visible), each under SHA-256: another conversation's turn can only be
// found by whoever sends that conversation, word for word. Of two answers that say the same to the same prompt, the one
// with the reasoning that was sent back is found, and the latest where none was. Least recently used goes first. Any
// thread.
class TurnStore {
 public:
  explicit TurnStore(TurnStoreLimits limits = {}) : limits_(limits) {}

  void keep(KeptTurn turn);
  // Null: not known, or the reasoning sent back is another.
  std::shared_ptr<const text::SampledTurn> find(const Sha256Digest& prompt, const text::Message& message);
  std::vector<KeptTurn> all() const;  // least recently used first
  TurnStoreStats stats() const;

 private:
  struct Entry {
    Sha256Digest with_reasoning, without;  // the keys
    Sha256Digest prompt, visible;
    std::optional<Sha256Digest> reasoning;
    std::shared_ptr<const text::SampledTurn> turn;
    std::size_t bytes = 0;
  };
  struct DigestHash {
    std::size_t operator()(const Sha256Digest& digest) const;
  };
  using Entries = std::list<Entry>;
  void erase(Entries::iterator entry);
  void forget_key(const Sha256Digest& key, Entries::iterator entry);

  const TurnStoreLimits limits_;
  mutable std::mutex mutex_;
  Entries entries_;  // least recently used first
  std::unordered_map<Sha256Digest, Entries::iterator, DigestHash> by_key_;
  TurnStoreStats stats_;
};

// The store as one render of one tenant's history sees it.
class TurnLookup final : public text::SampledTurns {
 public:
  TurnLookup(std::shared_ptr<TurnStore> store, std::string_view tenant) : store_(std::move(store)), digest_(tenant) {}
  const text::SampledTurn* find(std::span<const text::TokenId> before, std::span<const text::TokenId> opening,
                                const text::Message& message) override;
  // Of the whole prompt that was rendered: what its answers are kept under.
  Sha256Digest prompt_digest(std::span<const text::TokenId> prompt) { return digest_.of(prompt); }

 private:
  std::shared_ptr<TurnStore> store_;
  PromptDigest digest_;
  std::shared_ptr<const text::SampledTurn> found_;
};

}  // namespace baltoro::llm
