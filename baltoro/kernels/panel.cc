// SPDX-License-Identifier: Apache-2.0
#include "baltoro/kernels/panel.h"

#include <algorithm>
#include <cstring>

#include "baltoro/tensor/int8_encode.h"

namespace baltoro::kernels {
namespace {

using tensor::DType;
using tensor::MatrixView;
using tensor::WeightFormat;

template <typename T>
T load(const std::byte* data, std::int64_t index) {
  T value;
  std::memcpy(&value, data + index * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// scales[i] = the scale of group i / repeat, as f32, for i < total.
template <typename T, typename Widen>
void widen(const std::byte* from, std::int64_t repeat, std::int64_t total, const Widen& to_f32, float* scales) {
  if (repeat == 1) {
    for (std::int64_t i = 0; i < total; ++i) scales[i] = to_f32(load<T>(from, i));
    return;
  }
  for (std::int64_t i = 0, group = 0; i < total; ++group) {
    const float scale = to_f32(load<T>(from, group));
    for (const std::int64_t end = std::min(i + repeat, total); i < end; ++i) scales[i] = scale;
  }
}

}  // namespace

bool has_regular_scales(const MatrixView& w) {
  switch (w.format) {
    case WeightFormat::kFp8Block:
      return w.block_cols % kScaleCols == 0;
    case WeightFormat::kInt4Group:
      return w.group % kScaleCols == 0;
    case WeightFormat::kInt8Group:
    case WeightFormat::kInt8RowGroup:
      return false;  // their elements are in another order
    default:
      return true;
  }
}

void widen_scales(const MatrixView& w, std::int64_t row, float* scales) {
  const auto same = [](float value) { return value; };
  const std::int64_t total = (w.cols + kScaleCols - 1) / kScaleCols;
  if (w.format == WeightFormat::kFp8Block) {
    const std::byte* from = w.scale + (row + w.scale_row_offset) / w.block_rows * w.scale_cols() * 4;
    return widen<float>(from, w.block_cols / kScaleCols, total, same, scales);
  }
  const std::int64_t repeat = w.group / kScaleCols;
  const std::byte* from =
      w.scale + row * w.scale_cols() * static_cast<std::int64_t>(tensor::dtype_bytes(w.scale_dtype));
  switch (w.scale_dtype) {
    case DType::kBF16:
      return widen<bf16>(from, repeat, total, tensor::bf16_to_f32, scales);
    case DType::kF16:
      return widen<std::uint16_t>(from, repeat, total, tensor::f16_to_f32, scales);
    default:
      return widen<float>(from, repeat, total, same, scales);
  }
}

Panel packed_panel(const MatrixView& w, std::int64_t begin, std::int64_t count, std::byte* scratch) {
  Panel panel{.data = w.data + begin * w.row_bytes(), .row_bytes = w.row_bytes(), .rows = count, .cols = w.cols};
  if (w.format != WeightFormat::kFp8Block && w.format != WeightFormat::kInt4Group) return panel;
  float* scales = reinterpret_cast<float*>(scratch) + count * scratch_row_floats(w.cols);
  panel.scales = scales;
  panel.scale_stride = scratch_scale_floats(w.cols);
  for (std::int64_t r = 0; r < count; ++r) widen_scales(w, begin + r, scales + r * panel.scale_stride);
  return panel;
}

Panel slow_panel(const MatrixView& w, std::int64_t begin, std::int64_t count, std::byte* scratch) {
  const std::int64_t stride = scratch_row_floats(w.cols);
  auto* rows = reinterpret_cast<float*>(scratch);
  for (std::int64_t r = 0; r < count; ++r) {
    float* to = rows + r * stride;
    if (w.format == WeightFormat::kInt8Group) {
      const std::byte* scale = w.scale + (begin + r) * w.scale_cols() * static_cast<std::int64_t>(sizeof(bf16));
      tensor::decode_int8_row(w.data + (begin + r) * w.row_bytes(), scale, w.cols, to);
      continue;
    }
    for (std::int64_t c = 0; c < w.cols; ++c) to[c] = tensor::matrix_element(w, begin + r, c);
  }
  return {.data = scratch, .row_bytes = stride * 4, .rows = count, .cols = w.cols};
}

}  // namespace baltoro::kernels
