// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "baltoro/base/result.h"

namespace baltoro::cli {

// What a JSON report says of one figure.
struct FiguresOfCase {
  std::string name;             // "decode, batch 4, context 1024"
  std::vector<double> seconds;  // of each repetition; for cases a token's, for starts the whole
  bool is_rate = true;          // shown as tokens per second
  double limit_percent = 0;     // 0: unknown
  double shown() const;         // the median
};

// kInvalidArgument with `name`, the place and what was expected there, for anything but a report of bench_json().
Result<std::vector<FiguresOfCase>> read_bench_json(std::string_view text, const std::string& name);

// One figure that two reports share. ratio: how much better B's median is than A's (2: twice as fast); low and high:
// the least and most that any two repetitions say. They overlap when low < 1 < high: then no difference is shown.
struct ComparedCase {
  FiguresOfCase a, b;
  double ratio = 0, low = 0, high = 0;
  bool overlap() const { return low < 1 && high > 1; }
};
struct Comparison {
  std::vector<ComparedCase> cases;
  std::vector<std::string> only_a, only_b;  // names
};
Comparison compare(const std::vector<FiguresOfCase>& a, const std::vector<FiguresOfCase>& b);

std::string comparison_table(const Comparison& comparison);
std::string comparison_json(const Comparison& comparison);

}  // namespace baltoro::cli
