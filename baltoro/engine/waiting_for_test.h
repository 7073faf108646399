// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "baltoro/engine/request.h"

namespace baltoro::engine {

// Collects one request's events and lets a test wait for its end.
class Waiting final : public TokenSink {
 public:
  explicit Waiting(std::int32_t n = 1) : tokens_(static_cast<std::size_t>(n)), open_(n) {}
  Next on_token(const TokenEvent& event) override {
    const std::lock_guard lock(mutex_);
    if (event.token) tokens_[static_cast<std::size_t>(event.choice)].push_back(*event.token);
    last_ = event.finish;
    error_ = event.error;
    cached_ = event.tokens_cached;
    ++events_;
    open_ -= event.finish != FinishReason::kNone;
    changed_.notify_all();
    return Next::kContinue;
  }
  void wait_end() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return open_ == 0; }));
  }
  std::vector<TokenId> wait() {
    wait_end();
    return tokens();
  }
  void wait_events(std::int64_t count) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return events_ >= count; }));
  }
  std::vector<TokenId> tokens(std::size_t choice = 0) {
    const std::lock_guard lock(mutex_);
    return tokens_[choice];
  }
  FinishReason finish() {
    const std::lock_guard lock(mutex_);
    return last_;
  }
  Error error() {
    const std::lock_guard lock(mutex_);
    return error_;
  }
  std::int64_t cached() {
    const std::lock_guard lock(mutex_);
    return cached_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<TokenId>> tokens_;
  FinishReason last_ = FinishReason::kNone;
  Error error_;
  std::int64_t open_, events_ = 0, cached_ = 0;
};

}  // namespace baltoro::engine
