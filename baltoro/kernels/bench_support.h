// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace baltoro::kernels {

// Memory for benchmarks: get() is a multiple of 64, with `bytes` bytes behind it.
struct Aligned {
  explicit Aligned(std::int64_t bytes) : data(static_cast<std::size_t>(bytes + 64)) {}
  std::byte* get() { return data.data() + (64 - reinterpret_cast<std::uintptr_t>(data.data()) % 64) % 64; }
  std::vector<std::byte> data;
};

// The rates of a benchmark whose iterations move that many bytes and do that many operations, which are called `unit`.
inline void report(benchmark::State& state, double bytes, double operations, const char* unit = "FLOP") {
  const auto rate = [&](double amount) {
    return benchmark::Counter(amount * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
  };
  state.counters["bytes"] = rate(bytes);
  state.counters[unit] = rate(operations);
}

}  // namespace baltoro::kernels
