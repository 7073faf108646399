// SPDX-License-Identifier: Apache-2.0
// Inside of the room: the table of each instruction set, and the sizes they share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "baltoro/base/round_up.h"
#include "baltoro/kernels/kernels.h"

namespace baltoro::kernels {

const Kernels& scalar_kernels();
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
const Kernels& avx512_bf16_kernels();

// The 8-bit kernels: scalar_int8.cc is their truth. vnni: AVX-512 with VPDPBUSD.
void scalar_quantize_row(const float* x, std::byte* row, std::int64_t begin, std::int64_t end, std::int64_t cols);
void scalar_linear_int8(const tensor::MatrixView& w, const LinearArgs<std::byte>& args, std::int64_t row_begin,
                        std::int64_t row_end, std::byte* scratch);
void avx2_quantize_row(const float* x, std::byte* row, std::int64_t begin, std::int64_t end, std::int64_t cols);
void avx2_linear_int8(const tensor::MatrixView& w, const LinearArgs<std::byte>& args, std::int64_t row_begin,
                      std::int64_t row_end, std::byte* scratch);
void vnni_quantize_row(const float* x, std::byte* row, std::int64_t begin, std::int64_t end, std::int64_t cols);
void vnni_linear_int8(const tensor::MatrixView& w, const LinearArgs<std::byte>& args, std::int64_t row_begin,
                      std::int64_t row_end, std::byte* scratch);

// Rows of a weight that are unpacked (or kept in cache) at once while many tokens pass over them: about 512 KiB as
// f32, a multiple of 8 so that only the last panel of a call is ragged. Changes no result.
inline constexpr std::int64_t kPanelBytes = 512 * 1024;
constexpr std::int64_t panel_rows(std::int64_t cols) {
  const std::int64_t fitting = cols > 0 ? kPanelBytes / (cols * 4) / 8 * 8 : 64;
  return fitting < 8 ? 8 : (fitting > 64 ? 64 : fitting);
}

// n cut into the fewest parts of at most `most`, of sizes that differ by one at most; part i of them begins at
// part_begin.
constexpr std::int64_t count_tiles(std::int64_t n, std::int64_t most) { return (n + most - 1) / most; }
constexpr std::int64_t part_begin(std::int64_t n, std::int64_t parts, std::int64_t i) { return n * i / parts; }

// Positions the attention weighs and mixes at once: more of them write z less often, fewer leave room in the caches.
inline constexpr std::int64_t kAttendStep = 256;
// Queries are padded to whole vectors.
constexpr std::int64_t attend_lanes(std::int64_t queries) { return round_up(queries, 16); }

// Floats a row of unpacked weights takes in scratch, and a row of widened scales.
constexpr std::int64_t scratch_row_floats(std::int64_t cols) { return round_up(cols, 32); }
constexpr std::int64_t scratch_scale_floats(std::int64_t cols) { return round_up(cols / 32 + 1, 16); }

// avx512_bf16: rows of a panel of codes; tokens that meet whole rows of them, and that meet codes straight; most tokens
// of a tile of more in lanes. BF16 weights: tokens that meet whole rows; rows of a panel that more of them meet.
inline constexpr int kDpPanelRows = 32;
inline constexpr int kDpFewTokens = 4, kDpCodeTokens = 6, kDpLaneTokens = 6;
inline constexpr int kDpPairTokens = 8, kDpPairPanelRows = 48;
// Most tokens and rows of a tile of pairs whose rows stay in the first cache.
inline constexpr int kDpHeldTokens = 4, kDpHeldRows = 6;
// Floats from a token's partial sums to the next's. One vector more than they take: loads wait for a store to a place
// that lies a multiple of 4 KiB away.
inline constexpr int kDpSums = (kDpPanelRows + 1) * 16, kDpPairSums = (kDpPairPanelRows + 1) * 16;
constexpr std::int64_t dp_sums_bytes(std::int64_t tokens) {
  return (tokens < kTokensAtOnce ? tokens : kTokensAtOnce) * kDpPairSums * 4;
}
// Columns of a run of BF16 rows, of which short rows are one.
inline constexpr std::int64_t kDpPairRun = 1024, kDpLongPairRun = 1536;
// Bytes of rows put in order. Codes, for the run that is multiplied and the next: a panel's in lanes, or expanded rows.
// BF16: the held rows of a run.
inline constexpr std::int64_t kDpCodeBytes = 2 * kDpPanelRows * 256;
inline constexpr std::int64_t kDpRowBytes = kDpHeldRows * kDpLongPairRun * 2;
static_assert(2 * kDpHeldRows * 512 * 2 <= kDpCodeBytes && kDpCodeBytes <= kDpRowBytes);
// Rows whose scales are at hand: a panel and what is expanded ahead of it.
inline constexpr std::int64_t kDpScaledRows = kDpPanelRows + kDpHeldRows;
constexpr std::int64_t dp_padded_cols(std::int64_t cols) { return round_up(cols, 512); }
// Most tokens that a panel meets before the next one does: where their packed activations take more than about 2 MiB,
// half of kTokensAtOnce, a multiple of every tile too. Changes no result.
constexpr std::int64_t dp_chunk_tokens(std::int64_t cols) {
  const bool fit = dp_padded_cols(cols) * 2 * kTokensAtOnce <= 2 << 20;
  return fit ? kTokensAtOnce : kTokensAtOnce / 2;
}

// avx2: rows of a panel, floats from a token's partial sums to the next's, columns of a run, floats of a panel's run
// widened: 17 vectors for 16 at most.
inline constexpr std::int64_t kOrderedRows = 24, kOrderedSums = kOrderedRows * 8 + 8, kOrderedRun = 512;
inline constexpr std::int64_t kWideFloats = kOrderedRows * kOrderedRun / 16 * 17;
// Floats of a token's activations put in order: 17 vectors of eight for 128 columns at most.
constexpr std::int64_t ordered_floats(std::int64_t cols) { return round_up(cols, 512) / 16 * 17; }
// Most tokens whose activations are put in order at once. Changes no result.
constexpr std::int64_t ordered_chunk_tokens(std::int64_t cols) {
  return ordered_floats(cols) * 4 * kTokensAtOnce <= 2 << 20 ? kTokensAtOnce : kTokensAtOnce / 2;
}
constexpr std::int64_t ordered_bytes(std::int64_t cols, std::int64_t tokens) {
  const std::int64_t most = ordered_chunk_tokens(cols);
  return (kWideFloats + (tokens < most ? tokens : most) * (kOrderedSums + ordered_floats(cols))) * 4;
}

}  // namespace baltoro::kernels
