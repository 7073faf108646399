// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "baltoro/cli/bench_run.h"

namespace baltoro::cli {

// The same figures for people, for spreadsheets (a header line, then one line a case) and for machines.
std::string bench_table(const BenchReport& report);
std::string bench_csv(const BenchReport& report);
std::string bench_json(const BenchReport& report);

// The machine's rates alone (`bench machine`).
std::string machine_table(const MachinePeaks& peaks);
std::string machine_json(const MachinePeaks& peaks);

// The first member of every JSON report: readers refuse another.
inline constexpr const char* kBenchFormat = "baltoro-bench-2";

}  // namespace baltoro::cli
