// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/key_account.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace baltoro::server {
namespace {

Error too_many(std::string_view what, std::int64_t current, std::int64_t limit, double seconds) {
  return {.code = Errc::kRateLimited,
          .message = fmt::format("this key has reached its limit of {} (current: {}, limit: {}); try again in {:.0f} s",
                                 what, current, limit, std::max(1.0, std::ceil(seconds))),
          .field = {},
          .retry_seconds = seconds};
}

std::int64_t whole(double value) { return static_cast<std::int64_t>(value); }

void fit(std::optional<TokenBucket>& bucket, std::int64_t per_minute, double now) {
  if (per_minute <= 0) {
    bucket.reset();
  } else if (!bucket) {
    bucket.emplace(static_cast<double>(per_minute), now);
  } else {
    bucket->resize(static_cast<double>(per_minute), now);
  }
}

void add_headers(Headers& out, const std::string& suffix, TokenBucket& bucket, double now) {
  out.emplace_back("X-RateLimit-Limit" + suffix, std::to_string(whole(bucket.capacity())));
  out.emplace_back("X-RateLimit-Remaining" + suffix, std::to_string(whole(bucket.left(now))));
  out.emplace_back("X-RateLimit-Reset" + suffix, std::to_string(whole(std::ceil(bucket.seconds_to_full(now)))));
}

}  // namespace

KeyAccount::KeyAccount(std::string name, KeyLimits limits, std::function<double()> clock)
    : name_(std::move(name)), clock_(std::move(clock)) {
  set_limits(limits);
}

void KeyAccount::set_limits(KeyLimits limits) {
  const double now = clock_();
  const std::lock_guard lock(mutex_);
  limits_ = limits;
  fit(requests_, limits.requests_per_minute, now);
  fit(tokens_, limits.tokens_per_minute, now);
}

KeyLimits KeyAccount::limits() const {
  const std::lock_guard lock(mutex_);
  return limits_;
}

Status KeyAccount::check(std::int64_t tokens, double now) {
  if (limits_.tokens_total > 0 && spent_ + tokens > limits_.tokens_total)
    return Error{.code = Errc::kQuotaExceeded,
                 .message = fmt::format("this key's budget of tokens does not allow this request (current: {}, limit: "
                                        "{}, this request: up to {})",
                                        spent_, limits_.tokens_total, tokens)};
  if (limits_.max_concurrent > 0 && active_ >= limits_.max_concurrent)
    return too_many("concurrent requests", active_, limits_.max_concurrent, 1);
  if (requests_) {
    if (const double seconds = requests_->wait(1, now); seconds > 0)
      return too_many("requests per minute", whole(std::ceil(requests_->capacity() - requests_->left(now))),
                      limits_.requests_per_minute, seconds);
  }
  if (tokens_) {
    if (const double seconds = tokens_->wait(static_cast<double>(tokens), now); seconds > 0)
      return too_many("tokens per minute", whole(std::ceil(tokens_->capacity() - tokens_->left(now))),
                      limits_.tokens_per_minute, seconds);
  }
  return {};
}

Status KeyAccount::begin(std::int64_t tokens) {
  const double now = clock_();
  const std::lock_guard lock(mutex_);
  BALTORO_TRY_STATUS(check(tokens, now));
  ++active_;
  spent_ += tokens;
  if (requests_) requests_->take(1, now);
  if (tokens_) tokens_->take(static_cast<double>(tokens), now);
  return {};
}

void KeyAccount::end(std::int64_t tokens_booked, std::int64_t tokens_used) {
  const double now = clock_();
  const std::lock_guard lock(mutex_);
  --active_;
  spent_ -= tokens_booked - tokens_used;
  if (tokens_) tokens_->take(static_cast<double>(tokens_used - tokens_booked), now);
}

Headers KeyAccount::headers() const {
  const double now = clock_();
  const std::lock_guard lock(mutex_);
  Headers out;
  if (!requests_ && !tokens_) return out;
  const auto share = [&](TokenBucket& bucket) { return bucket.left(now) / bucket.capacity(); };
  const bool by_tokens = tokens_ && (!requests_ || share(*tokens_) < share(*requests_));
  add_headers(out, "", by_tokens ? *tokens_ : *requests_, now);
  if (requests_) add_headers(out, "-Requests", *requests_, now);
  if (tokens_) add_headers(out, "-Tokens", *tokens_, now);
  return out;
}

Result<Booking> Booking::make(std::shared_ptr<KeyAccount> account, std::int64_t tokens) {
  BALTORO_TRY_STATUS(account->begin(tokens));
  Booking out;
  out.account_ = std::move(account);
  out.booked_ = tokens;
  return out;
}

Booking::Booking(Booking&& other) noexcept
    : account_(std::move(other.account_)), booked_(other.booked_), used_(other.used_) {}

Booking& Booking::operator=(Booking&& other) noexcept {
  std::swap(account_, other.account_);
  std::swap(booked_, other.booked_);
  std::swap(used_, other.used_);
  return *this;
}

Booking::~Booking() {
  if (account_) account_->end(booked_, used_);
}

}  // namespace baltoro::server
