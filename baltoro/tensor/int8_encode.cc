// SPDX-License-Identifier: Apache-2.0
#include "baltoro/tensor/int8_encode.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "baltoro/base/check.h"
#include "baltoro/tensor/dtype.h"
#include "baltoro/tensor/int8_layout.h"

namespace baltoro::tensor {
namespace {

constexpr float kSmallestScale = 0x1p-126f;

// Rounds to the nearest even whole number, |x| < 2^22: below 2^24 the sum has no room for a fraction.
float round_even(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

// 32 values that share a scale, those behind `count` zero: their stored codes and the scale.
bf16 encode_group(const float* x, std::int64_t count, std::uint8_t* q) {
  float highest = 0;
  for (std::int64_t i = 0; i < count; ++i) highest = std::max(highest, std::fabs(x[i]));
  bf16 bits = f32_to_bf16(highest / 127);
  if (bf16_to_f32(bits) < kSmallestScale) bits = 0;
  const float scale = bf16_to_f32(bits), inverse = scale > 0 ? 1 / scale : 0;
  for (std::int64_t i = 0; i < kInt8ScaleCols; ++i) {
    const float code = i < count ? std::clamp(round_even(x[i] * inverse), -127.0f, 127.0f) : 0.0f;
    q[i] = static_cast<std::uint8_t>(static_cast<int>(code) + 128);
  }
  return bits;
}

void encode_row(const float* x, std::int64_t cols, std::byte* data, std::byte* scale) {
  const std::int64_t groups = int8_chunks(cols) * (kInt8Chunk / kInt8ScaleCols);
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t first = g * kInt8ScaleCols;
    std::uint8_t q[kInt8ScaleCols];
    const bf16 bits =
        encode_group(x + std::min(first, cols), std::clamp<std::int64_t>(cols - first, 0, kInt8ScaleCols), q);
    std::memcpy(scale + g * 2, &bits, sizeof(bits));
    for (std::int64_t c = 0; c < kInt8ScaleCols; ++c) data[int8_place(first + c)] = static_cast<std::byte>(q[c]);
  }
}

// 32 rows.
void encode_row_group(const float* x, std::int64_t cols, std::byte* data, std::byte* scale) {
  for (std::int64_t c = 0; c < int8_padded_cols(cols); ++c) {
    float column[kInt8GroupRows];
    const std::int64_t count = c < cols ? kInt8GroupRows : 0;
    for (std::int64_t r = 0; r < count; ++r) column[r] = x[r * cols + c];
    std::uint8_t q[kInt8GroupRows];
    const bf16 bits = encode_group(column, count, q);
    std::memcpy(scale + c * 2, &bits, sizeof(bits));
    std::byte* block = data + c / kInt8BlockCols * kInt8BlockBytes;
    for (std::int64_t r = 0; r < kInt8GroupRows; ++r) {
      block[int8_block_place(r, c % kInt8BlockCols)] = static_cast<std::byte>(q[r]);
    }
  }
}

}  // namespace

std::int64_t int8_rows_at_once(WeightFormat format) {
  return format == WeightFormat::kInt8RowGroup ? kInt8GroupRows : 1;
}

bool encode_int8(const MatrixView& w, std::int64_t row, const float* x, std::byte* data, std::byte* scale) {
  const std::int64_t rows = int8_rows_at_once(w.format);
  BALTORO_DCHECK(w.rows % rows == 0 && row % rows == 0, "whole groups of rows");
  if (!std::all_of(x, x + rows * w.cols, [](float value) { return std::isfinite(value); })) return false;
  const auto encode = w.format == WeightFormat::kInt8RowGroup ? encode_row_group : encode_row;
  encode(x, w.cols, data + row * w.row_bytes(), scale + row / rows * w.scale_cols() * std::int64_t{sizeof(bf16)});
  return true;
}

void decode_int8_row(const std::byte* data, const std::byte* scale, std::int64_t cols, float* x) {
  for (std::int64_t first = 0; first < cols; first += kInt8ScaleCols) {
    bf16 bits = 0;
    std::memcpy(&bits, scale + first / kInt8ScaleCols * 2, sizeof(bits));
    const float factor = bf16_to_f32(bits);
    for (std::int64_t c = first; c < std::min(first + kInt8ScaleCols, cols); ++c) {
      x[c] = static_cast<float>(std::to_integer<int>(data[int8_place(c)]) - 128) * factor;
    }
  }
}

}  // namespace baltoro::tensor
