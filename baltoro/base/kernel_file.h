// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace baltoro {

// A file of /proc or /sys, at most 1 MiB of it (such files have no size of their own); nothing when it cannot be read.
std::optional<std::string> read_kernel_file(const std::string& path);
// The number `text` starts with, after blanks.
std::optional<std::int64_t> leading_number(std::string_view text);

// Where the limits of one resource on this process are: the folder of its control group and of those above it,
// innermost first.
struct ControlGroups {
  bool unified = true;  // cgroup v2; else a v1 hierarchy of that controller
  std::vector<std::string> folders;
};
// Reads ROOT/proc/self/cgroup. A system with both versions limits a resource in the old one if its controller is there.
std::optional<ControlGroups> control_groups(std::string_view controller, const std::string& root = "");

}  // namespace baltoro
