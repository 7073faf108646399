// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace baltoro::tensor {

// One row of a kInt8Group weight from f32 values. x [cols]; data [row_bytes], scale [scale_cols] BF16 as MatrixView
// says; neither needs alignment. Per 32 columns: scale = BF16(max |x| / 127), q = x / scale to the nearest even whole
// number within +-127; where that scale is no normal BF16 number, all are zero. Padding has q = 0.
// False, and nothing written, when a value is not finite.
[[nodiscard]] bool encode_int8_row(const float* x, std::int64_t cols, std::byte* data, std::byte* scale);

// 32 rows of a kInt8RowGroup weight: the same for 32 rows of each column. x [32, cols]; data and scale as MatrixView
// says of 32 rows.
[[nodiscard]] bool encode_int8_row_group(const float* x, std::int64_t cols, std::byte* data, std::byte* scale);

// A row of encode_int8_row back, x [cols].
void decode_int8_row(const std::byte* data, const std::byte* scale, std::int64_t cols, float* x);

}  // namespace baltoro::tensor
