// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace baltoro::llm {

// Sees when a stream of tokens goes round in circles: its end is one stretch of up to kMaxPeriod tokens, over and over,
// at least kCopies times and kMinTokens tokens long. Exact: one token that differs starts the count again, so lists,
// tables and counters do not trip it. Memory is fixed, work is kMaxPeriod comparisons a token.
class RepetitionWatch {
 public:
  static constexpr std::size_t kMaxPeriod = 512;
  static constexpr std::size_t kMinTokens = 128;
  static constexpr std::size_t kCopies = 4;

  RepetitionWatch() { clear(); }
  void clear();
  // True: with this token it does.
  bool push(std::int32_t token);
  std::size_t period() const { return period_; }  // of the circle, once push() gave true

 private:
  std::array<std::int32_t, 2 * kMaxPeriod> last_;  // twice, so that the last kMaxPeriod always lie in one piece
  std::array<std::uint32_t, kMaxPeriod> equal_;    // [p - 1]: how many tokens in a row equal the one p before
  std::size_t next_ = 0, period_ = 0;
};

}  // namespace baltoro::llm
