// SPDX-License-Identifier: Apache-2.0
// One draw over K2's vocabulary. Logits as a language model gives them: a few likely tokens over a broad floor.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "baltoro/engine/sampler.h"

namespace baltoro::engine {
namespace {

constexpr std::int64_t kVocab = 163'840;

std::vector<float> likely_logits() {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(0, 2.5f);
  std::vector<float> logits(kVocab);
  for (float& logit : logits) logit = normal(random);
  for (std::size_t i = 0; i < 40; ++i) logits[i * 4001] += 12;
  return logits;
}

void sample(benchmark::State& state, const SamplingParams& params) {
  const auto logits = likely_logits();
  Sampler sampler(kVocab);
  std::vector<TokenId> tokens(1000, 17);
  std::uint64_t seed = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        *sampler.sample({.logits = logits, .tokens = tokens, .tokens_prompt = 10, .params = params, .seed = ++seed}));
  }
}

void logprobs(benchmark::State& state) {
  const auto logits = likely_logits();
  Sampler sampler(kVocab);
  for (auto _ : state) benchmark::DoNotOptimize(sampler.logprobs(logits, 5, 5)->logprob);
}

const bool kRegistered = [] {
  const auto add = [](const char* name, const SamplingParams& params) {
    benchmark::RegisterBenchmark(name, [=](benchmark::State& s) { sample(s, params); })->Unit(benchmark::kMicrosecond);
  };
  add("greedy", {.temperature = 0});
  add("temperature", {.temperature = 1});
  add("top_k_50", {.temperature = 1, .top_k = 50});
  add("top_p_0.95", {.temperature = 1, .top_p = 0.95f});
  add("top_p_0.95_hot", {.temperature = 2, .top_p = 0.95f});
  add("min_p_0.01", {.temperature = 1, .min_p = 0.01f});
  add("penalties", {.temperature = 1, .presence_penalty = 0.1f, .frequency_penalty = 0.1f});
  benchmark::RegisterBenchmark("logprobs_5", logprobs)->Unit(benchmark::kMicrosecond);
  return true;
}();

}  // namespace
}  // namespace baltoro::engine
