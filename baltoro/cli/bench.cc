// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "baltoro/base/file.h"
#include "baltoro/cli/bench_compare.h"
#include "baltoro/cli/bench_report.h"
#include "baltoro/cli/bench_run.h"
#include "baltoro/cli/command.h"
#include "baltoro/cli/failure.h"
#include "baltoro/cli/model_options.h"
#include "baltoro/model/streamed_weights.h"
#include "baltoro/model/weights.h"

namespace baltoro::cli {
namespace {

constexpr std::int64_t kQuickProbeBytes = 128 << 20;
constexpr std::uint64_t kMaxReportBytes = 64 << 20;

struct BenchOptions {
  ModelOptions model;
  BenchPlan plan;
  BenchSizes sizes;  // those given; the others are the defaults
  std::string format = "table";
  std::int64_t start_prompt = 32;
  bool full = false, cold = false, quick = false, quiet = false, no_start = false, brief = false, profile = false;
  bool all_miss = false;
  std::string a, b;  // of compare
};

void print(const std::string& text) { (void)std::fwrite(text.data(), 1, text.size(), stdout); }

Result<MachineProbe> make_probe(const BenchOptions& options) {
  std::int64_t bytes = options.plan.probe_bytes;
  if (bytes == 0) bytes = options.quick ? kQuickProbeBytes : default_probe_bytes();
  return MachineProbe::create({.threads = options.model.threads, .cpus = options.model.cpus}, bytes);
}

BenchPlan plan_of(const BenchOptions& options, const model::ModelConfig& config) {
  BenchPlan plan = options.plan;
  plan.decoder.math = options.model.math;
  plan.decoder.dense = options.model.dense;
  plan.decoder.latent_norm_eps = options.model.latent_norm_eps;
  plan.decoder.threads = options.model.threads;
  plan.decoder.cpus = options.model.cpus;
  plan.force_memory = options.model.force_memory;
  plan.memory_bytes = options.model.memory;
  plan.show_progress = !options.quiet;
  plan.profile = options.profile;
  plan.all_miss = options.all_miss;
  const BenchSizes& given = options.sizes;
  BenchSizes sizes = default_sizes(options.full, config);
  const bool any = !given.prefill_tokens.empty() || !given.decode_batches.empty() || !given.contexts.empty();
  if (any) {  // what is not asked for is not measured; a batch needs a context and the other way round
    sizes.prefill_tokens = given.prefill_tokens;
    if (!given.decode_batches.empty() || !given.contexts.empty()) {
      sizes.contexts = given.contexts.empty() ? std::vector{sizes.contexts.front()} : given.contexts;
      sizes.decode_batches = given.decode_batches.empty() ? std::vector<std::int64_t>{1} : given.decode_batches;
    } else {
      sizes.contexts.clear();
    }
  }
  sizes.decode_steps = given.decode_steps;
  plan.sizes = sizes;
  return plan;
}

// Starts come after the cases: then nothing is mapped, and cold ones may empty the page cache.
Status add_starts(const BenchOptions& options, const BenchPlan& plan, const std::string& dir, BenchReport& report) {
  StartPlan start{.prompt_tokens = options.start_prompt,
                  .repeat = plan.repeat < 3 ? plan.repeat : 3,
                  .cold = false,
                  .other_resident_bytes = report.peaks.buffer_bytes,
                  .decoder = plan.decoder};
  if (options.no_start || options.model.memory > 0) return {};  // starts are of mapped weights
  BALTORO_TRY(StartRow warm, measure_start(dir, start));
  report.starts.push_back(std::move(warm));
  if (!options.cold && !options.full) return {};
  start.cold = true;
  BALTORO_TRY(StartRow cold, measure_start(dir, start));
  report.starts.push_back(std::move(cold));
  return {};
}

Result<BenchReport> measure(const BenchOptions& options) {
  BALTORO_TRY(const std::string dir, model_dir(options.model));
  BALTORO_TRY(std::shared_ptr<const model::Weights> weights, model::open_weights_within(dir, options.model.memory));
  const BenchPlan plan = plan_of(options, weights->config);
  BALTORO_TRY_STATUS(bench_cases(plan.sizes, weights->config).ok()
                         ? Status{}
                         : Status{bench_cases(plan.sizes, weights->config).error()});
  if (options.model.memory == 0) BALTORO_TRY_STATUS(warm_page_cache(dir));
  BALTORO_TRY(MachineProbe probe, make_probe(options));
  BALTORO_TRY(BenchReport report, run_bench(std::move(weights), plan, probe));
  report.model_dir = dir;
  BALTORO_TRY_STATUS(add_starts(options, plan, dir, report));
  return report;
}

int run(const BenchOptions& options) {
  const auto report = measure(options);
  if (!report.ok()) return report_error("bench", report.error());
  print(options.format == "csv"    ? bench_csv(*report)
        : options.format == "json" ? bench_json(*report)
                                   : bench_table(*report));
  return 0;
}

int run_machine(const BenchOptions& options) {
  auto probe = make_probe(options);
  if (!probe.ok()) return report_error("bench machine", probe.error());
  const MachinePeaks peaks = options.brief ? probe->brief_peaks() : probe->peaks();
  print(options.format == "json" ? machine_json(peaks) : machine_table(peaks));
  return 0;
}

Result<Comparison> compare_files(const std::string& a, const std::string& b) {
  BALTORO_TRY(const std::string a_text, read_file(a, kMaxReportBytes));
  BALTORO_TRY(const std::string b_text, read_file(b, kMaxReportBytes));
  BALTORO_TRY(const auto a_figures, read_bench_json(a_text, a));
  BALTORO_TRY(const auto b_figures, read_bench_json(b_text, b));
  return compare(a_figures, b_figures);
}

int run_compare(const BenchOptions& options) {
  const auto comparison = compare_files(options.a, options.b);
  if (!comparison.ok()) return report_error("bench compare", comparison.error());
  print(options.format == "json" ? comparison_json(*comparison) : comparison_table(*comparison));
  return 0;
}

void add_probe_options(CLI::App& app, BenchOptions& options) {
  app.add_option("--probe-bytes", options.plan.probe_bytes,
                 "Buffer of the bandwidth probe (default: an eighth of the memory, at most 4 GiB)")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::int64_t{2} << 20, std::int64_t{1} << 40));
  app.add_flag("--quick", options.quick, "A bandwidth probe of 128 MiB (caches may help it)");
}

void add_sizes(CLI::App& bench, BenchOptions& options) {
  BenchSizes& sizes = options.sizes;
  bench.add_option("--prefill", sizes.prefill_tokens, "Prompt lengths")->delimiter(',');
  bench.add_option("--decode-batch", sizes.decode_batches, "Sequences decoded together, at the first --context")
      ->delimiter(',');
  bench.add_option("--context", sizes.contexts, "Positions behind a decode step; the first batch is measured at each")
      ->delimiter(',');
  bench.add_option("--decode-steps", sizes.decode_steps, "Steps of one pass")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  bench.add_flag(
      "--full", options.full,
      "Prompts to 8192, batches to 32, contexts to 131072, cold starts (default: 128 and 512; 1, 4, 16 at 1024; "
      "8192)");
  bench.add_option("--start-prompt", options.start_prompt, "Prompt of the start measurements")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20))
      ->capture_default_str();
  bench.add_flag("--cold", options.cold, "Also starts with the checkpoint dropped from the page cache");
  bench.add_flag("--no-start", options.no_start, "No start measurements");
}

}  // namespace

void add_bench(CLI::App& app) {
  const auto options = std::make_shared<BenchOptions>();
  CLI::App& bench = *app.add_subcommand("bench", "Prefill and decode speed, beside what the machine can do at most");
  add_model_options(bench, options->model, ChatFlags::kNo);
  bench.remove_option(bench.get_option("--context"));
  add_sizes(bench, *options);
  BenchPlan& plan = options->plan;
  bench.add_option("--repeat", plan.repeat, "Times each case is measured; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  bench.add_option("--case-seconds", plan.case_seconds, "A case that takes longer stops, but not before two passes")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  bench.add_option("--max-batch-tokens", plan.decoder.max_batch_tokens, "Tokens of a prefill step")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{65536}))
      ->capture_default_str();
  bench.add_option("--format", options->format, "Output")
      ->check(CLI::IsMember({"table", "csv", "json"}))
      ->capture_default_str();
  bench.add_flag("--profile", options->profile, "Where the time of one more pass of each case goes (table and JSON)");
  bench.add_flag("--all-miss", options->all_miss, "With --memory: each step reads all its experts from disk")
      ->needs("--memory");
  bench.add_flag("--quiet", options->quiet, "No progress on stderr");
  add_probe_options(bench, *options);

  CLI::App& compare = *bench.add_subcommand("compare", "Two reports of --format json: ratios with their spread");
  compare.add_option("a", options->a, "The first report")->required()->type_name("A.json");
  compare.add_option("b", options->b, "The second report")->required()->type_name("B.json");
  CLI::App& machine = *bench.add_subcommand("machine", "The machine's rates alone");
  add_probe_options(machine, *options);
  add_thread_options(machine, options->model);
  machine.add_flag("--brief", options->brief, "One pass of each on all threads: as beside each figure");
  for (CLI::App* sub : {&compare, &machine}) {
    sub->add_option("--format", options->format, "Output")->check(CLI::IsMember({"table", "json"}));
  }
  compare.callback([options] { finish(run_compare(*options)); });
  machine.callback([options] { finish(run_machine(*options)); });
  bench.callback([options, &bench] {
    if (bench.get_subcommands().empty()) finish(run(*options));
  });
}

}  // namespace baltoro::cli
