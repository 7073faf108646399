// SPDX-License-Identifier: Apache-2.0
// Trie, compile and mask times with a real vocabulary (BALTORO_TOKENIZER names its folder).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "baltoro/text/grammar_matcher.h"

namespace baltoro::text {
namespace {

constexpr const char* kEdit =
    R"({"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"file_path":{"type":"string"},"old_string":{"type":"string"},)"
    R"("new_string":{"type":"string"},"replace_all":{"type":"boolean","default":false}},"required":["file_path","old_string","new_string"],"additionalProperties":false})";
constexpr const char* kMixed =
    R"({"type":"object","properties":{"path":{"type":"string","minLength":1,"maxLength":200},"mode":{"enum":["read","write","append"]},)"
    R"("lines":{"type":"array","items":{"type":"integer","minimum":1,"maximum":100000}},"when":{"type":"string","format":"date-time"},)"
    R"("id":{"type":"string","pattern":"^[a-z][a-z0-9_-]{0,30}$"},"scale":{"type":"number","minimum":0,"exclusiveMaximum":1},"tags":{"type":"object","additionalProperties":{"type":"string"}},)"
    R"("target":{"anyOf":[{"type":"object","properties":{"kind":{"const":"file"},"name":{"type":"string"}},"required":["kind","name"]},)"
    R"({"type":"object","properties":{"kind":{"const":"url"},"url":{"type":"string","format":"uri"}},"required":["kind","url"]}]}},"required":["path","mode","target"]})";

std::shared_ptr<GrammarVocabulary> vocabulary(benchmark::State& state) {
  static const auto made = []() -> std::shared_ptr<GrammarVocabulary> {
    const char* dir = std::getenv("BALTORO_TOKENIZER");
    auto tokenizer = load_tokenizer(dir == nullptr ? "../shared/tokenizer/kimi" : dir);
    if (!tokenizer.ok()) return nullptr;
    auto vocabulary = make_grammar_vocabulary(*tokenizer);
    return vocabulary.ok() ? *vocabulary : nullptr;
  }();
  if (made == nullptr) state.SkipWithError("no tokenizer with a token for every byte");
  return made;
}

void build_trie(benchmark::State& state) {
  const auto shared = vocabulary(state);
  if (shared == nullptr) return;
  std::size_t bytes = 0;
  for (auto _ : state) {
    const auto trie = TokenTrie::build(*shared->tokenizer);
    bytes = trie->bytes();
  }
  state.counters["MB"] = static_cast<double>(bytes) / 1e6;
  state.counters["nodes"] = static_cast<double>(shared->trie.nodes().size());
}
BENCHMARK(build_trie)->Unit(benchmark::kMillisecond);

void compile(benchmark::State& state, const char* schema) {
  const auto shared = vocabulary(state);
  if (shared == nullptr) return;
  const auto value = *json::parse(schema);
  for (auto _ : state) benchmark::DoNotOptimize(compile_schema(value, SchemaMode::kLoose, true, shared->trie));
}
BENCHMARK_CAPTURE(compile, edit, kEdit)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(compile, mixed, kMixed)->Unit(benchmark::kMicrosecond);

// The token that stands at place `pick` among those allowed.
TokenId token_at(const std::vector<std::uint64_t>& allowed, std::size_t pick) {
  for (std::size_t w = 0; w < allowed.size(); ++w) {
    const auto here = static_cast<std::size_t>(std::popcount(allowed[w]));
    if (pick >= here) {
      pick -= here;
      continue;
    }
    std::uint64_t bits = allowed[w];
    while (pick-- > 0) bits &= bits - 1;
    return static_cast<TokenId>(w * 64 + static_cast<std::size_t>(std::countr_zero(bits)));
  }
  return -1;
}

double microseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

// Masks of values drawn at random, `tokens` at most each; percentiles over all masks of all iterations. `anew`: every
// value's schema is compiled anew, as in a client's first request; `warm`: with its masks built ahead.
void masks(benchmark::State& state, const char* schema, std::int64_t tokens, bool anew, bool warm = false) {
  const auto shared = vocabulary(state);
  if (shared == nullptr) return;
  const auto parsed = *json::parse(schema);
  auto graph = *compile_schema(parsed, SchemaMode::kLoose, true, shared->trie);
  std::vector<std::uint64_t> allowed(shared->trie.text_tokens().size());
  std::mt19937 rng(7);
  std::vector<double> times, takes, warms = {0};
  for (auto _ : state) {
    if (anew) {
      graph = *compile_schema(parsed, SchemaMode::kLoose, true, shared->trie);
      const auto start = std::chrono::steady_clock::now();
      if (warm) warm_masks(*shared, *graph, {});
      warms.push_back(microseconds_since(start));
    }
    GrammarMatcher matcher(shared, graph);
    for (std::int64_t left = tokens; left > 0; --left) {
      std::fill(allowed.begin(), allowed.end(), 0);
      const auto start = std::chrono::steady_clock::now();
      matcher.fill(allowed, left - 1);
      times.push_back(microseconds_since(start));
      std::size_t count = 0;
      for (const std::uint64_t word : allowed) count += static_cast<std::size_t>(std::popcount(word));
      if (count == 0) break;
      const TokenId token = token_at(allowed, std::uniform_int_distribution<std::size_t>(0, count - 1)(rng));
      const auto begin = std::chrono::steady_clock::now();
      matcher.accept(shared->tokenizer->token_bytes(token));
      takes.push_back(microseconds_since(begin));
    }
  }
  std::sort(times.begin(), times.end());
  std::sort(takes.begin(), takes.end());
  double sum = 0;
  for (const double t : times) sum += t;
  state.counters["mean_us"] = sum / static_cast<double>(times.size());
  state.counters["median_us"] = times[times.size() / 2];
  state.counters["p99_us"] = times[times.size() * 99 / 100];
  state.counters["warm_max_us"] = *std::max_element(warms.begin(), warms.end());
  state.counters["max_us"] = times.back();
  state.counters["accept_median_us"] = takes[takes.size() / 2];
}
constexpr const char* kAnyObject = R"({"type":"object"})";
constexpr const char* kPatterns =
    R"({"type":"object","properties":{"a":{"type":"string","pattern":"^[^/]+/[^/]+$"},"b":{"type":"string","pattern":"^\\S+$","maxLength":60},)"
    R"("c":{"type":"string","format":"uri"},"d":{"type":"string","minLength":20,"maxLength":150}},"required":["a","b","c","d"]})";
BENCHMARK_CAPTURE(masks, edit_anew, kEdit, 300, true)->Iterations(30);
BENCHMARK_CAPTURE(masks, edit_warm, kEdit, 300, true, true)->Iterations(30);
BENCHMARK_CAPTURE(masks, mixed_anew, kMixed, 300, true)->Iterations(30);
BENCHMARK_CAPTURE(masks, mixed_warm, kMixed, 300, true, true)->Iterations(30);
BENCHMARK_CAPTURE(masks, patterns_anew, kPatterns, 300, true)->Iterations(30);
BENCHMARK_CAPTURE(masks, patterns_warm, kPatterns, 300, true, true)->Iterations(30);
BENCHMARK_CAPTURE(masks, any_object_anew, kAnyObject, 300, true)->Iterations(30);
BENCHMARK_CAPTURE(masks, any_object_warm, kAnyObject, 300, true, true)->Iterations(30);
BENCHMARK_CAPTURE(masks, edit, kEdit, 300, false)->Iterations(30);
BENCHMARK_CAPTURE(masks, mixed, kMixed, 300, false)->Iterations(30);
BENCHMARK_CAPTURE(masks, patterns, kPatterns, 300, false)->Iterations(30);
BENCHMARK_CAPTURE(masks, any_object, kAnyObject, 300, false)->Iterations(30);

}  // namespace
}  // namespace baltoro::text
