// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/json.h"
#include "baltoro/cli/bench_report.h"

namespace baltoro::cli {
namespace {

json::Object rates_json(const PeakRates& rates) {
  return {{"read_bytes_per_s", rates.read_bytes_per_s},
          {"f32_flop_per_s", rates.f32_flop_per_s},
          {"bf16_flop_per_s", rates.bf16_flop_per_s},
          {"int8_op_per_s", rates.int8_op_per_s}};
}

json::Object peaks_json(const MachinePeaks& peaks) {
  return {{"threads", peaks.threads},
          {"buffer_bytes", peaks.buffer_bytes},
          {"huge_page_bytes", peaks.huge_page_bytes},
          {"all_threads", rates_json(peaks.all)},
          {"one_thread", rates_json(peaks.one)}};
}

template <typename Item>
json::Array numbers(const std::vector<Item>& items, double Item::* member) {
  json::Array out;
  for (const Item& item : items) out.emplace_back(item.*member);
  return out;
}

json::Array profile_json(const BenchRow& row) {
  json::Array out;
  for (const model::RegionTime& region : row.regions) {
    out.emplace_back(json::Object{{"region", region.name},
                                  {"calls", region.calls},
                                  {"seconds", region.seconds},
                                  {"busy_seconds", region.busy_seconds},
                                  {"bytes", region.bytes},
                                  {"flop", region.flops}});
  }
  return out;
}

json::Array disk_json(const BenchRow& row) {
  json::Array out;
  for (const BenchPass& pass : row.passes) {
    if (!pass.disk) continue;
    out.emplace_back(json::Object{{"bytes", pass.disk->bytes},
                                  {"bytes_used", pass.disk->bytes_used},
                                  {"disk_bytes_per_s_beside", pass.disk->disk_bytes_per_s},
                                  {"stall_seconds", pass.disk->stall_seconds},
                                  {"misses", pass.disk->misses},
                                  {"hits", pass.disk->hits},
                                  {"late", pass.disk->late},
                                  {"read_ahead", pass.disk->read_ahead},
                                  {"read_ahead_used", pass.disk->read_ahead_used}});
  }
  return out;
}

json::Object row_json(const BenchRow& row) {
  return {{"kind", bench_kind_name(row.what.kind)},
          {"batch", row.what.batch},
          {"context", row.what.context},
          {"tokens", row.what.tokens()},
          {"seconds", numbers(row.passes, &BenchPass::seconds)},
          {"read_bytes_per_s_beside", numbers(row.passes, &BenchPass::read_bytes_per_s)},
          {"linear_flop_per_s_beside", numbers(row.passes, &BenchPass::linear_per_s)},
          {"attention_flop_per_s_beside", numbers(row.passes, &BenchPass::attention_per_s)},
          {"tokens_per_s", row.tokens_per_s()},
          {"tokens_per_s_min", row.tokens_per_s_min()},
          {"tokens_per_s_max", row.tokens_per_s_max()},
          {"weight_bytes", row.cost.weight_bytes},
          {"kv_bytes", row.cost.kv_bytes},
          {"linear_flop", row.cost.linear_flop},
          {"attention_flop", row.cost.attention_flop},
          {"disk", disk_json(row)},
          {"memory_percent", 100 * row.memory_share()},
          {"compute_percent", 100 * row.compute_share()},
          {"limit_percent", 100 * row.limit_share()},
          {"experts_per_layer", row.experts_per_layer},
          {"profiled_seconds", row.profiled.seconds},
          {"profiled_regions_limit_seconds", row.regions_limit_seconds()},
          {"profile", profile_json(row)}};
}

json::Object start_json(const StartRow& row) {
  return {{"cache", row.cold ? "cold" : "warm"},
          {"prompt_tokens", row.prompt_tokens},
          {"ready_seconds", numbers(row.runs, &StartRun::ready_seconds)},
          {"first_token_seconds", numbers(row.runs, &StartRun::first_token_seconds)},
          {"cached_before", numbers(row.runs, &StartRun::cached_before)},
          {"disk_bytes_per_s_beside", numbers(row.runs, &StartRun::disk_bytes_per_s)},
          {"weight_bytes", row.weight_bytes},
          {"file_bytes", row.file_bytes},
          {"disk_percent", 100 * row.disk_share()},
          {"resident_bytes_ready", row.resident_ready},
          {"resident_bytes_first_token", row.resident_first_token}};
}

const char* arithmetic_name(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::kBf16 ? "bf16" : arithmetic == Arithmetic::kInt8 ? "int8" : "f32";
}

}  // namespace

std::string machine_json(const MachinePeaks& peaks) {
  return json::dump(json::Object{{"format", kBenchFormat}, {"machine", peaks_json(peaks)}}) + "\n";
}

std::string bench_json(const BenchReport& report) {
  json::Array rows, starts;
  for (const BenchRow& row : report.rows) rows.emplace_back(row_json(row));
  for (const StartRow& row : report.starts) starts.emplace_back(start_json(row));
  const json::Object document{{"format", kBenchFormat},
                              {"model", report.model_dir},
                              {"math", report.math},
                              {"dense", report.dense},
                              {"isa", report.isa},
                              {"limit_of_linears", arithmetic_name(report.linear)},
                              {"limit_of_attention", arithmetic_name(report.attention)},
                              {"machine", peaks_json(report.peaks)},
                              {"rows", std::move(rows)},
                              {"starts", std::move(starts)},
                              {"memory", json::Object{{"resident_bytes", report.memory.resident},
                                                      {"anonymous_resident_bytes", report.memory.anonymous},
                                                      {"peak_resident_bytes", report.memory.peak_resident}}}};
  return json::dump(document) + "\n";
}

}  // namespace baltoro::cli
