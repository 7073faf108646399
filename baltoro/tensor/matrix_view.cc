// SPDX-License-Identifier: Apache-2.0
#include "baltoro/tensor/matrix_view.h"

#include <cstring>

#include "baltoro/base/check.h"
#include "baltoro/tensor/int8_layout.h"

namespace baltoro::tensor {
namespace {

template <typename T>
T load(const std::byte* data, std::int64_t index) {
  T value;
  std::memcpy(&value, data + index * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return value;
}

float load_scale(const MatrixView& w, std::int64_t index) {
  switch (w.scale_dtype) {
    case DType::kBF16:
      return bf16_to_f32(load<bf16>(w.scale, index));
    case DType::kF16:
      return f16_to_f32(load<std::uint16_t>(w.scale, index));
    default:
      return load<float>(w.scale, index);
  }
}

}  // namespace

const char* weight_format_name(WeightFormat format) {
  switch (format) {
    case WeightFormat::kF32:
      return "f32";
    case WeightFormat::kBF16:
      return "bf16";
    case WeightFormat::kF16:
      return "f16";
    case WeightFormat::kFp8Block:
      return "fp8";
    case WeightFormat::kInt4Group:
      return "int4";
    case WeightFormat::kInt8Group:
      return "int8";
    case WeightFormat::kInt8RowGroup:
      return "int8_rows";
  }
  return "?";
}

MatrixView MatrixView::row_slice(std::int64_t begin, std::int64_t count) const {
  BALTORO_DCHECK(begin >= 0 && count >= 0 && begin + count <= rows, "row slice out of range");
  MatrixView slice = *this;
  slice.rows = count;
  slice.data = data + begin * row_bytes();
  if (format == WeightFormat::kFp8Block) {
    const std::int64_t first = begin + scale_row_offset;
    slice.scale = scale + first / block_rows * scale_cols() * 4;
    slice.scale_row_offset = first % block_rows;
  } else if (format == WeightFormat::kInt4Group) {
    slice.scale = scale + begin * scale_cols() * static_cast<std::int64_t>(dtype_bytes(scale_dtype));
  } else if (format == WeightFormat::kInt8Group) {
    slice.scale = scale + begin * scale_cols() * static_cast<std::int64_t>(sizeof(bf16));
  } else if (format == WeightFormat::kInt8RowGroup) {
    BALTORO_DCHECK(begin % kInt8GroupRows == 0 && count % kInt8GroupRows == 0, "whole groups of rows");
    slice.scale = scale + begin / kInt8GroupRows * scale_cols() * static_cast<std::int64_t>(sizeof(bf16));
  }
  return slice;
}

float matrix_element(const MatrixView& w, std::int64_t row, std::int64_t col) {
  const std::int64_t index = row * w.cols + col;
  switch (w.format) {
    case WeightFormat::kF32:
      return load<float>(w.data, index);
    case WeightFormat::kBF16:
      return bf16_to_f32(load<bf16>(w.data, index));
    case WeightFormat::kF16:
      return f16_to_f32(load<std::uint16_t>(w.data, index));
    case WeightFormat::kFp8Block: {
      const std::int64_t block = (row + w.scale_row_offset) / w.block_rows * w.scale_cols() + col / w.block_cols;
      return f8e4m3_to_f32(load<std::uint8_t>(w.data, index)) * load<float>(w.scale, block);
    }
    case WeightFormat::kInt4Group: {
      const auto byte = load<std::uint8_t>(w.data, index / 2);
      const int stored = (col % 2) == 0 ? byte & 15 : byte >> 4;
      return static_cast<float>(stored - 8) * load_scale(w, row * w.scale_cols() + col / w.group);
    }
    case WeightFormat::kInt8Group: {
      const int q = load<std::uint8_t>(w.data, row * w.row_bytes() + int8_place(col)) - 128;
      return static_cast<float>(q) * bf16_to_f32(load<bf16>(w.scale, row * w.scale_cols() + col / kInt8ScaleCols));
    }
    case WeightFormat::kInt8RowGroup: {
      const std::int64_t group = row / kInt8GroupRows;
      const std::int64_t block = group * kInt8GroupRows * w.row_bytes() + col / kInt8BlockCols * kInt8BlockBytes;
      const std::int64_t place = block + int8_block_place(row % kInt8GroupRows, col % kInt8BlockCols);
      return static_cast<float>(load<std::uint8_t>(w.data, place) - 128) *
             bf16_to_f32(load<bf16>(w.scale, group * w.scale_cols() + col));
    }
  }
  return 0;
}

}  // namespace baltoro::tensor
