// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

namespace baltoro::server {

// An allowance that refills steadily: at most `per_minute` at once, and so much again each minute. Times are seconds of
// any clock that never goes back. Not thread-safe.
class TokenBucket {
 public:
  TokenBucket(double per_minute, double now) : capacity_(per_minute), level_(per_minute), time_(now) {}

  // A new size keeps what is there, in proportion.
  void resize(double per_minute, double now) {
    refill(now);
    level_ = capacity_ > 0 ? level_ * per_minute / capacity_ : per_minute;
    capacity_ = per_minute;
  }
  // Seconds until `amount` can be taken, 0: now. More than the bucket holds needs a full one.
  double wait(double amount, double now) {
    refill(now);
    const double missing = std::min(amount, capacity_) - level_;
    return missing > 0 ? missing * 60 / capacity_ : 0;
  }
  // May go below nothing, down to a bucket of debt. Negative amounts give back.
  void take(double amount, double now) {
    refill(now);
    level_ = std::clamp(level_ - amount, -capacity_, capacity_);
  }
  double left(double now) {
    refill(now);
    return std::max(0.0, level_);
  }
  double seconds_to_full(double now) {
    refill(now);
    return (capacity_ - level_) * 60 / capacity_;
  }
  double capacity() const { return capacity_; }

 private:
  void refill(double now) {
    level_ = std::min(capacity_, level_ + std::max(0.0, now - time_) * capacity_ / 60);
    time_ = std::max(time_, now);
  }

  double capacity_, level_, time_;
};

}  // namespace baltoro::server
