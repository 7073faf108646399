// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/repetition_watch.h"

#include <algorithm>

namespace baltoro::llm {

void RepetitionWatch::clear() {
  last_.fill(-1);  // no token's id
  equal_.fill(0);
  next_ = period_ = 0;
}

bool RepetitionWatch::push(std::int32_t token) {
  // last_[next_ .. next_ + kMaxPeriod) are the tokens before, the oldest first.
  const std::int32_t* before = last_.data() + next_;
  period_ = 0;
  for (std::size_t period = kMaxPeriod; period > 0; --period) {
    std::uint32_t& equal = equal_[period - 1];
    equal = before[kMaxPeriod - period] == token ? equal + 1 : 0;
    const std::size_t stretch = equal + period;  // the first copy has nothing before it to equal
    if (equal > 0 && stretch >= std::max(kMinTokens, kCopies * period)) period_ = period;
  }
  last_[next_] = last_[next_ + kMaxPeriod] = token;
  next_ = (next_ + 1) % kMaxPeriod;
  return period_ > 0;
}

}  // namespace baltoro::llm
