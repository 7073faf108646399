// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace baltoro::model {

// The arithmetic of a run.
enum class Math : std::uint8_t {
  kExact,  // weights as released times BF16 activations, f32 accumulation and residual stream, BF16 KV
  kF32,    // the slow plain scalar reference: f32 everywhere, KV too
  kFast,   // as kExact, but weights in groups of 4 or 8 bits meet activations rounded to 8 bits in groups of 32
};

constexpr const char* math_name(Math math) {
  return math == Math::kF32 ? "f32" : (math == Math::kFast ? "fast" : "exact");
}

// Bytes of an element of the KV cache and of what the attention reads: F32 in `f32`, BF16 in the others.
constexpr std::int64_t element_bytes(Math math) { return math == Math::kF32 ? 4 : 2; }

// How the weights that every token uses are kept: see dense_copy.h.
enum class DenseWeights : std::uint8_t {
  kReleased,  // in place, as the checkpoint stores them
  kInt8,      // copied into memory with 8 bits an element
};

// "exact", "fast", "f32", each with ", dense int8" where that is so: for logs and banners.
constexpr const char* arithmetic_name(Math math, DenseWeights dense) {
  if (dense == DenseWeights::kReleased) return math_name(math);
  return math == Math::kF32 ? "f32, dense int8" : (math == Math::kFast ? "fast, dense int8" : "exact, dense int8");
}

constexpr const char* dense_name(DenseWeights dense) { return dense == DenseWeights::kInt8 ? "int8" : "released"; }

// Epsilon of q_a_layernorm and kv_a_layernorm, on which the public implementations differ.
enum class LatentNormEps : std::uint8_t {
  kConfig,  // rms_norm_eps, as vLLM
  kHf,      // 1e-6 whatever the config says, as Hugging Face's code
};

}  // namespace baltoro::model
