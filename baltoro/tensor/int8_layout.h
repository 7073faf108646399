// SPDX-License-Identifier: Apache-2.0
// The order of columns in which 8-bit dot products are taken, of activations and of weights alike.
//
// Columns go in chunks of 512: 16 lanes of 32 columns, so that one 512-bit vector holds four columns of every lane and
// eight of them a chunk. Lanes and bytes are ordered so that released INT4 nibbles (two columns a byte, 16 bytes a
// group) become these vectors by transposing 32-bit words within 128 bits and masking, without moving single bytes.
#pragma once

#include <cstdint>

#include "baltoro/base/round_up.h"

namespace baltoro::tensor {

inline constexpr std::int64_t kInt8Chunk = 512;     // columns
inline constexpr std::int64_t kInt8Lanes = 16;      // of a chunk
inline constexpr std::int64_t kInt8LaneCols = 32;   // columns of a lane
inline constexpr std::int64_t kInt8Vectors = 8;     // of a chunk, 64 bytes each
inline constexpr std::int64_t kInt8ScaleCols = 32;  // columns that share a scale of a kInt8Group weight

constexpr std::int64_t int8_chunks(std::int64_t cols) { return (cols + kInt8Chunk - 1) / kInt8Chunk; }

// The lane of columns [32 i, 32 i + 32) of a chunk: lanes 4 (i % 4) + i / 4.
constexpr std::int64_t int8_lane(std::int64_t i) { return 4 * (i % 4) + i / 4; }

// Byte of column c of a row of chunks. Within its lane, column 8 j + 2 b + h is byte b of vector 2 j + h.
constexpr std::int64_t int8_place(std::int64_t c) {
  const std::int64_t in_lane = c % kInt8LaneCols;
  const std::int64_t vector = in_lane / 8 * 2 + in_lane % 2;
  const std::int64_t lane = int8_lane(c % kInt8Chunk / kInt8LaneCols);
  return c / kInt8Chunk * kInt8Chunk + (vector * kInt8Lanes + lane) * 4 + in_lane % 8 / 2;
}

// A kInt8RowGroup weight, for x W: blocks of 32 rows by 16 columns, one after the other along the columns, then the
// next 32 rows. A block is eight vectors of four rows of every column, whose even and odd bytes are pairs of
// neighbours, as 16-bit products want them.
inline constexpr std::int64_t kInt8GroupRows = 32;  // rows that share a column's scale
inline constexpr std::int64_t kInt8BlockCols = 16;
inline constexpr std::int64_t kInt8BlockBytes = kInt8GroupRows * kInt8BlockCols;

constexpr std::int64_t int8_padded_cols(std::int64_t cols) { return round_up(cols, kInt8BlockCols); }

// Byte of an element within its block, row < 32, col < 16.
constexpr std::int64_t int8_block_place(std::int64_t row, std::int64_t col) {
  return row / 4 * 64 + col * 4 + row % 2 * 2 + row % 4 / 2;
}

}  // namespace baltoro::tensor
