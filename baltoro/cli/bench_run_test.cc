// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/bench_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "baltoro/base/json.h"
#include "baltoro/cli/bench_compare.h"
#include "baltoro/cli/bench_report.h"
#include "baltoro/model/inventory.h"

namespace baltoro::cli {
namespace {

using testing::HasSubstr;

std::shared_ptr<const model::Weights> ledger(const char* name = "ledger") {
  auto opened = model::open_weights(std::string(BALTORO_SOURCE_DIR "/models/") + name);
  EXPECT_TRUE(opened.ok()) << opened.error().message;
  return *std::move(opened);
}

BenchPlan small_plan() {
  BenchPlan plan;
  plan.sizes = {.prefill_tokens = {70}, .decode_batches = {1, 3}, .contexts = {64, 100}, .decode_steps = 3};
  plan.repeat = 2;
  plan.pass_seconds = 0.001;
  plan.show_progress = false;
  plan.decoder.threads = 2;
  return plan;
}

Result<BenchReport> run_small(const BenchPlan& plan) {
  BALTORO_TRY(MachineProbe probe, MachineProbe::create({.threads = 2}, 8 << 20));
  return run_bench(ledger(), plan, probe);
}

TEST(StepCost, OneTokenMovesAndMultipliesItsActiveParameters) {
  const auto weights = ledger("ledger-bf16");
  const model::ModelConfig& config = weights->config;
  // 2 bytes a parameter; norms and router biases are left out, of the embedding one row.
  std::int64_t fixed = 0, expert = 0;
  for (const auto& spec : model::inventory(config)) {
    if (model::is_vector(spec.role) || spec.role == model::Role::kEmbed) continue;
    if (model::part_of(spec.role) == model::Part::kExperts) {
      if (spec.expert == 0 && spec.layer == 1) expert += spec.parameters();
    } else {
      fixed += spec.parameters();
    }
  }
  const StepCost cost = step_cost(*weights,
                                  {.tokens = 1,
                                   .logit_rows = 1,
                                   .kv_rows = 10,
                                   .attended_rows = 10,
                                   .last_kv_rows = 10,
                                   .last_attended_rows = 10,
                                   .experts_touched = {0, 4, 4}},
                                  2);
  EXPECT_EQ(cost.weight_bytes, 2 * (fixed + 2 * 4 * expert + 128));
  // 3 layers, 4 heads, rows of 64 + 16: scores over all of a row, the mix over its latent part.
  EXPECT_EQ(cost.linear_flop, 2 * (fixed + 2 * 4 * expert));
  EXPECT_EQ(cost.attention_flop, 3 * 2 * 10 * 4 * (80 + 64));
  EXPECT_EQ(cost.kv_bytes, 3 * (10 + 1) * 80 * 2);
}

// The ledger model by hand: D 128, q rank 64, 4 heads of 32 + 16, R 64, v 32, experts of 64, 16 of them, top 4.
TEST(StepCost, APromptOfEightByHand) {
  constexpr std::int64_t kQuery = 64 * 128 + 4 * 48 * 64 + 4 * 64 * 64 + 128 * 128;  // q_a, q_b, kv_b, o
  constexpr std::int64_t kKvA = 80 * 128, kDense = 3 * 384 * 128, kExpert = 3 * 64 * 128, kRouter = 16 * 128;
  constexpr std::int64_t kInt4Expert = kExpert / 2 + kExpert / 32 * 2;
  const StepShape shape{.tokens = 8,
                        .logit_rows = 1,
                        .kv_rows = 8,
                        .attended_rows = 36,
                        .last_kv_rows = 8,
                        .last_attended_rows = 8,
                        .experts_touched = {0, 13, 4}};
  const StepCost cost = step_cost(*ledger(), shape, 2);
  const std::int64_t tokens_all = 2 * (kQuery + kKvA) + kDense + kRouter + (4 + 1) * kExpert;  // layers 0 and 1
  const std::int64_t tokens_last = kQuery + kRouter + (4 + 1) * kExpert + 1024 * 128;          // layer 2 and the head
  EXPECT_EQ(cost.linear_flop, 2 * (8 * (tokens_all + kKvA) + tokens_last));
  EXPECT_EQ(cost.attention_flop, 2 * (36 + 36 + 8) * 4 * (80 + 64));
  EXPECT_EQ(cost.kv_bytes, 3 * (8 + 8) * 80 * 2);
  EXPECT_EQ(cost.weight_bytes, 8 * 128 * 2 + 2 * (3 * (kQuery + kKvA) + kDense + 2 * (kRouter + kExpert) + 1024 * 128) +
                                   (13 + 4) * kInt4Expert);
}

// Rows of 64 columns take 512 in the one half, so that here the copy is the larger.
TEST(StepCost, CountsTheHalvesOfKvBWhereTheyAreReadInstead) {
  constexpr std::int64_t kRows = 4 * 32, kUk = kRows * 64 + kRows / 32 * 64 * 2, kUv = kRows * (512 + 16 * 2);
  const StepShape shape{.tokens = 8, .logit_rows = 1, .kv_rows = 8, .attended_rows = 36, .experts_touched = {0, 13, 4}};
  const auto weights = ledger("ledger-bf16");
  model::Weights copied = *weights;
  for (model::LayerWeights& layer : copied.layers) {
    layer.attention.kv_b_copy = {.w_uk = {.format = tensor::WeightFormat::kInt8RowGroup, .rows = kRows, .cols = 64},
                                 .w_uv = {.format = tensor::WeightFormat::kInt8Group, .rows = kRows, .cols = 64}};
  }
  const StepCost before = step_cost(*weights, shape, 2), after = step_cost(copied, shape, 2);
  EXPECT_EQ(after.weight_bytes - before.weight_bytes, 3 * (kUk + kUv - 2 * kRows * 64 * 2));
  EXPECT_EQ(after.linear_flop, before.linear_flop);
}

TEST(StepCost, AChunkWithoutLogitsOnlyWritesTheLastLayersRows) {
  const auto weights = ledger();
  const StepShape shape{.tokens = 8, .kv_rows = 8, .attended_rows = 36, .experts_touched = {0, 16, 0}};
  StepShape with_logits = shape;
  with_logits.logit_rows = 1;
  with_logits.last_kv_rows = with_logits.last_attended_rows = 8;
  with_logits.experts_touched[2] = 4;
  const StepCost without = step_cost(*weights, shape, 2), with = step_cost(*weights, with_logits, 2);
  EXPECT_GT(with.weight_bytes, without.weight_bytes + 1024 * 128 * 2);
  EXPECT_EQ(with.attention_flop - without.attention_flop, 2 * 8 * 4 * (80 + 64));
  EXPECT_EQ(with.kv_bytes - without.kv_bytes, 8 * 80 * 2);
}

TEST(BenchCases, EveryBatchAtTheFirstContextAndTheFirstBatchAtEvery) {
  const auto cases = bench_cases(small_plan().sizes, ledger()->config);
  ASSERT_TRUE(cases.ok()) << cases.error().message;
  ASSERT_EQ(cases->size(), 4U);
  EXPECT_EQ((*cases)[2].batch, 3);
  EXPECT_EQ((*cases)[2].context, 64);
  EXPECT_EQ((*cases)[3].batch, 1);
  EXPECT_EQ((*cases)[3].context, 100);
}

TEST(BenchCases, StepsCoverTheirCaseAndRepeat) {
  const BenchCase prompt{.kind = BenchKind::kPrefill, .context = 70};
  const auto steps = steps_of(prompt, 1024, 32);
  ASSERT_EQ(steps.size(), 3U);
  std::int64_t attended = 0;
  for (const OwnedStep& step : steps) attended += step.shape.attended_rows;
  EXPECT_EQ(attended, 70 * 71 / 2);
  EXPECT_TRUE(steps[1].logit_rows.empty());
  EXPECT_THAT(steps[2].logit_rows, testing::ElementsAre(5));
  EXPECT_EQ(steps[2].positions.back(), 69);
  EXPECT_EQ(steps_of(prompt, 1024, 32)[1].tokens, steps[1].tokens);
  const auto decode = steps_of({.kind = BenchKind::kDecode, .batch = 3, .context = 64, .steps = 2}, 1024, 32);
  ASSERT_EQ(decode.size(), 2U);
  EXPECT_EQ(decode[1].shape.kv_rows, 3 * 66);
}

TEST(BenchCases, DefaultsFitTheModel) {
  const auto weights = ledger();
  const model::ModelConfig& config = weights->config;  // 1,024 positions
  for (const bool full : {false, true}) {
    const auto cases = bench_cases(default_sizes(full, config), config);
    ASSERT_TRUE(cases.ok()) << cases.error().message;
    EXPECT_GE(cases->size(), 5U);
  }
}

TEST(BenchRow, SharesAreOfTheLimitBesideEachPass) {
  BenchRow row{.what = {.kind = BenchKind::kDecode, .batch = 2, .context = 64, .steps = 5}};
  row.cost = {.weight_bytes = 900, .kv_bytes = 100, .linear_flop = 300, .attention_flop = 100};
  row.passes = {{.seconds = 2, .read_bytes_per_s = 1000, .linear_per_s = 1000, .attention_per_s = 1000},
                {.seconds = 4, .read_bytes_per_s = 500, .linear_per_s = 1000, .attention_per_s = 1000},
                {.seconds = 5, .read_bytes_per_s = 250, .linear_per_s = 100, .attention_per_s = 50}};
  EXPECT_DOUBLE_EQ(row.median_seconds(), 4);
  EXPECT_DOUBLE_EQ(row.tokens_per_s(), 2.5);
  EXPECT_DOUBLE_EQ(row.tokens_per_s_min(), 2);
  EXPECT_DOUBLE_EQ(row.tokens_per_s_max(), 5);
  EXPECT_DOUBLE_EQ(row.memory_share(), 0.5);   // 1/2, 2/4, 4/5
  EXPECT_DOUBLE_EQ(row.compute_share(), 0.2);  // 0.4/2, 0.4/4, 5/5
  EXPECT_DOUBLE_EQ(row.limit_share(), 0.5);    // 1/2, 2/4, 5/5
}

TEST(BenchRow, RegionsHaveLimitsOfTheirOwn) {
  BenchRow row;
  row.profiled = {.seconds = 9, .read_bytes_per_s = 100, .linear_per_s = 50, .attention_per_s = 10};
  row.regions = {{.name = "moves", .seconds = 4, .bytes = 300, .flops = 100},      // 3 s beside 2
                 {.name = "computes", .seconds = 4, .bytes = 100, .flops = 150}};  // 1 s beside 3
  EXPECT_DOUBLE_EQ(row.region_limit_seconds(row.regions[0]), 3);
  EXPECT_DOUBLE_EQ(row.region_limit_seconds(row.regions[1]), 3);
  row.cost = {.weight_bytes = 400, .linear_flop = 250};
  EXPECT_DOUBLE_EQ(row.regions_limit_seconds(), 6);  // all bytes take 4, all operations 5
  row.cost.attention_flop = 30;                      // 3 more: regions do not know whose arithmetic is theirs
  EXPECT_DOUBLE_EQ(row.regions_limit_seconds(), 8);
  EXPECT_DOUBLE_EQ(BenchRow{}.regions_limit_seconds(), 0);
}

TEST(MachineProbe, RatesArePlausible) {
  auto probe = MachineProbe::create({.threads = 2}, 8 << 20);
  ASSERT_TRUE(probe.ok()) << probe.error().message;
  const MachinePeaks peaks = probe->peaks();
  EXPECT_EQ(peaks.threads, 2);
  for (const PeakRates& rates : {peaks.one, peaks.all}) {
    EXPECT_GT(rates.read_bytes_per_s, 1e8);
    EXPECT_GT(rates.f32_flop_per_s, 1e8);
    EXPECT_GT(rate_of(rates, Arithmetic::kBf16), 1e8);  // f32's where there is no BF16
    EXPECT_GT(rate_of(rates, Arithmetic::kInt8), 1e8);
  }
  EXPECT_GT(probe->read_bytes_per_s(), 1e8);
  EXPECT_GT(probe->operations_per_s(Arithmetic::kInt8), 1e8);
}

TEST(BenchRun, EveryCaseIsMeasured) {
  const auto report = run_small(small_plan());
  ASSERT_TRUE(report.ok()) << report.error().message;
  ASSERT_EQ(report->rows.size(), 4U);
  EXPECT_EQ(report->rows[0].what.kind, BenchKind::kPrefill);
  EXPECT_EQ(report->rows[0].what.tokens(), 70);
  EXPECT_EQ(report->rows[2].what.tokens(), 9);
  for (const auto& row : report->rows) {
    EXPECT_EQ(row.passes.size(), 2U);
    for (const BenchPass& pass : row.passes) {
      EXPECT_GT(pass.seconds, 0);
      EXPECT_GT(pass.read_bytes_per_s, 0);
      EXPECT_GT(pass.linear_per_s, 0);
    }
    EXPECT_GT(row.cost.weight_bytes, 0);
    EXPECT_GT(row.limit_share(), 0);
    EXPECT_LE(row.tokens_per_s_min(), row.tokens_per_s());
    EXPECT_LE(row.tokens_per_s(), row.tokens_per_s_max());
  }
  // One token has its four experts; three tokens together four to twelve.
  EXPECT_EQ(report->rows[1].experts_per_layer, 4);
  EXPECT_GE(report->rows[2].experts_per_layer, 4);
  EXPECT_LE(report->rows[2].experts_per_layer, 12);
  EXPECT_LT(report->rows[2].cost.weight_bytes, 3 * report->rows[1].cost.weight_bytes);
  EXPECT_GT(report->memory.peak_resident, 0);
}

TEST(BenchRun, AProfileCoversItsPass) {
  BenchPlan plan = small_plan();
  plan.profile = true;
  plan.sizes.prefill_tokens.clear();
  const auto report = run_small(plan);
  ASSERT_TRUE(report.ok()) << report.error().message;
  for (const BenchRow& row : report->rows) {
    double seconds = 0;
    for (const model::RegionTime& region : row.regions) seconds += region.seconds;
    EXPECT_GT(row.regions.size(), 3U);
    EXPECT_GT(seconds, 0);
    EXPECT_LE(seconds, row.profiled.seconds);
    EXPECT_GT(row.profiled.read_bytes_per_s, 0);
    EXPECT_GT(row.regions_limit_seconds(), 0);
  }
  EXPECT_THAT(bench_table(*report), testing::AllOf(HasSubstr("profile of decode"), HasSubstr("in no region"),
                                                   HasSubstr("each region at its own limit")));
}

TEST(BenchRun, StartsAreMeasuredWarmAndCold) {
  for (const bool cold : {false, true}) {
    const auto row = measure_start(BALTORO_SOURCE_DIR "/models/ledger",
                                   {.prompt_tokens = 8, .repeat = 2, .cold = cold, .decoder = {.threads = 2}});
    ASSERT_TRUE(row.ok()) << row.error().message;
    ASSERT_EQ(row->runs.size(), 2U);
    for (const StartRun& run : row->runs) {
      EXPECT_GT(run.ready_seconds, 0);
      EXPECT_GT(run.first_token_seconds, run.ready_seconds);
    }
    if (!cold) {
      EXPECT_DOUBLE_EQ(row->runs[1].cached_before, 1);
    }
    EXPECT_GT(row->weight_bytes, 100'000);
    EXPECT_LE(row->weight_bytes, row->file_bytes);
  }
  EXPECT_FALSE(measure_start("/nowhere", {}).ok());
}

TEST(BenchRun, TheReportsSayTheSame) {
  auto report = run_small(small_plan());
  ASSERT_TRUE(report.ok()) << report.error().message;
  report->starts.push_back({.prompt_tokens = 8, .runs = {{.ready_seconds = 0.5, .first_token_seconds = 1}}});
  const auto document = json::parse(bench_json(*report));
  ASSERT_TRUE(document.ok()) << document.error().message;
  EXPECT_EQ(document->find("rows")->as_array().size(), 4U);
  EXPECT_EQ(document->find("rows")->as_array()[0].find("kind")->as_string(), "prefill");
  const auto figures = read_bench_json(bench_json(*report), "a.json");
  ASSERT_TRUE(figures.ok()) << figures.error().message;
  ASSERT_EQ(figures->size(), 6U);
  EXPECT_DOUBLE_EQ((*figures)[1].shown(), report->rows[1].tokens_per_s());

  const std::string csv = bench_csv(*report);
  std::vector<std::ptrdiff_t> commas(1, 0);
  for (const char c : csv) {
    if (c == ',') ++commas.back();
    if (c == '\n') commas.push_back(0);
  }
  ASSERT_EQ(commas.size(), 6U);
  for (std::size_t line = 1; line < 5; ++line) EXPECT_EQ(commas[line], commas[0]);
  EXPECT_THAT(bench_table(*report), testing::AllOf(HasSubstr("prefill"), HasSubstr("warm start: ready in 0.500 s")));
}

TEST(BenchRun, SizesThatCannotBeAreRefused) {
  const auto message = [](const BenchSizes& sizes) {
    const auto cases = bench_cases(sizes, ledger()->config);
    return cases.ok() ? std::string("ok") : cases.error().message;
  };
  BenchSizes sizes = small_plan().sizes;
  sizes.prefill_tokens = {1025};
  EXPECT_THAT(message(sizes), HasSubstr("prefill lengths of 1 to 1024"));
  sizes = small_plan().sizes;
  sizes.contexts = {1022};
  EXPECT_THAT(message(sizes), HasSubstr("context lengths of 1 to 1021"));
  sizes = small_plan().sizes;
  sizes.decode_batches = {0};
  EXPECT_THAT(message(sizes), HasSubstr("batch sizes of 1 to 4096"));
  sizes.prefill_tokens.clear();
  sizes.decode_batches.clear();
  EXPECT_THAT(message(sizes), HasSubstr("something to measure"));
}

}  // namespace
}  // namespace baltoro::cli
