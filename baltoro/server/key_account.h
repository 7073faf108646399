// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "baltoro/base/result.h"
#include "baltoro/server/http.h"
#include "baltoro/server/token_bucket.h"

namespace baltoro::server {

// What a key may use. 0: no limit.
struct KeyLimits {
  std::int64_t max_concurrent = 0;       // requests at once
  std::int64_t requests_per_minute = 0;  // RPM
  std::int64_t tokens_per_minute = 0;    // TPM: prompt and answer together
  std::int64_t tokens_total = 0;         // budget since the server's start
  std::int32_t priority = 0;             // of requests that name none
  bool counts_tokens() const { return tokens_per_minute > 0 || tokens_total > 0; }
};

// What one key has used, against its limits. Thread-safe.
class KeyAccount {
 public:
  KeyAccount(std::string name, KeyLimits limits, std::function<double()> clock);
  void set_limits(KeyLimits limits);  // what was used stays used

  // Books a request before it runs, with all the tokens it may use: its prompt and the longest answer that it allows
  // (as Moonshot's gateway does). kRateLimited with the time to wait, or kQuotaExceeded; then nothing is booked. The
  // message has "current: ..., limit: ...".
  Status begin(std::int64_t tokens);
  // It has ended, having used so many of those tokens.
  void end(std::int64_t tokens_booked, std::int64_t tokens_used);

  // X-RateLimit-Limit, -Remaining and -Reset of the limit that is nearest to its end, requests or tokens per minute,
  // and OpenAI's names for each of the two. Reset is in seconds.
  Headers headers() const;
  KeyLimits limits() const;
  std::string name() const { return name_; }

 private:
  Status check(std::int64_t tokens, double now);

  const std::string name_;
  const std::function<double()> clock_;
  mutable std::mutex mutex_;
  KeyLimits limits_;
  mutable std::optional<TokenBucket> requests_, tokens_;
  std::int64_t active_ = 0, spent_ = 0;  // spent: booked tokens of running requests included
};

// One booked request: ends its booking when it goes.
class Booking {
 public:
  Booking() = default;  // of nothing
  // The errors of KeyAccount::begin.
  static Result<Booking> make(std::shared_ptr<KeyAccount> account, std::int64_t tokens);
  Booking(Booking&& other) noexcept;
  Booking& operator=(Booking&& other) noexcept;
  ~Booking();

  void use(std::int64_t tokens) { used_ = tokens; }  // what the request has used by now
  const KeyAccount* account() const { return account_.get(); }

 private:
  std::shared_ptr<KeyAccount> account_;
  std::int64_t booked_ = 0, used_ = 0;
};

}  // namespace baltoro::server
