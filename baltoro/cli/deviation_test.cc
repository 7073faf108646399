// SPDX-License-Identifier: Apache-2.0
// The approximate modes on the bundled models: how far they may stray from f32. The bounds are about three times what
// was measured (docs/parity.md), so a kernel or a scale that goes wrong shows.
#include <gtest/gtest.h>

#include <cmath>

#include "baltoro/base/file.h"
#include "baltoro/base/json.h"
#include "baltoro/cli/deviation_run.h"

namespace baltoro::cli {
namespace {

using model::DenseWeights;
using model::Math;

std::shared_ptr<const model::Weights> bundled(const std::string& name) {
  auto opened = model::open_weights(BALTORO_SOURCE_DIR "/models/" + name);
  EXPECT_TRUE(opened.ok());
  return *std::move(opened);
}

// The first turns of the bundled model's golden run, prompt and answer.
std::vector<DeviationText> texts(const std::string& name) {
  const auto golden = *json::parse(*read_file(BALTORO_SOURCE_DIR "/models/" + name + "/golden.json", 1 << 24));
  std::vector<DeviationText> list;
  for (const json::Value& item : golden.find("cases")->as_array()) {
    for (const json::Value& turn : item.find("turns")->as_array()) {
      auto& text = list.emplace_back();
      for (const char* part : {"prompt_ids", "output_ids"}) {
        text.scored_from = std::ssize(text.tokens);  // the output's first
        for (const json::Value& id : turn.find(part)->as_array()) {
          text.tokens.push_back(static_cast<std::int32_t>(id.as_int()));
        }
      }
      if (list.size() == 6) return list;
    }
  }
  return list;
}

TEST(Deviation, EachModeOfTheBundledModelsStaysWithinItsBound) {
  constexpr double kBounds[] = {1e-12, 3e-3, 3e-3, 4e-3, 3e-3};
  for (const char* name : {"ledger", "ledger-bf16"}) {
    DeviationRun run;
    run.modes = {{.math = Math::kExact},
                 {.math = Math::kFast},
                 {.math = Math::kExact, .dense = DenseWeights::kInt8},
                 {.math = Math::kFast, .dense = DenseWeights::kInt8}};
    run.show_progress = false;
    run.decoder.threads = 2;
    const auto rows = measure_deviation(bundled(name), texts(name), run);
    ASSERT_TRUE(rows.ok()) << rows.error().message;
    ASSERT_EQ(rows->size(), 5u);
    std::int64_t outputs = 0;
    for (const auto& text : texts(name)) outputs += std::ssize(text.tokens) - text.scored_from;
    for (std::size_t i = 0; i < rows->size(); ++i) {
      const DeviationRow& row = (*rows)[i];
      SCOPED_TRACE(testing::Message() << name << " " << model::arithmetic_name(row.mode.math, row.mode.dense));
      std::printf("%-12s %-18s KL mean %.3g max %.3g top %.4f perplexity %.6f\n", name,
                  model::arithmetic_name(row.mode.math, row.mode.dense), row.kl_mean(), row.kl_max, row.top_agreement(),
                  row.perplexity());
      EXPECT_GT(row.positions, 100);
      EXPECT_EQ(row.scored, outputs);
      EXPECT_GE(row.kl_mean(), -1e-12);
      EXPECT_LE(row.kl_mean(), kBounds[i]);
      EXPECT_NEAR(row.perplexity() / rows->front().perplexity(), 1, 0.02);
      EXPECT_GE(row.top_agreement(), i == 0 ? 1 : 0.98);
    }
  }
}

TEST(Deviation, WhatCannotBeRunIsRefused) {
  const auto weights = bundled("ledger");
  const auto refused = [&](const std::vector<DeviationText>& list) {
    DeviationRun run;
    run.show_progress = false;
    const auto rows = measure_deviation(weights, list, run);
    return !rows.ok() && rows.error().code == Errc::kInvalidArgument;
  };
  EXPECT_TRUE(refused({}));
  EXPECT_TRUE(refused({{.tokens = {}}}));
  EXPECT_TRUE(refused({{.tokens = {1, 2, -1}}}));
  EXPECT_TRUE(refused({{.tokens = {1024}}}));
  EXPECT_TRUE(refused({{.tokens = std::vector<std::int32_t>(1025, 1)}}));
  EXPECT_FALSE(refused({{.tokens = {1, 2, 3}}}));
}

}  // namespace
}  // namespace baltoro::cli
