// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "baltoro/base/huge_pages.h"
#include "baltoro/base/result.h"
#include "baltoro/base/thread_pool.h"

namespace baltoro::cli {

// Rates of a number of threads: what no program on them can exceed.
struct PeakRates {
  double read_bytes_per_s = 0;  // sequential reads of a buffer that no cache holds
  double f32_flop_per_s = 0;    // fused multiply-adds on registers, two operations each
  double bf16_flop_per_s = 0;   // BF16 dot products with f32 sums; 0 where the CPU has none
  double int8_op_per_s = 0;     // 8-bit dot products with int32 sums (VNNI or AVX2); 0 where the CPU has none
};

struct MachinePeaks {
  PeakRates all = {};  // of all threads of the run
  PeakRates one = {};  // of one thread
  int threads = 0;
  std::int64_t buffer_bytes = 0;
  std::int64_t huge_page_bytes = 0;  // of the buffer, as far as the system says
};

// The arithmetic that a figure is held against.
enum class Arithmetic : std::uint8_t { kF32, kBf16, kInt8 };
double rate_of(const PeakRates& peaks, Arithmetic arithmetic);

// Measures the machine: once in full, and again briefly beside each figure, because both the memory's and the cores'
// rates of shared machines wander by a factor of two within a minute. Keeps its buffer and its threads (asleep) in
// between. One thread at a time.
class MachineProbe {
 public:
  // Threads and CPUs as place_workers has them. kResourceExhausted when the buffer cannot be had.
  static Result<MachineProbe> create(const PoolOptions& pool, std::int64_t buffer_bytes);

  // Best of several passes of each; about two seconds and a read of the buffer a pass.
  MachinePeaks peaks();
  // One pass of each on all threads; `one` is left out.
  MachinePeaks brief_peaks();
  // The better of two reads of the whole buffer by all threads.
  double read_bytes_per_s();
  // A few milliseconds of arithmetic on all threads; where the CPU has no such instructions, of f32.
  double operations_per_s(Arithmetic arithmetic);

  int threads() const { return pool_->size(); }
  std::int64_t buffer_bytes() const { return static_cast<std::int64_t>(buffer_.size()); }

 private:
  MachineProbe(std::vector<WorkerPlace> places, HugeBuffer buffer);
  PeakRates rates(ThreadPool& pool);
  std::unique_ptr<ThreadPool> pool_;
  HugeBuffer buffer_;
  std::int64_t huge_bytes_ = 0;
};

// What to read when nothing is asked: 4 GiB, less on small machines, so that weights stay in the page cache beside it.
std::int64_t default_probe_bytes();

}  // namespace baltoro::cli
