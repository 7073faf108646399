// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/machine_memory.h"

#include <algorithm>
#include <string_view>

#include "baltoro/base/file.h"
#include "baltoro/base/kernel_file.h"

namespace baltoro {
namespace {

// The number after `key` at the start of a line.
std::optional<std::int64_t> find_number(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (line.starts_with(key)) return leading_number(line.substr(key.size()));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return std::nullopt;
}

// The names of one version's files and counters.
struct Names {
  const char* limit;
  const char* usage;
  const char* inactive;
  const char* active;
};
constexpr Names kUnified{"memory.max", "memory.current", "inactive_file ", "active_file "};
constexpr Names kOld{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ", "total_active_file "};

void apply_group(const Names& names, const std::string& dir, MachineMemory& memory) {
  const auto limit_text = read_kernel_file(join_path(dir, names.limit));
  const auto limit = limit_text ? leading_number(*limit_text) : std::nullopt;  // "max" is no number
  if (!limit || *limit <= 0 || *limit >= memory.total) return;
  const auto usage_text = read_kernel_file(join_path(dir, names.usage));
  const std::int64_t usage = usage_text ? leading_number(*usage_text).value_or(0) : 0;
  const std::string stat = read_kernel_file(join_path(dir, "memory.stat")).value_or("");
  const std::int64_t cache =
      find_number(stat, names.inactive).value_or(0) + find_number(stat, names.active).value_or(0);
  const std::int64_t available = std::clamp<std::int64_t>(*limit - usage + std::min(cache, usage), 0, *limit);
  if (memory.cgroup_limit && memory.cgroup_available <= available) return;
  memory.cgroup_limit = *limit;
  memory.cgroup_available = available;
}

}  // namespace

std::int64_t MachineMemory::usable() const { return cgroup_limit ? std::min(available, cgroup_available) : available; }

Result<MachineMemory> machine_memory(const std::string& root) {
  const auto text = read_kernel_file(root + "/proc/meminfo");
  if (!text) return Error{Errc::kIo, "[memory] cannot read " + root + "/proc/meminfo"};
  const auto total = find_number(*text, "MemTotal:");
  const auto available = find_number(*text, "MemAvailable:");
  constexpr std::int64_t kMaxKib = std::int64_t{1} << 50;
  if (!total || !available || *total <= 0 || *available < 0 || *total > kMaxKib || *available > kMaxKib) {
    return Error{Errc::kCorrupt, "[memory] " + root + "/proc/meminfo: MemTotal and MemAvailable expected"};
  }
  MachineMemory memory{.total = *total * 1024, .available = *available * 1024};
  const auto groups = control_groups("memory", root);
  if (!groups) return memory;
  for (const std::string& folder : groups->folders) apply_group(groups->unified ? kUnified : kOld, folder, memory);
  return memory;
}

}  // namespace baltoro
