// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/base/clock.h"
#include "baltoro/base/result.h"
#include "baltoro/base/sha256.h"
#include "baltoro/server/key_account.h"

namespace baltoro::server {

using KeyDigest = Sha256Digest;  // of the key

struct KeyEntry {
  std::string name;  // for logs and metrics; never the key
  KeyDigest digest{};
  KeyLimits limits;
};

KeyDigest key_digest(std::string_view key);

// Keys without limits, named key-N from `first` on.
std::vector<KeyEntry> plain_keys(const std::vector<std::string>& keys, std::size_t first = 1);

// A keys file: {"keys": [{"name": "ci", "sha256": "64 hex digits", "max_concurrent": 4, "requests_per_minute": 60,
// "tokens_per_minute": 100000, "tokens_total": 50000000, "priority": 5}]}. Each has its name (1-64 of A-Za-z0-9._-,
// unique) and its digest, or "key" with the key itself; the limits may be left out. kInvalidArgument names the entry
// and what is wrong, unknown members too; nothing in the message is a key.
Result<std::vector<KeyEntry>> parse_keys(std::string_view json);

// The API keys a server accepts, kept as digests, and their accounts. Copies share one state. Thread-safe.
class KeySet {
 public:
  KeySet();  // none
  static KeySet of(const std::vector<KeyEntry>& entries, std::function<double()> clock = steady_seconds);

  // True when no keys were set: everyone may.
  bool open() const;
  // Takes the same time for every wrong key: digests are compared in constant time, against all keys.
  bool accepts(std::string_view key) const { return account(key) != nullptr; }
  // The key's account; null for a key that is none.
  std::shared_ptr<KeyAccount> account(std::string_view key) const;
  // From now on these, all at once. Keys that stay keep what they have used.
  void replace(const std::vector<KeyEntry>& entries);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace baltoro::server
