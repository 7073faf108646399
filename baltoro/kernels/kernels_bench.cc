// SPDX-License-Identifier: Apache-2.0
// One thread on K2's shapes. bytes/s counts the weight (or cache) once a call, FLOP/s two for each multiply-add.
// in_cache and peak_read show what this core can do, for comparison.
#include <benchmark/benchmark.h>
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "baltoro/kernels/bench_support.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/random_weights.h"

namespace baltoro::kernels {
namespace {

using tensor::WeightFormat;

template <typename X>
void linear(benchmark::State& state, Isa isa, WeightFormat format) {
  const std::int64_t tokens = state.range(0);
  const std::int64_t rows = state.range(1);
  const std::int64_t cols = state.range(2);
  std::mt19937_64 rng(1);
  // Several copies in turn, so that a weight does not stay in the caches.
  std::vector<RandomWeight> weights;
  weights.push_back(random_weight({.format = format}, rows, cols, rng));
  while (weights[0].view.data_bytes() * static_cast<std::int64_t>(weights.size()) < (128 << 20)) {
    weights.push_back(weights[0]);
    weights.back().view.data = weights.back().data.data();
    weights.back().view.scale = weights.back().scale.data();
  }
  std::vector<X> x(static_cast<std::size_t>(tokens * cols), X{1});
  std::vector<float> y(static_cast<std::size_t>(tokens * rows));
  Aligned scratch(linear_scratch_bytes(rows, cols, tokens));
  const Kernels& k = kernels(isa);
  std::size_t next = 0;
  for (auto _ : state) {
    const LinearArgs<X> args{.x = x.data(), .ldx = cols, .y = y.data(), .ldy = rows, .tokens = tokens};
    const auto& view = weights[next++ % weights.size()].view;
    if constexpr (sizeof(X) == 2) {
      k.linear_bf16(view, args, 0, rows, scratch.get());
    } else {
      k.linear_f32(view, args, 0, rows, scratch.get());
    }
  }
  const auto& view = weights[0].view;
  report(state, static_cast<double>(view.data_bytes() + view.scale_bytes()),
         2.0 * static_cast<double>(tokens * rows * cols));
}

void transposed(benchmark::State& state, Isa isa) {  // w_uk of one head
  const std::int64_t tokens = state.range(0);
  std::mt19937_64 rng(1);
  const RandomWeight weight = random_weight({}, 128, 512, rng);
  const std::vector<bf16> x(static_cast<std::size_t>(tokens * 128), bf16{1});
  std::vector<float> y(static_cast<std::size_t>(tokens * 512));
  for (auto _ : state) {
    kernels(isa).linear_transposed_bf16(
        weight.view, {.x = x.data(), .ldx = 128, .y = y.data(), .ldy = 512, .tokens = tokens}, nullptr);
    benchmark::DoNotOptimize(y.data());
  }
  report(state, 128 * 512 * 2, 2.0 * 128 * 512 * static_cast<double>(tokens));
}

// A chunk of tokens that ends at `context`, latent of 512 + 64. Counts the scores and mixes that causality leaves.
void attend(benchmark::State& state, Isa isa) {
  const std::int64_t context = state.range(0), heads = state.range(1), chunk = state.range(2);
  constexpr std::int64_t kDim = 576;
  constexpr std::int64_t kRank = 512;
  const std::int64_t tile = std::min(kAttendLanes / heads, chunk);
  Aligned rows(context * kDim * 2);
  std::fill(rows.data.begin(), rows.data.end(), std::byte{0x3C});
  std::vector<const std::byte*> blocks;
  for (std::int64_t p = 0; p < context; p += kAttendBlock) blocks.push_back(rows.get() + p * kDim * 2);
  const std::vector<bf16> q(static_cast<std::size_t>(kAttendLanes * kDim), bf16{0x3C00});
  std::vector<float> z(static_cast<std::size_t>(kAttendLanes * kRank));
  const std::int64_t floats = attend_state_floats(kAttendLanes, kRank);
  Aligned to(floats * 4), part(floats * 4), scratch(attend_scratch_floats(kDim) * 4);
  const auto as_floats = [](Aligned& bytes) { return reinterpret_cast<float*>(bytes.get()); };
  const Kernels& k = kernels(isa);
  double attended = 0;
  for (auto _ : state) {
    for (std::int64_t t = context - chunk; t < context; t += tile) {
      const AttendArgs args{.q = q.data(),
                            .q_stride = heads * kDim,
                            .tokens = tile,
                            .heads = heads,
                            .blocks = blocks.data(),
                            .position = t,
                            .kv_dim = kDim,
                            .rank = kRank,
                            .scale = 0.1f,
                            .scratch = as_floats(scratch)};
      k.attend_bf16(args, 0, as_floats(to));
      for (std::int64_t i = 1; i < attend_parts(t + tile); ++i) {
        k.attend_bf16(args, i, as_floats(part));
        float* const states[] = {as_floats(to), as_floats(part)};
        k.attend_fold(tile * heads, kRank, states, 2, 0, tile * heads);
      }
      k.attend_finish(tile * heads, kRank, as_floats(to), 0, tile * heads, z.data());
      benchmark::DoNotOptimize(z.data());
    }
  }
  for (std::int64_t t = context - chunk; t < context; ++t) attended += static_cast<double>(t + 1);
  report(state, static_cast<double>(context * kDim * 2), 2.0 * attended * static_cast<double>(heads * (kDim + kRank)));
}

enum class Elementwise { kRmsnorm, kSiluMul, kToBf16 };

void elementwise(benchmark::State& state, Isa isa, Elementwise what) {
  const std::int64_t n = state.range(0);
  const std::vector<float> x(static_cast<std::size_t>(n), 0.5f);
  std::vector<float> y(x);
  std::vector<bf16> narrow(static_cast<std::size_t>(n));
  const Kernels& k = kernels(isa);
  for (auto _ : state) {
    switch (what) {
      case Elementwise::kRmsnorm:
        k.rmsnorm(x.data(), x.data(), 1e-5f, y.data(), n);
        break;
      case Elementwise::kSiluMul:
        k.silu_mul(x.data(), x.data(), y.data(), n);
        break;
      case Elementwise::kToBf16:
        k.to_bf16(x.data(), narrow.data(), n);
        break;
    }
    benchmark::DoNotOptimize(y.data());
    benchmark::DoNotOptimize(narrow.data());
  }
  report(state, static_cast<double>(n * 8), 0);
}

// The best a core does with operands in its first cache: the linear kernel on one small panel many times.
void peak_fma(benchmark::State& state, Isa isa) {
  std::mt19937_64 rng(1);
  const RandomWeight weight = random_weight({}, 4, 1024, rng);
  const std::vector<bf16> x(4 * 1024, bf16{1});
  std::vector<float> y(16);
  Aligned scratch(linear_scratch_bytes(4, 1024, 4));
  for (auto _ : state) {
    kernels(isa).linear_bf16(weight.view, {.x = x.data(), .ldx = 1024, .y = y.data(), .ldy = 4, .tokens = 4}, 0, 4,
                             scratch.get());
    benchmark::DoNotOptimize(y.data());
  }
  report(state, 0, 2.0 * 4 * 4 * 1024);
}

// VDPBF16PS on registers alone.
__attribute__((target("avx512f,avx512bf16"))) void peak_dp(benchmark::State& state) {
  __m512 acc[24];
  for (__m512& lanes : acc) lanes = _mm512_setzero_ps();
  __m512i ones = _mm512_set1_epi32(0x3F803F80);
  for (auto _ : state) {
    for (int i = 0; i < 1000; ++i) {
      for (__m512& lanes : acc) lanes = _mm512_dpbf16_ps(lanes, (__m512bh)ones, (__m512bh)ones);
    }
    for (__m512& lanes : acc) benchmark::DoNotOptimize(lanes);
  }
  report(state, 0, 1000.0 * 24 * 64);
}

// A plain read of 256 MiB.
void peak_read(benchmark::State& state) {
  const std::vector<std::uint64_t> data(32 << 20, 1);
  for (auto _ : state) {
    std::uint64_t sums[8] = {};
    for (std::size_t i = 0; i < data.size(); i += 8) {
      for (std::size_t k = 0; k < 8; ++k) sums[k] ^= data[i + k];
    }
    benchmark::DoNotOptimize(sums);
  }
  report(state, static_cast<double>(data.size() * 8), 0);
}

void register_isa(Isa isa) {
  const std::string name = isa_name(isa);
  const bool quick = isa != Isa::kScalar;
  for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kInt4Group, WeightFormat::kFp8Block}) {
    auto* bench = benchmark::RegisterBenchmark((name + "/linear_bf16/" + tensor::weight_format_name(format)).c_str(),
                                               [=](benchmark::State& s) { linear<bf16>(s, isa, format); });
    for (const auto& [rows, cols] : {std::pair{2048, 7168}, std::pair{7168, 2048}, std::pair{1024, 512}}) {
      for (const std::int64_t tokens : {1, 2, 4, 8, 16, 21, 64, 512}) {
        if (quick || (tokens == 1 && rows == 2048)) bench->Args({tokens, rows, cols});
      }
    }
  }
  benchmark::RegisterBenchmark((name + "/router_f32").c_str(),
                               [=](benchmark::State& s) { linear<float>(s, isa, WeightFormat::kF32); })
      ->Args({1, 384, 7168})
      ->Args({16, 384, 7168})
      ->Args({512, 384, 7168});
  benchmark::RegisterBenchmark((name + "/transposed").c_str(), [=](benchmark::State& s) { transposed(s, isa); })
      ->Arg(1)
      ->Arg(64);
  if (quick) {
    benchmark::RegisterBenchmark((name + "/attend").c_str(), [=](benchmark::State& s) { attend(s, isa); })
        ->ArgNames({"context", "heads", "chunk"})
        ->ArgsProduct({{1024, 8192, 32768}, {16, 64}, {1, 64, 512}});
  }
  benchmark::RegisterBenchmark((name + "/rmsnorm").c_str(), [=](benchmark::State& s) {
    elementwise(s, isa, Elementwise::kRmsnorm);
  })->Arg(7168);
  benchmark::RegisterBenchmark((name + "/silu_mul").c_str(), [=](benchmark::State& s) {
    elementwise(s, isa, Elementwise::kSiluMul);
  })->Arg(2048);
  benchmark::RegisterBenchmark((name + "/to_bf16").c_str(), [=](benchmark::State& s) {
    elementwise(s, isa, Elementwise::kToBf16);
  })->Arg(7168);
  benchmark::RegisterBenchmark((name + "/in_cache").c_str(), [=](benchmark::State& s) { peak_fma(s, isa); });
}

const bool kRegistered = [] {
  benchmark::RegisterBenchmark("peak_read", peak_read);
  if (isa_supported(Isa::kAvx512Bf16)) benchmark::RegisterBenchmark("peak_dp", peak_dp);
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (isa_supported(isa)) register_isa(isa);
  }
  return true;
}();

}  // namespace
}  // namespace baltoro::kernels
