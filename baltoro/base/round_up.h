// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <type_traits>

namespace baltoro {

// The multiples of `unit` (> 0) next to n (>= 0): at or below it, at or above it.
template <std::integral Int>
constexpr Int round_down(Int n, std::type_identity_t<Int> unit) {
  return n / unit * unit;
}
template <std::integral Int>
constexpr Int round_up(Int n, std::type_identity_t<Int> unit) {
  return round_down(n + unit - 1, unit);
}

}  // namespace baltoro
