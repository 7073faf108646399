// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/thread_control.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

namespace baltoro {
namespace {

using std::chrono::microseconds;

constexpr microseconds kLook{20};

std::int64_t cpu_nanoseconds(clockid_t clock) {
  timespec time{};
  return clock_gettime(clock, &time) == 0 ? time.tv_sec * 1'000'000'000 + time.tv_nsec : -1;
}

}  // namespace

CpuMask CpuMask::of(std::span<const int> cpus) {
  CpuMask mask;
  for (const int cpu : cpus) {
    const auto word = static_cast<std::size_t>(cpu) / kBits;
    mask.words[word] |= 1UL << (static_cast<std::size_t>(cpu) % kBits);
    mask.bytes = std::max(mask.bytes, (word + 1) * sizeof(unsigned long));
  }
  return mask;
}

CpuMask CpuMask::of_this_thread() {
  CpuMask mask;
  const auto bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask.words, mask.words.data());
  if (bytes > 0) mask.bytes = static_cast<std::size_t>(bytes);
  return mask;
}

bool CpuMask::has(int cpu) const {
  return (words[static_cast<std::size_t>(cpu) / kBits] >> (static_cast<std::size_t>(cpu) % kBits) & 1) != 0;
}

void move_to(pid_t thread, const CpuMask& mask) {
  syscall(SYS_sched_setaffinity, thread, mask.bytes, mask.words.data());
}

void sleep_while(const std::atomic<std::uint32_t>& word, std::uint32_t seen, microseconds limit) {
  const timespec time{.tv_sec = limit.count() / 1'000'000, .tv_nsec = limit.count() % 1'000'000 * 1000};
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, limit == kForever ? nullptr : &time, nullptr, 0);
}

void wake_all(const std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, std::numeric_limits<int>::max(), nullptr, nullptr, 0);
}

bool off_cpu(clockid_t clock) {
  const std::int64_t before = cpu_nanoseconds(clock);
  spin_until([] { return false; }, kLook);
  const std::int64_t after = cpu_nanoseconds(clock);
  return before >= 0 && after - before < std::chrono::nanoseconds(kLook).count() / 4;
}

}  // namespace baltoro
