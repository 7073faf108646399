// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace baltoro::engine {

// How long a step of so many tokens takes, learnt from those that ran: one running mean for sizes of 1, 2, 3-4, 5-8,
// ... tokens. It decides how much of a prompt rides along with others' tokens, so it changes when tokens come, never
// which. A pure function of what it was told.
class StepPace {
 public:
  // A step of `tokens` (1 or more) took `seconds`. Slower than known counts by half, faster by a tenth: one gap too
  // long is worse than a few steps too small. One that takes over four times as long counts as four times.
  void add(std::int64_t tokens, double seconds);

  // The most tokens whose step is expected to take at most `seconds`: on the line between the two known sizes around
  // it, in proportion outside them, at most twice the largest size known. 0 where even one is too much; `unknown`
  // before anything is known.
  std::int64_t tokens_within(double seconds, std::int64_t unknown) const;

 private:
  struct Size {
    double tokens = 0, seconds = 0;  // means; tokens 0: not seen
  };
  std::array<Size, 24> sizes_;
};

}  // namespace baltoro::engine
