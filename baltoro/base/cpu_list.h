// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/base/result.h"

namespace baltoro {

// CPU numbers as Linux and taskset write them: "0-3,8" is 0, 1, 2, 3 and 8. Ascending, each once. kInvalidArgument:
// nothing, anything else than digits, commas and ascending ranges, or a number over 65535.
Result<std::vector<int>> parse_cpu_list(std::string_view text);
std::string cpu_list_text(std::span<const int> cpus);  // the shortest such text for ascending CPUs

// The CPUs the calling thread may run on, ascending; empty when the system does not tell.
std::vector<int> affinity_cpus();

// CPU time per second that the tightest control group above this process allows: 1.5 is one CPU and a half. Nothing: no
// limit. Reads cgroup v2 or v1 under ROOT; `root` is for tests.
std::optional<double> cpu_quota(const std::string& root = "");

}  // namespace baltoro
