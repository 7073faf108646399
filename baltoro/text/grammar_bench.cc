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

// Masks of values drawn at random, 150 tokens at most each; percentiles over all masks of all iterations.
void masks(benchmark::State& state, const char* schema, std::int64_t tokens) {
  const auto shared = vocabulary(state);
  if (shared == nullptr) return;
  const auto graph = *compile_schema(*json::parse(schema), SchemaMode::kLoose, true, shared->trie);
  std::vector<std::uint64_t> allowed(shared->trie.text_tokens().size());
  std::mt19937 rng(7);
  std::vector<double> times, takes;
  double first = 0;
  for (auto _ : state) {
    GrammarMatcher matcher(shared, graph);
    for (std::int64_t left = tokens; left > 0; --left) {
      std::fill(allowed.begin(), allowed.end(), 0);
      const auto start = std::chrono::steady_clock::now();
      matcher.fill(allowed, left - 1);
      const auto filled = std::chrono::steady_clock::now();
      times.push_back(std::chrono::duration<double, std::micro>(filled - start).count());
      std::size_t count = 0;
      for (const std::uint64_t word : allowed) count += static_cast<std::size_t>(std::popcount(word));
      if (count == 0) break;
      std::size_t pick = std::uniform_int_distribution<std::size_t>(0, count - 1)(rng);
      TokenId token = 0;
      for (std::size_t w = 0; w < allowed.size(); ++w) {
        const auto here = static_cast<std::size_t>(std::popcount(allowed[w]));
        if (pick >= here) {
          pick -= here;
          continue;
        }
        std::uint64_t bits = allowed[w];
        while (pick-- > 0) bits &= bits - 1;
        token = static_cast<TokenId>(w * 64 + static_cast<std::size_t>(std::countr_zero(bits)));
        break;
      }
      const auto begin = std::chrono::steady_clock::now();
      matcher.accept(shared->tokenizer->token_bytes(token));
      takes.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
    }
    first = std::max(first, *std::max_element(times.begin(), times.end()));
  }
  std::sort(times.begin(), times.end());
  double sum = 0;
  for (const double t : times) sum += t;
  state.counters["mean_us"] = sum / static_cast<double>(times.size());
  state.counters["median_us"] = times[times.size() / 2];
  state.counters["p99_us"] = times[times.size() * 99 / 100];
  state.counters["max_us"] = first;
  std::sort(takes.begin(), takes.end());
  state.counters["accept_median_us"] = takes[takes.size() / 2];
}
BENCHMARK_CAPTURE(masks, edit, kEdit, 300)->Iterations(30);
BENCHMARK_CAPTURE(masks, mixed, kMixed, 300)->Iterations(30);
BENCHMARK_CAPTURE(masks, any_object, R"({"type":"object"})", 300)->Iterations(30);

}  // namespace
}  // namespace baltoro::text
