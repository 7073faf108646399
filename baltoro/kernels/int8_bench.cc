// SPDX-License-Identifier: Apache-2.0
// The 8-bit kernels on K2's shapes, one thread. bytes/s counts the weight once a call, OP/s two for each multiply-add;
// int8_peak shows what this core can do. A weight of 128 MiB or more of copies does not stay in the caches.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "baltoro/kernels/bench_support.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/random_weights.h"
#include "baltoro/kernels/test_bounds.h"

namespace baltoro::kernels {
namespace {

using tensor::WeightFormat;

void linear(benchmark::State& state, Isa isa, WeightFormat format, std::int64_t copies_bytes) {
  const std::int64_t tokens = state.range(0), rows = state.range(1), cols = state.range(2);
  std::mt19937_64 rng(1);
  const RandomWeight weight = random_weight({.format = format}, rows, cols, rng);
  std::vector<std::vector<std::byte>> copies;
  do copies.push_back(weight.data);
  while (weight.view.data_bytes() * static_cast<std::int64_t>(copies.size()) < copies_bytes);
  const Kernels& k = kernels(isa);
  const std::int64_t stride = int8_row_bytes(cols);
  Aligned x(tokens * stride), scratch(linear_int8_scratch_bytes(cols));
  std::vector<float> row(static_cast<std::size_t>(cols)), y(static_cast<std::size_t>(tokens * rows));
  for (float& value : row) value = random_float(rng);
  for (std::int64_t t = 0; t < tokens; ++t) k.quantize_row(row.data(), x.get() + t * stride, 0, cols, cols);
  std::size_t next = 0;
  for (auto _ : state) {
    tensor::MatrixView view = weight.view;
    view.data = copies[next++ % copies.size()].data();
    const LinearArgs<std::byte> args{.x = x.get(), .ldx = stride, .y = y.data(), .ldy = rows, .tokens = tokens};
    k.linear_int8(view, args, 0, rows, scratch.get());
  }
  report(state, static_cast<double>(weight.view.data_bytes() + weight.view.scale_bytes()),
         2.0 * static_cast<double>(tokens * rows * cols), "OP");
}

void quantize(benchmark::State& state, Isa isa) {
  const std::int64_t cols = state.range(0);
  std::mt19937_64 rng(1);
  std::vector<float> row(static_cast<std::size_t>(cols));
  for (float& value : row) value = random_float(rng);
  Aligned x(int8_row_bytes(cols));
  for (auto _ : state) {
    kernels(isa).quantize_row(row.data(), x.get(), 0, cols, cols);
    benchmark::DoNotOptimize(x.get());
  }
  report(state, 4.0 * static_cast<double>(cols), 0, "OP");
}

const bool kRegistered = [] {
  for (const Isa isa : supported_isas()) {
    if (isa == Isa::kScalar || isa == Isa::kAvx512Bf16) continue;  // the latter has the 8-bit kernels of avx512
    const std::string name = isa_name(isa);
    for (const WeightFormat format : {WeightFormat::kInt4Group, WeightFormat::kInt8Group}) {
      const std::string kind = std::string(tensor::weight_format_name(format)) + "/" + name;
      auto* decode = benchmark::RegisterBenchmark(("memory/" + kind).c_str(),
                                                  [=](benchmark::State& s) { linear(s, isa, format, 256 << 20); });
      for (const std::int64_t tokens : {1, 2, 4}) decode->Args({tokens, 2048, 7168});
      auto* prefill = benchmark::RegisterBenchmark(("cache/" + kind).c_str(),
                                                   [=](benchmark::State& s) { linear(s, isa, format, 1); });
      for (const std::int64_t tokens : {1, 2, 4, 8, 21, 24, 48, 96}) prefill->Args({tokens, 64, 7168});
      for (const std::int64_t tokens : {21, 96}) prefill->Args({tokens, 64, 2048});
      prefill->Args({24, 8, 512});
    }
    benchmark::RegisterBenchmark(("quantize/" + name).c_str(), [=](benchmark::State& s) {
      quantize(s, isa);
    })->Arg(7168);
  }
  return true;
}();

}  // namespace
}  // namespace baltoro::kernels
