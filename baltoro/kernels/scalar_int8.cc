// SPDX-License-Identifier: Apache-2.0
// The slow truth of the 8-bit kernels: every other variant gives these bits.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "baltoro/base/check.h"
#include "baltoro/kernels/int8.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/tables.h"

namespace baltoro::kernels {
namespace {

using tensor::kInt8Chunk;
using tensor::kInt8LaneCols;
using tensor::kInt8Lanes;
using tensor::MatrixView;
using tensor::WeightFormat;

template <typename T>
void put(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof(T));
}
template <typename T>
T get(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// Group i of a chunk: `count` of its 32 columns exist.
void quantize_group(const float* x, std::int64_t count, std::int64_t i, std::byte* chunk) {
  float highest = 0;
  bool finite = true;
  for (std::int64_t c = 0; c < count; ++c) {
    finite = finite && std::isfinite(x[c]);
    highest = std::max(highest, std::fabs(x[c]));
  }
  const bool zero = !finite || highest < kSmallestGroup;
  const float inverse = zero ? 0 : 127.0f / highest;
  std::int32_t sum = 0;
  for (std::int64_t c = 0; c < kInt8LaneCols; ++c) {
    const float code = c < count && !zero ? std::nearbyint(x[c] * inverse) : 0.0f;
    put(chunk + tensor::int8_place(i * kInt8LaneCols + c), static_cast<std::int8_t>(code));
    sum += static_cast<std::int32_t>(code);
  }
  const float scale = finite ? (zero ? 0 : highest / 127.0f) : std::numeric_limits<float>::quiet_NaN();
  put(chunk + kRowScales + tensor::int8_lane(i) * 4, scale);
  put(chunk + kRowOffsets + tensor::int8_lane(i) * 4, -8 * sum);
}

// The stored code of an element and the scale of its group.
struct Element {
  std::int32_t code = 0;
  float scale = 0;
};

Element element(const MatrixView& w, std::int64_t row, std::int64_t col) {
  if (w.format == WeightFormat::kInt8Group) {
    const auto scale = get<bf16>(w.scale + (row * w.scale_cols() + col / tensor::kInt8ScaleCols) * 2);
    return {std::to_integer<std::int32_t>(w.data[row * w.row_bytes() + tensor::int8_place(col)]),
            tensor::bf16_to_f32(scale)};
  }
  const int byte = std::to_integer<int>(w.data[row * w.row_bytes() + col / 2]);
  const std::byte* scale =
      w.scale + (row * w.scale_cols() + col / w.group) * static_cast<std::int64_t>(tensor::dtype_bytes(w.scale_dtype));
  const std::int32_t code = col % 2 == 0 ? byte & 15 : byte >> 4;
  switch (w.scale_dtype) {
    case tensor::DType::kBF16:
      return {code, tensor::bf16_to_f32(get<bf16>(scale))};
    case tensor::DType::kF16:
      return {code, tensor::f16_to_f32(get<std::uint16_t>(scale))};
    default:
      return {code, get<float>(scale)};
  }
}

// Lanes are added as a tree: i and i + 8, then i and i + 4, and so on.
float sum_of_lanes(float* lanes) {
  for (std::int64_t width = kInt8Lanes / 2; width > 0; width /= 2) {
    for (std::int64_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

float dot(const MatrixView& w, std::int64_t row, const std::byte* x) {
  const std::int32_t offset_factor = w.format == WeightFormat::kInt8Group ? 16 : 1;
  float lanes[kInt8Lanes] = {};
  for (std::int64_t first = 0; first < w.cols; first += kInt8LaneCols) {
    const std::byte* chunk = x + first / kInt8Chunk * kRowChunkBytes;
    const std::int64_t lane = tensor::int8_lane(first % kInt8Chunk / kInt8LaneCols);
    std::int32_t sum = get<std::int32_t>(chunk + kRowOffsets + lane * 4) * offset_factor;
    for (std::int64_t c = first; c < std::min(first + kInt8LaneCols, w.cols); ++c) {
      sum += element(w, row, c).code * get<std::int8_t>(chunk + tensor::int8_place(c % kInt8Chunk));
    }
    const float scale = element(w, row, first).scale * get<float>(chunk + kRowScales + lane * 4);
    lanes[lane] = std::fma(static_cast<float>(sum), scale, lanes[lane]);
  }
  return sum_of_lanes(lanes);
}

}  // namespace

void scalar_quantize_row(const float* x, std::byte* row, std::int64_t begin, std::int64_t end, std::int64_t cols) {
  BALTORO_DCHECK(begin % kInt8LaneCols == 0 && (end % kInt8LaneCols == 0 || end == cols), "whole groups");
  const std::int64_t padded = end == cols ? tensor::int8_chunks(cols) * kInt8Chunk : end;
  for (std::int64_t c = begin; c < padded; c += kInt8LaneCols) {
    const std::int64_t count = std::clamp<std::int64_t>(end - c, 0, kInt8LaneCols);
    quantize_group(x + (std::min(c, end) - begin), count, c % kInt8Chunk / kInt8LaneCols,
                   row + c / kInt8Chunk * kRowChunkBytes);
  }
}

void scalar_linear_int8(const MatrixView& w, const LinearArgs<std::byte>& args, std::int64_t row_begin,
                        std::int64_t row_end, std::byte*) {
  BALTORO_DCHECK(row_begin >= 0 && row_begin <= row_end && row_end <= w.rows, "row range out of range");
  BALTORO_DCHECK(reads_int8(w), "a weight of 8-bit or regular 4-bit groups");
  for (std::int64_t r = row_begin; r < row_end; ++r) {
    for (std::int64_t t = 0; t < args.tokens; ++t) {
      const float value = dot(w, r, args.x_row(t));
      float* y = args.y_row(t) + r;
      *y = args.y_weights != nullptr ? std::fma(args.y_weights[t], value, *y) : value;
    }
  }
}

void int4_lane_scales_slow(const MatrixView& w, std::int64_t row, float* to) {
  for (std::int64_t c = 0; c < tensor::int8_chunks(w.cols) * kInt8Chunk; c += kInt8LaneCols) {
    to[c / kInt8Chunk * kInt8Lanes + tensor::int8_lane(c % kInt8Chunk / kInt8LaneCols)] =
        c < w.cols ? element(w, row, c).scale : 0;
  }
}

bool reads_int8(const MatrixView& w) {
  if (w.format == WeightFormat::kInt4Group) return w.group % kInt8LaneCols == 0;
  return w.format == WeightFormat::kInt8Group;
}

std::int64_t int8_row_bytes(std::int64_t cols) { return tensor::int8_chunks(cols) * kRowChunkBytes; }

std::int64_t linear_int8_scratch_bytes(std::int64_t cols) {
  const std::int64_t chunks = tensor::int8_chunks(cols);
  const std::int64_t lanes = (kInt8PanelRows * chunks + kInt8Sums) * 4 * kInt8Lanes;
  return lanes + chunks * kInt8PanelRows * kInt8Chunk;
}

}  // namespace baltoro::kernels
