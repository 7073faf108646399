// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace baltoro::cli {

// Loops that do nothing but what a CPU can do fastest, on registers: the yardsticks of `bench`. Each with the widest
// instructions of this machine, whatever the kernels use.

// A loop and the operations that one round of it does (a multiply-add counts two).
struct PeakLoop {
  float (*run)(std::int64_t rounds);  // the value depends on all the work
  std::int64_t operations_per_round;
};
PeakLoop f32_loop();                  // fused multiply-adds
std::optional<PeakLoop> bf16_loop();  // BF16 dot products with f32 sums; absent where the CPU has none
// Unsigned x signed 8-bit dot products with int32 sums (VNNI), or AVX2's fastest, for INT4 codes; else absent.
std::optional<PeakLoop> int8_loop();

// Reads all of it, with vector loads where there are some; whole multiples of 256 bytes.
std::uint64_t read_all(const std::byte* data, std::int64_t bytes);

}  // namespace baltoro::cli
