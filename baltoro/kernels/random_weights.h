// SPDX-License-Identifier: Apache-2.0
// Random weights of every storage format, for the tests and benches of this room.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "baltoro/tensor/dtype.h"
#include "baltoro/tensor/int8_encode.h"
#include "baltoro/tensor/matrix_view.h"

namespace baltoro::kernels {

// Uniform in [-1, 1] times a power of two from 2^-3 to 2^0, so that magnitudes differ.
inline float random_float(std::mt19937_64& rng) {
  const float mantissa = static_cast<float>(static_cast<std::int64_t>(rng() >> 40) - (1 << 23)) * 0x1p-23f;
  return std::ldexp(mantissa, -static_cast<int>(rng() % 4));
}

inline std::int64_t random_below(std::mt19937_64& rng, std::int64_t n) {
  return static_cast<std::int64_t>(rng() % static_cast<std::uint64_t>(n));
}

// What a random weight looks like beside its shape.
struct WeightKind {
  tensor::WeightFormat format = tensor::WeightFormat::kBF16;
  std::int32_t group = 32;                           // kInt4Group
  tensor::DType scale_dtype = tensor::DType::kBF16;  // kInt4Group
  std::int32_t block_rows = 128;                     // kFp8Block
  std::int32_t block_cols = 128;
  std::int64_t misalignment = 0;  // bytes before the data and the scales
};

// Owns the bytes that its view reads. The bytes end with the data, so that a read past the end shows under asan.
struct RandomWeight {
  std::vector<std::byte> data;
  std::vector<std::byte> scale;
  tensor::MatrixView view;
};

inline void put_float(std::byte* to, tensor::DType dtype, float value) {
  const tensor::bf16 brain = tensor::f32_to_bf16(value);
  const std::uint16_t half = tensor::f32_to_f16(value);
  switch (dtype) {
    case tensor::DType::kBF16:
      std::memcpy(to, &brain, 2);
      return;
    case tensor::DType::kF16:
      std::memcpy(to, &half, 2);
      return;
    default:
      std::memcpy(to, &value, 4);
  }
}

inline void fill_floats(std::vector<std::byte>& bytes, std::int64_t from, tensor::DType dtype, bool positive,
                        std::mt19937_64& rng) {
  const auto width = tensor::dtype_bytes(dtype);
  for (auto i = static_cast<std::size_t>(from); i < bytes.size(); i += width) {
    const float value = random_float(rng);
    put_float(bytes.data() + i, dtype, positive ? 0x1p-6f + std::fabs(value) * 0x1p-4f : value);
  }
}

inline RandomWeight random_weight(const WeightKind& kind, std::int64_t rows, std::int64_t cols, std::mt19937_64& rng) {
  using tensor::DType;
  using tensor::WeightFormat;
  RandomWeight weight;
  weight.view = {.format = kind.format, .rows = rows, .cols = cols, .scale_dtype = kind.scale_dtype};
  weight.view.group = kind.group;
  weight.view.block_rows = kind.block_rows;
  weight.view.block_cols = kind.block_cols;
  weight.data.resize(static_cast<std::size_t>(kind.misalignment + weight.view.data_bytes()));
  weight.scale.resize(static_cast<std::size_t>(kind.misalignment + weight.view.scale_bytes()));
  switch (kind.format) {
    case WeightFormat::kF32:
      fill_floats(weight.data, kind.misalignment, DType::kF32, false, rng);
      break;
    case WeightFormat::kBF16:
      fill_floats(weight.data, kind.misalignment, DType::kBF16, false, rng);
      break;
    case WeightFormat::kF16:
      fill_floats(weight.data, kind.misalignment, DType::kF16, false, rng);
      break;
    case WeightFormat::kInt4Group:
      for (std::byte& byte : weight.data) byte = static_cast<std::byte>(rng());
      fill_floats(weight.scale, kind.misalignment, kind.scale_dtype, true, rng);
      break;
    case WeightFormat::kFp8Block:
      for (std::byte& byte : weight.data) {
        do byte = static_cast<std::byte>(rng());
        while ((byte & std::byte{0x7F}) == std::byte{0x7F});  // NaN
      }
      fill_floats(weight.scale, kind.misalignment, DType::kF32, true, rng);
      break;
    case WeightFormat::kInt8Group:
    case WeightFormat::kInt8RowGroup: {
      const std::int64_t at_once = tensor::int8_rows_at_once(kind.format);
      std::vector<float> some(static_cast<std::size_t>(at_once * cols));
      for (std::int64_t r = 0; r < rows; r += at_once) {
        for (float& value : some) value = random_float(rng);
        const bool finite = tensor::encode_int8(weight.view, r, some.data(), weight.data.data() + kind.misalignment,
                                                weight.scale.data() + kind.misalignment);
        if (!finite) std::abort();
      }
    }
  }
  weight.view.data = weight.data.data() + kind.misalignment;
  weight.view.scale = weight.scale.data() + kind.misalignment;
  return weight;
}

}  // namespace baltoro::kernels
