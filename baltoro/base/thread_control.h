// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>
#include <time.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

namespace baltoro {

// A set of CPUs as the system calls take it; making one allocates nothing.
struct CpuMask {
  static constexpr std::size_t kBits = 8 * sizeof(unsigned long);
  std::array<unsigned long, 65536 / kBits> words{};
  std::size_t bytes = sizeof(unsigned long);  // that are used

  static CpuMask of(std::span<const int> cpus);
  static CpuMask of_this_thread();  // where it may run; empty if the system does not tell
  bool has(int cpu) const;
};

// Lets a thread of this process (0: this one) run on those CPUs only. A refusal costs speed only.
void move_to(pid_t thread, const CpuMask& mask);

// Returns when `word` is no longer `seen`, when somebody wakes, or after `limit`; also for no reason.
inline constexpr std::chrono::microseconds kForever = std::chrono::microseconds::max();
void sleep_while(const std::atomic<std::uint32_t>& word, std::uint32_t seen, std::chrono::microseconds limit);
void wake_all(const std::atomic<std::uint32_t>& word);

inline void pause_cpu() { __builtin_ia32_pause(); }

// Polls `done` for about `limit`; true as soon as it holds.
template <typename Done>
bool spin_until(const Done& done, std::chrono::microseconds limit) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      pause_cpu();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return done();
}

// Whether the thread with that CPU time clock, which has work, is kept off its CPU; takes 20 us to see.
bool off_cpu(clockid_t clock);

}  // namespace baltoro
