// SPDX-License-Identifier: Apache-2.0
// Inside of the room: the bytes of an 8-bit activation row, and how the scratch of linear_int8 is cut.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "baltoro/kernels/tables.h"
#include "baltoro/tensor/int8_layout.h"

namespace baltoro::kernels {

// A chunk of an activation row: 512 codes in the order of int8_layout.h, then for each lane its scale (f32) and minus
// eight times the sum of its codes (i32): where the sum of products starts, as stored INT4 codes are q + 8 (and INT8
// codes q + 128: sixteen times that).
inline constexpr std::int64_t kRowChunkBytes = tensor::kInt8Chunk + 2 * 4 * tensor::kInt8Lanes;
inline constexpr std::int64_t kRowScales = tensor::kInt8Chunk;
inline constexpr std::int64_t kRowOffsets = kRowScales + 4 * tensor::kInt8Lanes;

inline constexpr float kSmallestGroup = 0x1p-100f;

inline constexpr std::int64_t kInt8PanelRows = 32;  // unpacked at once
inline constexpr std::int64_t kInt8BlockRows = 8;
inline constexpr std::int64_t kInt8BlockTokens = 24;
inline constexpr std::int64_t kInt8Sums = 192;        // of a block, or of 6 tokens and a panel
inline constexpr std::int64_t kInt8DirectTokens = 4;  // at most so many meet the codes straight
inline constexpr std::int64_t kInt8Ahead = 4096;      // bytes that memory is asked for early

// Scales of one row of a kInt4Group weight in lane order, 16 a chunk, zero in the padding: for whatever group and
// dtype.
void int4_lane_scales_slow(const tensor::MatrixView& w, std::int64_t row, float* to);

}  // namespace baltoro::kernels
