// SPDX-License-Identifier: Apache-2.0
// Automata of JSON numbers within bounds. Inside text/ only.
#pragma once

#include <optional>
#include <string>

#include "baltoro/text/byte_dfa.h"

namespace baltoro::text {

// A bound as decimal digits: sign, digits before and after the point, without zeros that say nothing.
struct DecimalBound {
  bool negative = false;
  std::string whole = {}, fraction = {};  // "" is 0
  bool exclusive = false;

  bool is_zero() const { return whole.empty() && fraction.empty(); }
  // From a JSON number's text: "-1.5e+20". Over 60 digits on a side the value saturates (whole) or is cut (fraction),
  // which cut() tells.
  static DecimalBound parse(const std::string& number, bool exclusive);
  bool saturated = false, cut = false;
};

bool less(const DecimalBound& a, const DecimalBound& b);  // by value

struct NumberBounds {
  std::optional<DecimalBound> low = {}, high = {};
  bool integer = false;
};

// The JSON numbers within the bounds, each exactly comparable as a decimal: at most 19 digits before the point (or as
// many as the bounds have) and 15 behind it, never "-0"; an exponent of up to two digits where nothing bounds the
// number, so that none is beyond a double. Integers have neither point nor exponent and lie in -2^63..2^64-1.
// Accepts nothing (an empty draft) where the bounds leave nothing of that.
ByteDfas::Draft number_draft(const NumberBounds& bounds);

}  // namespace baltoro::text
