// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/cpu_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "baltoro/base/file.h"
#include "baltoro/base/kernel_file.h"
#include "baltoro/base/thread_control.h"

namespace baltoro {
namespace {

constexpr int kMostCpus = 65536;

std::optional<int> cpu_number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.front() == '-' || value >= kMostCpus) return {};
  return value;
}

// "3" or "3-7"
bool add_part(std::string_view part, std::vector<int>& cpus) {
  const std::size_t dash = part.find('-');
  const auto first = cpu_number(part.substr(0, dash));
  const auto last = dash == std::string_view::npos ? first : cpu_number(part.substr(dash + 1));
  if (!first || !last || *last < *first) return false;
  for (int cpu = *first; cpu <= *last; ++cpu) cpus.push_back(cpu);
  return true;
}

std::optional<double> group_quota(const ControlGroups& groups, const std::string& folder) {
  std::optional<std::int64_t> quota, period;
  if (groups.unified) {  // "150000 100000" or "max 100000"
    const std::string text = read_kernel_file(join_path(folder, "cpu.max")).value_or("");
    quota = leading_number(text);
    const std::size_t space = text.find(' ');
    if (space != std::string::npos) period = leading_number(std::string_view(text).substr(space));
  } else {
    quota = leading_number(read_kernel_file(join_path(folder, "cpu.cfs_quota_us")).value_or(""));  // -1: none
    period = leading_number(read_kernel_file(join_path(folder, "cpu.cfs_period_us")).value_or(""));
  }
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

}  // namespace

Result<std::vector<int>> parse_cpu_list(std::string_view text) {
  std::vector<int> cpus;
  for (std::string_view rest = text;;) {
    const std::size_t comma = rest.find(',');
    if (!add_part(rest.substr(0, comma), cpus) || cpus.size() > 4 * kMostCpus) {
      return Error{Errc::kInvalidArgument, fmt::format("[cpus] CPU numbers under {} as in 0-3,8 expected, got \"{}\"",
                                                       kMostCpus, text.substr(0, 80))};
    }
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

std::string cpu_list_text(std::span<const int> cpus) {
  std::string text;
  for (std::size_t i = 0; i < cpus.size();) {
    std::size_t last = i;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    if (!text.empty()) text += ',';
    text += last == i ? fmt::format("{}", cpus[i]) : fmt::format("{}-{}", cpus[i], cpus[last]);
    i = last + 1;
  }
  return text;
}

std::vector<int> affinity_cpus() {
  const CpuMask mask = CpuMask::of_this_thread();
  std::vector<int> cpus;
  for (int cpu = 0; cpu < kMostCpus; ++cpu) {
    if (mask.has(cpu)) cpus.push_back(cpu);
  }
  return cpus;
}

std::optional<double> cpu_quota(const std::string& root) {
  const auto groups = control_groups("cpu", root);
  if (!groups) return std::nullopt;
  std::optional<double> tightest;
  for (const std::string& folder : groups->folders) {
    const auto quota = group_quota(*groups, folder);
    if (quota && (!tightest || *quota < *tightest)) tightest = quota;
  }
  return tightest;
}

}  // namespace baltoro
