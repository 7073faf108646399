// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/machine_probe.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>

#include "baltoro/base/clock.h"
#include "baltoro/base/machine_memory.h"
#include "baltoro/cli/peak_loops.h"

namespace baltoro::cli {
namespace {

constexpr int kPasses = 5;
constexpr std::int64_t kReadGrain = 4 << 20;
constexpr std::int64_t kRounds = 2'000'000;     // of a full measurement, a thread
constexpr std::int64_t kBriefRounds = 400'000;  // some milliseconds

// One pass over all workers of a pool.
double read_once(ThreadPool& pool, const std::byte* data, std::int64_t bytes) {
  std::atomic<std::uint64_t> sink{0};
  const double start = steady_seconds();
  pool.parallel_for(bytes, kReadGrain, [&](std::int64_t begin, std::int64_t end, int) {
    sink.fetch_xor(read_all(data + begin, end - begin), std::memory_order_relaxed);
  });
  return static_cast<double>(bytes) / (steady_seconds() - start);
}

double compute_once(ThreadPool& pool, const PeakLoop& loop, std::int64_t rounds) {
  std::atomic<float> sink{0};
  // More pieces than workers: a worker that was held up hands its share to the others.
  const std::int64_t pieces = std::int64_t{8} * pool.size();
  const double start = steady_seconds();
  pool.parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) sink.store(loop.run(rounds / 8), std::memory_order_relaxed);
  });
  const double operations = static_cast<double>(pieces * (rounds / 8) * loop.operations_per_round);
  return operations / (steady_seconds() - start);
}

template <typename Once>
double best_of(const Once& once) {
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) best = std::max(best, once());
  return best;
}

double compute_rate(ThreadPool& pool, const std::optional<PeakLoop>& loop) {
  if (!loop) return 0;
  return best_of([&] { return compute_once(pool, *loop, kRounds); });
}

// Anonymous memory of this process in huge pages; 0 where the system does not say.
std::int64_t anonymous_huge_bytes() {
  std::FILE* file = std::fopen("/proc/self/smaps_rollup", "re");
  if (file == nullptr) return 0;
  char line[256];
  long long kib = 0;
  while (std::fgets(line, sizeof line, file) != nullptr) {
    if (std::sscanf(line, "AnonHugePages: %lld", &kib) == 1) break;
  }
  std::fclose(file);
  return kib * 1024;
}

}  // namespace

double rate_of(const PeakRates& peaks, Arithmetic arithmetic) {
  const double wanted = arithmetic == Arithmetic::kBf16   ? peaks.bf16_flop_per_s
                        : arithmetic == Arithmetic::kInt8 ? peaks.int8_op_per_s
                                                          : peaks.f32_flop_per_s;
  return wanted > 0 ? wanted : peaks.f32_flop_per_s;
}

std::int64_t default_probe_bytes() {
  constexpr std::int64_t kMost = std::int64_t{4} << 30;
  const auto memory = machine_memory();
  if (!memory.ok()) return kMost / 4;
  return std::clamp<std::int64_t>(memory->usable() / 8, 64 << 20, kMost);
}

Result<MachineProbe> MachineProbe::create(const PoolOptions& pool, std::int64_t buffer_bytes) {
  constexpr auto kPage = static_cast<std::int64_t>(kHugePage);
  const std::int64_t bytes = std::max(kPage, buffer_bytes / kPage * kPage);
  BALTORO_TRY(HugeBuffer buffer, HugeBuffer::create(static_cast<std::size_t>(bytes)));
  BALTORO_TRY(std::vector<WorkerPlace> places, place_workers(cpu_facts(), pool));
  return MachineProbe(std::move(places), std::move(buffer));
}

MachineProbe::MachineProbe(std::vector<WorkerPlace> places, HugeBuffer buffer)
    : pool_(std::make_unique<ThreadPool>(std::move(places))), buffer_(std::move(buffer)) {
  const std::int64_t before = anonymous_huge_bytes();
  std::byte* const data = buffer_.data();
  pool_->parallel_for(buffer_bytes(), kReadGrain, [&](std::int64_t begin, std::int64_t end, int) {
    std::memset(data + begin, 1, static_cast<std::size_t>(end - begin));
  });
  huge_bytes_ = std::clamp<std::int64_t>(anonymous_huge_bytes() - before, 0, buffer_bytes());
}

PeakRates MachineProbe::rates(ThreadPool& pool) {
  PeakRates rates;
  rates.read_bytes_per_s = best_of([&] { return read_once(pool, buffer_.data(), buffer_bytes()); });
  rates.f32_flop_per_s = compute_rate(pool, f32_loop());
  rates.bf16_flop_per_s = compute_rate(pool, bf16_loop());
  rates.int8_op_per_s = compute_rate(pool, int8_loop());
  return rates;
}

MachinePeaks MachineProbe::peaks() {
  MachinePeaks peaks{.threads = threads(), .buffer_bytes = buffer_bytes(), .huge_page_bytes = huge_bytes_};
  peaks.all = rates(*pool_);
  ThreadPool single(1);
  peaks.one = threads() == 1 ? peaks.all : rates(single);
  return peaks;
}

MachinePeaks MachineProbe::brief_peaks() {
  MachinePeaks peaks{.threads = threads(), .buffer_bytes = buffer_bytes(), .huge_page_bytes = huge_bytes_};
  peaks.all = {.read_bytes_per_s = read_bytes_per_s(), .f32_flop_per_s = operations_per_s(Arithmetic::kF32)};
  if (bf16_loop()) peaks.all.bf16_flop_per_s = operations_per_s(Arithmetic::kBf16);
  if (int8_loop()) peaks.all.int8_op_per_s = operations_per_s(Arithmetic::kInt8);
  return peaks;
}

// The better of two, after some milliseconds of work: workers that still wake, or share a core with the caller, must
// not pass for slow memory.
double MachineProbe::read_bytes_per_s() {
  (void)operations_per_s(Arithmetic::kF32);
  const double first = read_once(*pool_, buffer_.data(), buffer_bytes());
  return std::max(first, read_once(*pool_, buffer_.data(), buffer_bytes()));
}

double MachineProbe::operations_per_s(Arithmetic arithmetic) {
  std::optional<PeakLoop> loop = f32_loop();
  if (arithmetic == Arithmetic::kBf16 && bf16_loop()) loop = bf16_loop();
  if (arithmetic == Arithmetic::kInt8 && int8_loop()) loop = int8_loop();
  double best = 0;  // of three: one alone shows the waking of the workers too, and a limit set too low would flatter
  for (int pass = 0; pass < 3; ++pass) best = std::max(best, compute_once(*pool_, *loop, kBriefRounds));
  return best;
}

}  // namespace baltoro::cli
