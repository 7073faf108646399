// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/peak_loops.h"

#include <immintrin.h>

#include <array>
#include <cstring>

#include "baltoro/kernels/kernels.h"

namespace baltoro::cli {
namespace {

// Independent chains: enough to hide the latency of a multiply-add on two ports.
constexpr int kChains = 16;

// An instruction with the same two factors on each of twelve sums, the most operands that g++ 12 takes.
#define BALTORO_ON_12_SUMS(op)                                                                   \
  op " %13, %12, %0\n\t" op " %13, %12, %1\n\t" op " %13, %12, %2\n\t" op " %13, %12, %3\n\t" op \
     " %13, %12, %4\n\t" op " %13, %12, %5\n\t" op " %13, %12, %6\n\t" op " %13, %12, %7\n\t" op \
     " %13, %12, %8\n\t" op " %13, %12, %9\n\t" op " %13, %12, %10\n\t" op " %13, %12, %11\n\t"

float fma_scalar(std::int64_t rounds) {
  std::array<float, kChains> sums{};
  for (std::int64_t i = 0; i < rounds; ++i) {
    for (auto& sum : sums) sum = sum * 0.999F + 0.5F;
  }
  float all = 0;
  for (const float sum : sums) all += sum;
  return all;
}

// 12 chains: with the two factors all that 16 registers hold beside a spare one. In assembly, so that none is in
// memory.
constexpr int kAvx2Chains = 12;
__attribute__((target("avx2,fma"))) float fma_avx2(std::int64_t rounds) {
  const __m256 a = _mm256_set1_ps(0.001F), b = _mm256_set1_ps(0.5F), zero = _mm256_setzero_ps();
  __m256 s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero, s7 = zero, s8 = zero, s9 = zero,
         s10 = zero, s11 = zero;
  for (std::int64_t i = 0; i < rounds; ++i) {
    asm(BALTORO_ON_12_SUMS("vfmadd231ps")
        : "+x"(s0), "+x"(s1), "+x"(s2), "+x"(s3), "+x"(s4), "+x"(s5), "+x"(s6), "+x"(s7), "+x"(s8), "+x"(s9), "+x"(s10),
          "+x"(s11)
        : "x"(a), "x"(b));
  }
  __m256 sum = zero;
  for (const __m256 s : {s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11}) sum = _mm256_add_ps(sum, s);
  return _mm256_cvtss_f32(sum);
}

// What AVX2 has for 8-bit dot products where one factor is below 16, as INT4 codes are: eight products of pairs, whose
// 16-bit sums cannot overflow, and one product by ones that makes them 32 bits wide. Full bytes take more. (Other
// orders of the same are no faster: 295 to 305 GOP/s of a Zen 3 core, whose VPMADDUBSW alone would be 405.)
constexpr int kAvx2Int8Products = 8;
__attribute__((target("avx2"))) float dot_int8_avx2(std::int64_t rounds) {
  const __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(-1), ones = _mm256_set1_epi16(1);
  __m256i sum = _mm256_setzero_si256();
  for (std::int64_t i = 0; i < rounds; ++i) {
    __m256i p0, p1, p2, p3, p4, p5, p6, p7;
    asm("vpmaddubsw %10, %9, %0\n\t"
        "vpmaddubsw %10, %9, %1\n\t"
        "vpmaddubsw %10, %9, %2\n\t"
        "vpmaddubsw %10, %9, %3\n\t"
        "vpmaddubsw %10, %9, %4\n\t"
        "vpmaddubsw %10, %9, %5\n\t"
        "vpmaddubsw %10, %9, %6\n\t"
        "vpmaddubsw %10, %9, %7\n\t"
        "vpaddw %1, %0, %0\n\t"
        "vpaddw %3, %2, %2\n\t"
        "vpaddw %5, %4, %4\n\t"
        "vpaddw %7, %6, %6\n\t"
        "vpaddw %2, %0, %0\n\t"
        "vpaddw %6, %4, %4\n\t"
        "vpaddw %4, %0, %0\n\t"
        "vpmaddwd %11, %0, %0\n\t"
        "vpaddd %0, %8, %8\n\t"
        : "=&x"(p0), "=&x"(p1), "=&x"(p2), "=&x"(p3), "=&x"(p4), "=&x"(p5), "=&x"(p6), "=&x"(p7), "+x"(sum)
        : "x"(a), "x"(b), "x"(ones));
  }
  return static_cast<float>(_mm256_extract_epi32(sum, 0));
}

__attribute__((target("avx512f"))) float fma_avx512(std::int64_t rounds) {
  __m512 sums[kChains];
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  const __m512 a = _mm512_set1_ps(0.999F), b = _mm512_set1_ps(0.5F);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_fmadd_ps(sum, a, b);
  }
  for (int c = 1; c < kChains; ++c) sums[0] = _mm512_add_ps(sums[0], sums[c]);
  return _mm512_cvtss_f32(sums[0]);
}

__attribute__((target("avx512f,avx512bf16"))) float dot_bf16(std::int64_t rounds) {
  __m512 sums[kChains];
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  const __m512i a = _mm512_set1_epi16(0x3F80), b = _mm512_set1_epi16(0x3A83);  // 1 and 0.001
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }
  for (int c = 1; c < kChains; ++c) sums[0] = _mm512_add_ps(sums[0], sums[c]);
  return _mm512_cvtss_f32(sums[0]);
}

// In assembly, because g++ 12 copies the sums of the intrinsic (a quarter slower).
constexpr int kInt8Chains = 12;
__attribute__((target("avx512f,avx512vnni"))) float dot_int8(std::int64_t rounds) {
  const __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(-1), zero = _mm512_setzero_si512();
  __m512i s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero, s6 = zero, s7 = zero, s8 = zero, s9 = zero,
          s10 = zero, s11 = zero;
  for (std::int64_t i = 0; i < rounds; ++i) {
    asm(BALTORO_ON_12_SUMS("vpdpbusd")
        : "+v"(s0), "+v"(s1), "+v"(s2), "+v"(s3), "+v"(s4), "+v"(s5), "+v"(s6), "+v"(s7), "+v"(s8), "+v"(s9), "+v"(s10),
          "+v"(s11)
        : "v"(a), "v"(b));
  }
  __m512i sum = zero;
  for (const __m512i s : {s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11}) sum = _mm512_add_epi32(sum, s);
  return static_cast<float>(_mm512_cvtsi512_si32(sum));
}

__attribute__((target("avx2"))) std::uint64_t read_avx2(const std::byte* data, std::int64_t bytes) {
  __m256i sums[8];
  for (auto& sum : sums) sum = _mm256_setzero_si256();
  for (std::int64_t i = 0; i + 256 <= bytes; i += 256) {
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) {
      sums[k] = _mm256_xor_si256(sums[k], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + i + k * 32)));
    }
  }
  for (int k = 1; k < 8; ++k) sums[0] = _mm256_xor_si256(sums[0], sums[k]);
  return static_cast<std::uint64_t>(_mm256_extract_epi64(sums[0], 0));
}

__attribute__((target("avx512f"))) std::uint64_t read_avx512(const std::byte* data, std::int64_t bytes) {
  __m512i sums[4];
  for (auto& sum : sums) sum = _mm512_setzero_si512();
  for (std::int64_t i = 0; i + 256 <= bytes; i += 256) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) sums[k] = _mm512_xor_si512(sums[k], _mm512_loadu_si512(data + i + k * 64));
  }
  for (int k = 1; k < 4; ++k) sums[0] = _mm512_xor_si512(sums[0], sums[k]);
  return static_cast<std::uint64_t>(_mm512_cvtsi512_si32(sums[0]));
}

std::uint64_t read_plain(const std::byte* data, std::int64_t bytes) {
  std::uint64_t sum = 0;
  for (std::int64_t i = 0; i + 8 <= bytes; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data + i, 8);
    sum ^= word;
  }
  return sum;
}

}  // namespace

PeakLoop f32_loop() {
  if (kernels::isa_supported(kernels::Isa::kAvx512)) return {fma_avx512, kChains * 16 * 2};
  if (kernels::isa_supported(kernels::Isa::kAvx2)) return {fma_avx2, kAvx2Chains * 8 * 2};
  return {fma_scalar, kChains * 2};
}

std::optional<PeakLoop> bf16_loop() {
  if (!kernels::isa_supported(kernels::Isa::kAvx512Bf16)) return std::nullopt;
  return PeakLoop{dot_bf16, kChains * 32 * 2};
}

std::optional<PeakLoop> int8_loop() {
  if (kernels::isa_supported(kernels::Isa::kAvx512) && __builtin_cpu_supports("avx512vnni") != 0) {
    return PeakLoop{dot_int8, kInt8Chains * 64 * 2};
  }
  if (kernels::isa_supported(kernels::Isa::kAvx2)) return PeakLoop{dot_int8_avx2, kAvx2Int8Products * 32 * 2};
  return std::nullopt;
}

std::uint64_t read_all(const std::byte* data, std::int64_t bytes) {
  static const auto read = kernels::isa_supported(kernels::Isa::kAvx512) ? read_avx512
                           : kernels::isa_supported(kernels::Isa::kAvx2) ? read_avx2
                                                                         : read_plain;
  return read(data, bytes);
}

}  // namespace baltoro::cli
