// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "baltoro/cli/default_model.h"
#include "baltoro/cli/failure.h"
#include "baltoro/cli/model_options.h"
#include "baltoro/cli/sampling_options.h"

namespace baltoro::cli {
namespace {

// Parses words as one command line; the error's text, empty when there is none.
template <typename Add>
std::string parse(std::vector<std::string> words, const Add& add) {
  CLI::App app;
  add(app);
  std::reverse(words.begin(), words.end());
  try {
    app.parse(words);
  } catch (const CLI::ParseError& error) {
    return error.what();
  }
  return {};
}

std::string parse_model(const std::vector<std::string>& words, ModelOptions& options) {
  return parse(words, [&](CLI::App& app) { add_model_options(app, options, ChatFlags::kYes); });
}

TEST(ModelOptions, FlagsAreRead) {
  ModelOptions options;
  EXPECT_EQ(parse_model({}, options), "");
  EXPECT_EQ(options.math, model::Math::kExact);
  EXPECT_EQ(parse_model({"some/dir", "--math", "f32", "--latent-norm-eps", "hf", "--threads", "3", "--context", "4096",
                         "--cpus", "8,0-2", "--family", "k2.5", "--force-memory"},
                        options),
            "");
  EXPECT_EQ(options.dir, "some/dir");
  EXPECT_EQ(options.math, model::Math::kF32);
  EXPECT_EQ(options.latent_norm_eps, model::LatentNormEps::kHf);
  EXPECT_EQ(options.threads, 3);
  EXPECT_EQ(options.cpus, (std::vector<int>{0, 1, 2, 8}));
  EXPECT_EQ(options.context, 4096);
  EXPECT_EQ(options.family, "k2.5");
  EXPECT_TRUE(options.force_memory);
}

TEST(ModelOptions, ApproximateModesAreAskedForByName) {
  ModelOptions options;
  EXPECT_EQ(options.dense, model::DenseWeights::kReleased);
  EXPECT_EQ(parse_model({"--math", "fast", "--dense", "int8"}, options), "");
  EXPECT_EQ(options.math, model::Math::kFast);
  EXPECT_EQ(options.dense, model::DenseWeights::kInt8);
  EXPECT_EQ(parse_model({"--math", "exact", "--dense", "released"}, options), "");
  EXPECT_EQ(options.math, model::Math::kExact);
  EXPECT_EQ(options.dense, model::DenseWeights::kReleased);
}

TEST(ModelOptions, WhatIsWrongIsRefused) {
  const std::vector<std::vector<std::string>> wrong{
      {"--math", "faster"}, {"--dense", "int4"},  {"--math"},          {"--latent-norm-eps", "1e-6"},
      {"--threads", "-1"},  {"--threads", "two"}, {"--context", "-5"}, {"--context", "1e30"},
      {"one", "two"},       {"--unknown"},        {"--cpus", ""},      {"--cpus", "3-1"},
      {"--cpus", "0,,1"},   {"--cpus", "all"}};
  for (const auto& words : wrong) {
    ModelOptions options;
    EXPECT_NE(parse_model(words, options), "") << words.front();
  }
}

TEST(SamplingOptions, FlagsAreReadAndAbsentOnesStayAbsent) {
  SamplingOptions options;
  const auto add = [&](CLI::App& app) { add_sampling_options(app, options); };
  EXPECT_EQ(parse({}, add), "");
  EXPECT_FALSE(options.sampling.temperature.has_value());
  EXPECT_FALSE(options.limits.max_tokens.has_value());
  EXPECT_EQ(parse({"--temperature", "0.5", "--top-p", "0.9", "--top-k", "40", "--min-p", "0.1", "--seed",
                   "18446744073709551615", "-n", "7", "--stop", "a b", "--stop", "c"},
                  add),
            "");
  EXPECT_FLOAT_EQ(*options.sampling.temperature, 0.5F);
  EXPECT_FLOAT_EQ(*options.sampling.top_p, 0.9F);
  EXPECT_EQ(options.sampling.top_k, 40);
  EXPECT_FLOAT_EQ(*options.sampling.min_p, 0.1F);
  EXPECT_EQ(options.sampling.seed, 18446744073709551615U);
  EXPECT_EQ(options.limits.max_tokens, 7);
  EXPECT_THAT(options.limits.stop, testing::ElementsAre("a b", "c"));
  for (const auto& words : std::vector<std::vector<std::string>>{
           {"--temperature", "warm"}, {"--seed", "-1"}, {"--seed", "18446744073709551616"}, {"--top-k", "1.5"}}) {
    EXPECT_NE(parse(words, add), "") << words.back();
  }
}

TEST(DefaultModel, TheEnvironmentNamesIt) {
  ::setenv("BALTORO_MODEL", "/some/folder", 1);
  EXPECT_EQ(*default_model_dir(), "/some/folder");
  EXPECT_EQ(*model_dir({}), "/some/folder");
  ModelOptions named;
  named.dir = "other";
  EXPECT_EQ(*model_dir(named), "other");
  ::unsetenv("BALTORO_MODEL");
}

TEST(Failure, CodesTellTheKind) {
  EXPECT_EQ(report_error("test", {Errc::kInvalidArgument, "a wrong request, as intended"}), kExitUsage);
  EXPECT_EQ(report_error("test", {Errc::kIo, "a failure, as intended"}), kExitFailure);
  EXPECT_NO_THROW(finish(0));
  EXPECT_THROW(finish(3), CLI::RuntimeError);
}

}  // namespace
}  // namespace baltoro::cli
