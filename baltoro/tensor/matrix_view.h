// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "baltoro/tensor/dtype.h"
#include "baltoro/tensor/int8_layout.h"

namespace baltoro::tensor {

// How the elements of a linear weight are stored: as released, or (kInt8Group, kInt8RowGroup) as our own copy in
// memory.
enum class WeightFormat : std::uint8_t {
  kF32,
  kBF16,
  kF16,
  kFp8Block,   // F8_E4M3 [rows, cols], F32 scale [ceil(rows/block_rows), ceil(cols/block_cols)]: W = w * scale of its
               // block
  kInt4Group,  // nibbles [rows, cols/2], low nibble first, stored = q + 8; scale [rows, cols/group]: W = q * scale of
               // its group
  kInt8Group,  // bytes in the order of int8_layout.h, rows of whole chunks, stored = q + 128, |q| <= 127; BF16 scale
               // [rows, 16 * chunks]: W = q * scale of its 32 columns
  kInt8RowGroup,  // the same by blocks of int8_layout.h, rows a multiple of 32; BF16 scale [rows / 32, padded cols]: W
                  // = q * scale of its 32 rows, for x W
};
const char* weight_format_name(WeightFormat format);

// A linear weight W [rows = out, cols = in] exactly as the checkpoint (or the copy) stores it. Non-owning: the memory
// (usually a file mapping) must outlive the view. `data` and `scale` need no alignment: files give none, so read
// through memcpy or unaligned loads.
struct MatrixView {
  WeightFormat format = WeightFormat::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const std::byte* data = nullptr;
  const std::byte* scale = nullptr;  // kFp8Block: F32. kInt4Group: scale_dtype
  DType scale_dtype = DType::kBF16;  // kInt4Group: BF16, F16 or F32
  std::int32_t group = 0;            // kInt4Group: columns a scale, even, divides cols
  std::int32_t block_rows = 0;       // kFp8Block
  std::int32_t block_cols = 0;

  // Inline, all four: kernels ask beside their inner loops, where a call costs them every register.
  std::int64_t row_bytes() const;  // bytes of `data` a row takes (kInt8RowGroup: a 32nd of what 32 rows take)
  std::int64_t data_bytes() const { return rows * row_bytes(); }
  std::int64_t scale_cols() const;  // scales a row (groups), a row of blocks (kFp8Block) or 32 rows; 0 for the others
  std::int64_t scale_bytes() const;

  // Rows [begin, begin + count) as a view of their own. kFp8Block: see scale_row_offset. kInt8RowGroup: both are
  // multiples of 32.
  MatrixView row_slice(std::int64_t begin, std::int64_t count) const;
  std::int64_t scale_row_offset = 0;  // kFp8Block: row r's block is (r + scale_row_offset) / block_rows
};

inline std::int64_t MatrixView::row_bytes() const {
  switch (format) {
    case WeightFormat::kF32:
      return cols * 4;
    case WeightFormat::kBF16:
    case WeightFormat::kF16:
      return cols * 2;
    case WeightFormat::kFp8Block:
      return cols;
    case WeightFormat::kInt4Group:
      return cols / 2;
    case WeightFormat::kInt8Group:
      return int8_chunks(cols) * kInt8Chunk;
    case WeightFormat::kInt8RowGroup:
      return int8_padded_cols(cols);
  }
  return 0;
}

inline std::int64_t MatrixView::scale_cols() const {
  switch (format) {
    case WeightFormat::kFp8Block:
      return (cols + block_cols - 1) / block_cols;
    case WeightFormat::kInt4Group:
      return cols / group;
    case WeightFormat::kInt8Group:
      return int8_chunks(cols) * (kInt8Chunk / kInt8ScaleCols);
    case WeightFormat::kInt8RowGroup:
      return int8_padded_cols(cols);
    default:
      return 0;
  }
}

inline std::int64_t MatrixView::scale_bytes() const {
  switch (format) {
    case WeightFormat::kFp8Block:
      return (rows + block_rows - 1) / block_rows * scale_cols() * 4;
    case WeightFormat::kInt4Group:
      return rows * scale_cols() * static_cast<std::int64_t>(dtype_bytes(scale_dtype));
    case WeightFormat::kInt8Group:
      return rows * scale_cols() * static_cast<std::int64_t>(sizeof(bf16));
    case WeightFormat::kInt8RowGroup:
      return rows / kInt8GroupRows * scale_cols() * static_cast<std::int64_t>(sizeof(bf16));
    default:
      return 0;
  }
}

// W[row, col] in f32, unrounded: the slow truth that every kernel is tested against.
float matrix_element(const MatrixView& w, std::int64_t row, std::int64_t col);

}  // namespace baltoro::tensor
