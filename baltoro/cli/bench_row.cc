// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/bench_row.h"

#include <algorithm>
#include <utility>

namespace baltoro::cli {
namespace {

template <typename Value>
double median_over(const std::vector<BenchPass>& passes, const Value& value) {
  std::vector<double> values;
  for (const BenchPass& pass : passes) values.push_back(value(pass));
  return median(std::move(values));
}

}  // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

double BenchRow::median_seconds() const {
  return median_over(passes, [](const BenchPass& pass) { return pass.seconds; });
}
double BenchRow::tokens_per_s_min() const {
  const auto slowest = std::max_element(passes.begin(), passes.end(),
                                        [](const BenchPass& a, const BenchPass& b) { return a.seconds < b.seconds; });
  return static_cast<double>(what.tokens()) / slowest->seconds;
}
double BenchRow::tokens_per_s_max() const {
  const auto fastest = std::min_element(passes.begin(), passes.end(),
                                        [](const BenchPass& a, const BenchPass& b) { return a.seconds < b.seconds; });
  return static_cast<double>(what.tokens()) / fastest->seconds;
}
double BenchRow::memory_seconds(const BenchPass& pass) const {
  return static_cast<double>(cost.bytes()) / pass.read_bytes_per_s;
}
double BenchRow::compute_seconds(const BenchPass& pass) const {
  return static_cast<double>(cost.linear_flop) / pass.linear_per_s +
         static_cast<double>(cost.attention_flop) / pass.attention_per_s;
}
double BenchRow::memory_share() const {
  return median_over(passes, [&](const BenchPass& pass) { return memory_seconds(pass) / pass.seconds; });
}
double BenchRow::compute_share() const {
  return median_over(passes, [&](const BenchPass& pass) { return compute_seconds(pass) / pass.seconds; });
}
double BenchRow::limit_share() const {
  return median_over(passes, [&](const BenchPass& pass) {
    return std::max(memory_seconds(pass), compute_seconds(pass)) / pass.seconds;
  });
}

double BenchRow::region_limit_seconds(const model::RegionTime& region) const {
  return std::max(region.bytes / profiled.read_bytes_per_s,
                  region.flops / std::max(profiled.linear_per_s, profiled.attention_per_s));
}
double BenchRow::regions_limit_seconds() const {
  if (regions.empty()) return 0;
  double seconds = 0;
  for (const model::RegionTime& region : regions) seconds += region_limit_seconds(region);
  return std::max({seconds, memory_seconds(profiled), compute_seconds(profiled)});
}

double BenchRow::disk_share() const {
  return median_over(
      passes, [](const BenchPass& pass) { return pass.disk->bytes / pass.seconds / pass.disk->disk_bytes_per_s; });
}

}  // namespace baltoro::cli
