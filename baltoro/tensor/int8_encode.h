// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "baltoro/tensor/matrix_view.h"

namespace baltoro::tensor {

// Rows of a kInt8Group (1) or kInt8RowGroup (32) weight that are encoded at once.
std::int64_t int8_rows_at_once(WeightFormat format);

// Those rows of w, from `row` on, from f32 values. x [rows, w.cols]; data and scale: where all of w's data_bytes() and
// scale_bytes() go, which need no alignment; w's own pointers are not read. Per 32 columns (kInt8RowGroup: 32 rows of a
// column): scale = BF16(max |x| / 127), q = x / scale to the nearest even whole number within +-127; where that scale
// is no normal BF16 number, all are zero. Padding has q = 0. False, and nothing written, when a value is not finite.
[[nodiscard]] bool encode_int8(const MatrixView& w, std::int64_t row, const float* x, std::byte* data,
                               std::byte* scale);

// A row of a kInt8Group weight back, x [cols].
void decode_int8_row(const std::byte* data, const std::byte* scale, std::int64_t cols, float* x);

}  // namespace baltoro::tensor
