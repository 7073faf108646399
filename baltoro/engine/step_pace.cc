// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/step_pace.h"

#include <algorithm>
#include <bit>

namespace baltoro::engine {

void StepPace::add(std::int64_t tokens, double seconds) {
  if (tokens < 1 || !(seconds >= 0)) return;
  const auto place = static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(tokens - 1)));
  Size& size = sizes_[std::min(place, sizes_.size() - 1)];
  const auto count = static_cast<double>(tokens);
  if (size.tokens == 0) {
    size = {.tokens = count, .seconds = seconds};
    return;
  }
  if (size.seconds > 0) seconds = std::min(seconds, 4 * size.seconds * std::max(1.0, count / size.tokens));
  const double weight = seconds * size.tokens > size.seconds * count ? 0.5 : 0.1;
  size.tokens += weight * (count - size.tokens);
  size.seconds += weight * (seconds - size.seconds);
}

std::int64_t StepPace::tokens_within(double seconds, std::int64_t unknown) const {
  const Size* above = nullptr;  // the smallest known size that takes too long
  for (std::size_t i = sizes_.size(); i-- > 0;) {
    const Size& size = sizes_[i];
    if (size.tokens == 0) continue;
    if (size.seconds > seconds) {
      above = &size;
      continue;
    }
    if (above == nullptr) {
      const double factor = size.seconds > 0 ? std::min(2.0, seconds / size.seconds) : 2.0;
      return static_cast<std::int64_t>(size.tokens * factor);
    }
    const double part = (seconds - size.seconds) / (above->seconds - size.seconds);
    return static_cast<std::int64_t>(size.tokens + part * (above->tokens - size.tokens));
  }
  if (above == nullptr) return unknown;
  return static_cast<std::int64_t>(above->tokens * seconds / above->seconds);
}

}  // namespace baltoro::engine
