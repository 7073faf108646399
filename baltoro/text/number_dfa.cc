// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/number_dfa.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <tuple>
#include <utility>

namespace baltoro::text {
namespace {

constexpr std::size_t kMaxBoundDigits = 60;
constexpr std::size_t kWholeDigits = 19;
constexpr std::size_t kFractionDigits = 15;  // decimals of 15 digits are different doubles

using Draft = ByteDfas::Draft;

std::uint32_t add_state(Draft& draft) {
  draft.states.emplace_back();
  return static_cast<std::uint32_t>(draft.states.size() - 1);
}

void add_edge(Draft& draft, std::uint32_t from, char low, char high, std::uint32_t to) {
  draft.states[from].edges.push_back({static_cast<std::uint8_t>(low), static_cast<std::uint8_t>(high), to});
}

// A magnitude's digits are read beside those of both bounds. What is read so far is below, equal to or above the same
// number of the bound's digits.
enum class Side : std::uint8_t { kBelow, kEqual, kAbove };

Side compare(Side so_far, char digit, const std::string& bound, std::size_t at) {
  if (so_far != Side::kEqual) return so_far;
  const char other = at < bound.size() ? bound[at] : '0';
  return digit == other ? Side::kEqual : digit < other ? Side::kBelow : Side::kAbove;
}

// Builds the automaton of the magnitudes between two bounds.
class MagnitudeBuilder {
 public:
  MagnitudeBuilder(Draft& draft, const DecimalBound* low, const DecimalBound* high, bool integer)
      : draft_(draft), low_(low), high_(high), integer_(integer) {
    const std::size_t whole =
        std::max(low == nullptr ? 0 : low->whole.size(), high == nullptr ? 0 : high->whole.size());
    whole_digits_ = std::max(kWholeDigits, whole + 1);
    const bool exclusive = (low != nullptr && low->exclusive) || (high != nullptr && high->exclusive);
    fraction_digits_ = exclusive ? kFractionDigits - std::min(whole, kFractionDigits) : kFractionDigits;
  }

  void build(std::uint32_t from) {
    const std::uint32_t zero = add_state(draft_);
    add_edge(draft_, from, '0', '0', zero);
    end_whole(zero, 0, Side::kEqual, Side::kEqual);
    for (char d = '1'; d <= '9'; ++d)
      add_edge(draft_, from, d, d, whole(1, compared(Side::kEqual, d, low_, 0), compared(Side::kEqual, d, high_, 0)));
  }

 private:
  static Side compared(Side so_far, char digit, const DecimalBound* bound, std::size_t at) {
    return bound == nullptr ? Side::kEqual : compare(so_far, digit, bound->whole, at);
  }

  std::uint32_t whole(std::size_t count, Side low, Side high) {
    const auto [found, added] = states_.try_emplace({false, count, low, high}, 0);
    if (!added) return found->second;
    const std::uint32_t state = add_state(draft_);
    found->second = state;
    end_whole(state, count, low, high);
    if (count < whole_digits_) {
      for (char d = '0'; d <= '9'; ++d)
        add_edge(draft_, state, d, d, whole(count + 1, compared(low, d, low_, count), compared(high, d, high_, count)));
    }
    return state;
  }

  // How a whole part of `count` digits compares with the bound's.
  static Side whole_side(std::size_t count, Side digits, const DecimalBound& bound) {
    if (count == bound.whole.size()) return count == 0 ? Side::kEqual : digits;
    return count < bound.whole.size() ? Side::kBelow : Side::kAbove;
  }

  void end_whole(std::uint32_t state, std::size_t count, Side low, Side high) {
    const Side to_low = low_ == nullptr ? Side::kAbove : whole_side(count, low, *low_);
    const Side to_high = high_ == nullptr ? Side::kBelow : whole_side(count, high, *high_);
    if (to_low == Side::kBelow || to_high == Side::kAbove) return;
    draft_.states[state].accepts = within(to_low, to_high, 0);
    if (integer_ || fraction_digits_ == 0) return;
    const std::uint32_t point = add_state(draft_);
    add_edge(draft_, state, '.', '.', point);
    add_fraction_digits(point, 0, to_low, to_high);
  }

  void add_fraction_digits(std::uint32_t state, std::size_t count, Side low, Side high) {
    for (char d = '0'; d <= '9'; ++d) {
      const Side to_low = low_ == nullptr ? Side::kAbove : compare(low, d, low_->fraction, count);
      const Side to_high = high_ == nullptr ? Side::kBelow : compare(high, d, high_->fraction, count);
      if (to_low != Side::kBelow && to_high != Side::kAbove)
        add_edge(draft_, state, d, d, fraction(count + 1, to_low, to_high));
    }
  }

  std::uint32_t fraction(std::size_t count, Side low, Side high) {
    const auto [found, added] = states_.try_emplace({true, count, low, high}, 0);
    if (!added) return found->second;
    const std::uint32_t state = add_state(draft_);
    found->second = state;
    draft_.states[state].accepts = within(low, high, count);
    if (count < fraction_digits_) add_fraction_digits(state, count, low, high);
    return state;
  }

  // Whether the number may end after `count` digits of its fraction.
  bool within(Side low, Side high, std::size_t count) const {
    if (low == Side::kEqual && (low_->fraction.size() > count || low_->exclusive)) return false;
    return high != Side::kEqual || high_->fraction.size() > count || !high_->exclusive;
  }

  Draft& draft_;
  const DecimalBound* low_;
  const DecimalBound* high_;
  bool integer_;
  std::size_t whole_digits_, fraction_digits_;
  std::map<std::tuple<bool, std::size_t, Side, Side>, std::uint32_t> states_;
};

// Any number that a double holds.
Draft unbounded_draft() {
  Draft draft;
  const std::uint32_t start = add_state(draft), minus = add_state(draft), zero = add_state(draft);
  const std::uint32_t point = add_state(draft), exponent = add_state(draft), sign = add_state(draft);
  const std::uint32_t digit1 = add_state(draft), digit2 = add_state(draft);
  std::vector<std::uint32_t> whole, fraction;
  for (std::size_t i = 0; i < kWholeDigits; ++i) whole.push_back(add_state(draft));
  for (std::size_t i = 0; i < kFractionDigits; ++i) fraction.push_back(add_state(draft));
  add_edge(draft, start, '-', '-', minus);
  add_edge(draft, start, '0', '0', zero);
  for (const std::uint32_t from : {start, minus}) add_edge(draft, from, '1', '9', whole[0]);
  const auto end_with_exponent = [&](std::uint32_t state) {
    draft.states[state].accepts = true;
    add_edge(draft, state, 'E', 'E', exponent);
    add_edge(draft, state, 'e', 'e', exponent);
  };
  const std::uint32_t minus_zero = add_state(draft);  // "-0" alone is no number that all readers keep
  add_edge(draft, minus, '0', '0', minus_zero);
  add_edge(draft, minus_zero, '.', '.', point);
  add_edge(draft, zero, '.', '.', point);
  end_with_exponent(zero);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    if (i + 1 < whole.size()) add_edge(draft, whole[i], '0', '9', whole[i + 1]);
    add_edge(draft, whole[i], '.', '.', point);
    end_with_exponent(whole[i]);
  }
  add_edge(draft, point, '0', '9', fraction[0]);
  for (std::size_t i = 0; i < fraction.size(); ++i) {
    if (i + 1 < fraction.size()) add_edge(draft, fraction[i], '0', '9', fraction[i + 1]);
    end_with_exponent(fraction[i]);
  }
  add_edge(draft, exponent, '+', '+', sign);
  add_edge(draft, exponent, '-', '-', sign);
  for (const std::uint32_t from : {exponent, sign}) add_edge(draft, from, '0', '9', digit1);
  draft.states[digit1].accepts = draft.states[digit2].accepts = true;
  add_edge(draft, digit1, '0', '9', digit2);
  return draft;
}

int compare_magnitudes(const DecimalBound& a, const DecimalBound& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  if (const int whole = a.whole.compare(b.whole); whole != 0) return whole;
  return a.fraction.compare(b.fraction);
}

}  // namespace

bool less(const DecimalBound& a, const DecimalBound& b) {
  if (a.negative != b.negative) return a.negative && !(a.is_zero() && b.is_zero());
  return a.negative ? compare_magnitudes(b, a) < 0 : compare_magnitudes(a, b) < 0;
}

DecimalBound DecimalBound::parse(const std::string& number, bool exclusive) {
  DecimalBound bound;
  bound.exclusive = exclusive;
  std::string digits;
  std::int64_t point = -1, exponent = 0;
  for (std::size_t i = 0; i < number.size(); ++i) {
    const char c = number[i];
    if (c == '-') {
      bound.negative = true;
    } else if (c == '.') {
      point = static_cast<std::int64_t>(digits.size());
    } else if (c == 'e' || c == 'E') {
      const char* from = number.data() + i + 1;
      if (from != number.data() + number.size() && *from == '+') ++from;
      std::from_chars(from, number.data() + number.size(), exponent);
      break;
    } else if (c >= '0' && c <= '9') {
      digits += c;
    }
  }
  point =
      (point < 0 ? static_cast<std::int64_t>(digits.size()) : point) + std::clamp<std::int64_t>(exponent, -1000, 1000);
  if (point < 0) digits.insert(0, static_cast<std::size_t>(-point), '0'), point = 0;
  if (static_cast<std::size_t>(point) > digits.size()) digits.resize(static_cast<std::size_t>(point), '0');
  bound.whole = digits.substr(0, static_cast<std::size_t>(point));
  bound.fraction = digits.substr(static_cast<std::size_t>(point));
  bound.whole.erase(0, std::min(bound.whole.find_first_not_of('0'), bound.whole.size()));
  bound.saturated = bound.whole.size() > kMaxBoundDigits;
  while (!bound.fraction.empty() && bound.fraction.back() == '0') bound.fraction.pop_back();
  bound.cut = bound.fraction.size() > kMaxBoundDigits;
  if (bound.cut) bound.fraction.resize(kMaxBoundDigits);
  while (!bound.fraction.empty() && bound.fraction.back() == '0') bound.fraction.pop_back();
  return bound;
}

Draft number_draft(const NumberBounds& given) {
  NumberBounds bounds = given;
  if (!bounds.integer && !bounds.low && !bounds.high) return unbounded_draft();
  const auto nothing_beyond = [](std::optional<DecimalBound>& bound, bool low) {
    if (!bound || !bound->saturated) return false;
    const bool harmless = bound->negative == low;  // all that can be written lies on its right side
    bound.reset();
    return !harmless;
  };
  if (nothing_beyond(bounds.low, true) || nothing_beyond(bounds.high, false)) return {};
  if (bounds.integer) {
    const auto least = DecimalBound::parse("-9223372036854775808", false);
    const auto most = DecimalBound::parse("18446744073709551615", false);
    if (!bounds.low || less(*bounds.low, least)) bounds.low = least;
    if (!bounds.high || less(most, *bounds.high)) bounds.high = most;
  }
  // A cut bound lies nearer to 0 than the one meant: what is farther out than it must be farther by a whole digit.
  const DecimalBound zero;
  DecimalBound above_zero;
  above_zero.exclusive = true;
  Draft draft;
  const std::uint32_t start = add_state(draft);
  const bool reaches_positive = !bounds.high || !bounds.high->negative || bounds.high->is_zero();
  const bool reaches_negative = !bounds.low || (bounds.low->negative && !bounds.low->is_zero());
  if (reaches_positive) {
    DecimalBound low = bounds.low && !(bounds.low->negative && !bounds.low->is_zero()) ? *bounds.low : zero;
    if (low.cut) low.exclusive = true;
    std::optional<DecimalBound> high = bounds.high;
    if (high && high->cut) high->exclusive = false;
    MagnitudeBuilder(draft, &low, high ? &*high : nullptr, bounds.integer).build(start);
  }
  if (reaches_negative) {
    DecimalBound low = bounds.high && bounds.high->negative && !bounds.high->is_zero() ? *bounds.high : above_zero;
    if (low.cut) low.exclusive = true;
    std::optional<DecimalBound> high = bounds.low;
    if (high && high->cut) high->exclusive = false;
    const std::uint32_t minus = add_state(draft);
    add_edge(draft, start, '-', '-', minus);
    MagnitudeBuilder(draft, &low, high ? &*high : nullptr, bounds.integer).build(minus);
  }
  return draft;
}

}  // namespace baltoro::text
