// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/bench_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "baltoro/base/progress.h"

namespace baltoro::cli {
namespace {

std::string giga(double value) { return value > 0 ? fmt::format("{:.1f}", value * 1e-9) : std::string("none"); }

std::string rates_line(const char* name, const PeakRates& rates) {
  return fmt::format("{:<12}{:>12}{:>14}{:>16}{:>16}\n", name, giga(rates.read_bytes_per_s), giga(rates.f32_flop_per_s),
                     giga(rates.bf16_flop_per_s), giga(rates.int8_op_per_s));
}

// Half the distance of the extremes, in percent of the median.
double spread(const BenchRow& row) {
  return 50 * (row.tokens_per_s_max() - row.tokens_per_s_min()) / row.tokens_per_s();
}

double median_of(const BenchRow& row, double BenchPass::* rate) {
  std::vector<double> values;
  for (const BenchPass& pass : row.passes) values.push_back(pass.*rate);
  return median(std::move(values));
}

std::string row_line(const BenchRow& row) {
  const bool memory = row.memory_share() >= row.compute_share();
  return fmt::format(
      "{:<8}{:>6}{:>9}{:>11.2f}{:>6.1f}{:>5}{:>11.2f}{:>8.2f}{:>8.1f}{:>7.0f}{:>11.2f}{:>9.1f}{:>8.0f}{:>7.0f}  "
      "{:>3.0f} % {}"
      "{:>9.1f}\n",
      bench_kind_name(row.what.kind), row.what.batch, row.what.context, row.tokens_per_s(), spread(row),
      row.passes.size(), static_cast<double>(row.cost.bytes()) * 1e-6, row.bytes_per_s() * 1e-9,
      median_of(row, &BenchPass::read_bytes_per_s) * 1e-9, 100 * row.memory_share(),
      static_cast<double>(row.cost.flop()) * 1e-9, row.flop_per_s() * 1e-9,
      median_of(row, &BenchPass::linear_per_s) * 1e-9, 100 * row.compute_share(), 100 * row.limit_share(),
      memory ? "memory " : "compute", row.experts_per_layer);
}

// What a row read from disk beside its limit: medians over the repetitions.
std::string disk_line(const BenchRow& row) {
  const auto middle = [&](double BenchDisk::* member) {
    std::vector<double> values;
    for (const BenchPass& pass : row.passes) values.push_back((*pass.disk).*member);
    return median(std::move(values));
  };
  const double bytes = middle(&BenchDisk::bytes);
  return fmt::format(
      "{:<8}{:>6}{:>9}{:>11.2f}{:>8.2f}{:>8.2f}{:>7.0f}{:>9.0f}{:>8.0f}{:>8.0f}{:>8.0f}{:>8.0f}{:>10.3f}\n",
      bench_kind_name(row.what.kind), row.what.batch, row.what.context, bytes * 1e-6,
      bytes / row.median_seconds() * 1e-9, middle(&BenchDisk::disk_bytes_per_s) * 1e-9, 100 * row.disk_share(),
      middle(&BenchDisk::misses), middle(&BenchDisk::hits), middle(&BenchDisk::late), middle(&BenchDisk::read_ahead),
      middle(&BenchDisk::read_ahead_used), middle(&BenchDisk::stall_seconds));
}

std::string disk_lines(const BenchReport& report) {
  std::string out;
  for (const BenchRow& row : report.rows) {
    if (row.passes.empty() || !row.passes.front().disk) continue;
    if (out.empty()) {
      out = fmt::format("\n{:<8}{:>6}{:>9}{:>11}{:>8}{:>8}{:>7}{:>9}{:>8}{:>8}{:>8}{:>8}{:>10}\n", "from disk", "batch",
                        "context", "MB a pass", "GB/s", "disk", "%", "misses", "hits", "late", "ahead", "used",
                        "stall s");
    }
    out += disk_line(row);
  }
  return out;
}

// Where a pass went: the regions of a step, longest first, with what they reached and how long workers waited in them.
std::string profile_lines(const BenchRow& row, int threads) {
  if (row.regions.empty()) return {};
  const double all = row.profiled.seconds, at_limits = row.regions_limit_seconds();
  const double whole = std::max(row.memory_seconds(row.profiled), row.compute_seconds(row.profiled));
  std::string out = fmt::format(
      "\nprofile of {}, batch {}, context {}: {:.4f} s beside {:.1f} GB/s and {:.0f} GFLOP/s\n"
      "{:<24}{:>8}{:>9}{:>9}{:>11}{:>12}{:>10}\n",
      bench_kind_name(row.what.kind), row.what.batch, row.what.context, all, row.profiled.read_bytes_per_s * 1e-9,
      row.profiled.linear_per_s * 1e-9, "region", "calls", "% time", "GB/s", "GFLOP/s", "of limit %", "waits %");
  double outside = all;
  for (const model::RegionTime& region : row.regions) {
    outside -= region.seconds;
    const double seconds = std::max(region.seconds, 1e-12);
    out += fmt::format("{:<24}{:>8}{:>9.1f}{:>9.2f}{:>11.1f}{:>12.1f}{:>10.1f}\n", region.name, region.calls,
                       100 * region.seconds / all, region.bytes / seconds * 1e-9, region.flops / seconds * 1e-9,
                       100 * row.region_limit_seconds(region) / seconds,
                       100 * (1 - region.busy_seconds / (seconds * threads)));
  }
  out += fmt::format("{:<24}{:>17.1f}\n", "in no region", 100 * outside / all);
  return out + fmt::format(
                   "each region at its own limit, one after another: {:.4f} s, where the whole's limit says {:.4f} s; "
                   "so at most {:.0f} % of that\ncan be reached, and {:.0f} % of what can was\n",
                   at_limits, whole, 100 * whole / at_limits, 100 * at_limits / all);
}

std::string start_lines(const StartRow& row) {
  std::vector<double> ready, first, cached, disk;
  for (const StartRun& run : row.runs) {
    ready.push_back(run.ready_seconds);
    first.push_back(run.first_token_seconds);
    cached.push_back(run.cached_before);
    disk.push_back(run.disk_bytes_per_s);
  }
  const double held = median(cached);
  std::string out = fmt::format(
      "{} start: ready in {:.3f} s, first token of a prompt of {} in {:.3f} s ({} runs); {} resident when ready, {} "
      "after it\n",
      row.cold ? "cold" : "warm", median(ready), row.prompt_tokens, median(first), row.runs.size(),
      format_bytes(static_cast<std::uint64_t>(row.resident_ready)),
      format_bytes(static_cast<std::uint64_t>(row.resident_first_token)));
  if (row.cold && held > 0.01) {
    out += fmt::format("  NOT COLD: the system kept {:.0f} % of the files in its page cache\n", 100 * held);
  }
  if (row.cold && median(disk) > 0) {
    out += fmt::format("  needs {}; the disk read {}/s right before: reading takes {:.0f} % of the time\n",
                       format_bytes(static_cast<std::uint64_t>(row.weight_bytes)),
                       format_bytes(static_cast<std::uint64_t>(median(disk))), 100 * row.disk_share());
  }
  if (!row.cold && held < 0.99) {
    out += fmt::format("  NOT WARM: the page cache holds {:.0f} % of the files\n", 100 * held);
  }
  return out;
}

}  // namespace

std::string machine_table(const MachinePeaks& peaks) {
  std::string out = fmt::format("{:<12}{:>12}{:>14}{:>16}{:>16}\n", "machine", "read GB/s", "f32 GFLOP/s",
                                "BF16 GFLOP/s", "INT8 GOP/s");
  if (peaks.one.read_bytes_per_s > 0) out += rates_line("1 thread", peaks.one);  // a brief look leaves it out
  out += rates_line(fmt::format("{} threads", peaks.threads).c_str(), peaks.all);
  return out + fmt::format("reads are of {}, {} of it in huge pages\n",
                           format_bytes(static_cast<std::uint64_t>(peaks.buffer_bytes)),
                           format_bytes(static_cast<std::uint64_t>(peaks.huge_page_bytes)));
}

std::string bench_table(const BenchReport& report) {
  std::string out = fmt::format("model {}, {} arithmetic, {} dense weights, {} kernels, {} threads\n\n",
                                report.model_dir, report.math, report.dense, report.isa, report.peaks.threads);
  out += machine_table(report.peaks);
  if (!report.rows.empty()) {
    out += fmt::format("\n{:<8}{:>6}{:>9}{:>11}{:>6}{:>5}{:>11}{:>8}{:>8}{:>7}{:>11}{:>9}{:>8}{:>7}  {:<13}{:>9}\n",
                       "case", "batch", "context", "tokens/s", "+-%", "n", "MB", "GB/s", "of", "%", "GFLOP", "GFLOP/s",
                       "of", "%", "of the limit", "experts");
    for (const BenchRow& row : report.rows) out += row_line(row);
    out +=
        "\nMB and GFLOP: what one pass must move and compute at least. \"of\": the machine's rate right beside each "
        "pass "
        "(medians).\nExperts: distinct ones of a step and layer. Over 100 % of memory: the caches hold a part.\n";
  }
  out += disk_lines(report);
  for (const BenchRow& row : report.rows) out += profile_lines(row, report.peaks.threads);
  for (const StartRow& row : report.starts) out += start_lines(row);
  return out + fmt::format("memory at the end: {} resident, {} of it not file pages; at most {}\n",
                           format_bytes(static_cast<std::uint64_t>(report.memory.resident)),
                           format_bytes(static_cast<std::uint64_t>(report.memory.anonymous)),
                           format_bytes(static_cast<std::uint64_t>(report.memory.peak_resident)));
}

std::string bench_csv(const BenchReport& report) {
  std::string out =
      "kind,batch,context,tokens,repeat,tokens_per_s,tokens_per_s_min,tokens_per_s_max,seconds_median,weight_bytes,kv_"
      "bytes,linear_flop,attention_flop,bytes_per_s,flop_per_s,read_bytes_per_s_beside,linear_flop_per_s_beside,memory_"
      "percent,compute_percent,limit_percent,experts_per_layer,math,isa,threads,peak_resident_bytes\n";
  for (const BenchRow& row : report.rows) {
    out += fmt::format("{},{},{},{},{},{},{},{},{},", bench_kind_name(row.what.kind), row.what.batch, row.what.context,
                       row.what.tokens(), row.passes.size(), row.tokens_per_s(), row.tokens_per_s_min(),
                       row.tokens_per_s_max(), row.median_seconds());
    out += fmt::format("{},{},{},{},{},{},{},{},", row.cost.weight_bytes, row.cost.kv_bytes, row.cost.linear_flop,
                       row.cost.attention_flop, row.bytes_per_s(), row.flop_per_s(),
                       median_of(row, &BenchPass::read_bytes_per_s), median_of(row, &BenchPass::linear_per_s));
    out += fmt::format("{},{},{},{},{},{},{},{}\n", 100 * row.memory_share(), 100 * row.compute_share(),
                       100 * row.limit_share(), row.experts_per_layer, report.math, report.isa, report.peaks.threads,
                       report.memory.peak_resident);
  }
  return out;
}

}  // namespace baltoro::cli
