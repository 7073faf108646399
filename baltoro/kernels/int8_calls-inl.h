// SPDX-License-Identifier: Apache-2.0
// A call of linear_int8 cut into panels of rows and tiles of tokens; behind int8-inl.h.
//
// Few tokens meet the codes straight. More take panels of 32 rows: codes unpacked once, a byte each, and tiles of
// tokens over one chunk after the other. The partial sums of a tile stay in the first cache, the unpacked panel in the
// second.

[[gnu::always_inline]] inline __m256 widen_bf16(__m128i bits) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

// 16 BF16 scales in the order of their groups, as f32 in the order of lanes.
[[gnu::always_inline]] inline void widen_lane_scales(const std::byte* from, float* to) {
  const __m128i pairs = _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
  const __m128i a = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)), pairs);
  const __m128i b = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 16)), pairs);
  _mm256_storeu_ps(to, widen_bf16(_mm_unpacklo_epi32(a, b)));
  _mm256_storeu_ps(to + 8, widen_bf16(_mm_unpackhi_epi32(a, b)));
}

// Scales of one row in lane order, zero in the padding.
inline void int4_lane_scales(const MatrixView& w, std::int64_t row, float* to) {
  const std::int64_t chunks = tensor::int8_chunks(w.cols);
  if (w.group != tensor::kInt8LaneCols || w.scale_dtype != tensor::DType::kBF16)
    return int4_lane_scales_slow(w, row, to);
  const std::byte* from = w.scale + row * w.scale_cols() * 2;
  const std::int64_t whole = w.cols / tensor::kInt8Chunk;
  for (std::int64_t c = 0; c < whole; ++c) widen_lane_scales(from + c * 32, to + c * tensor::kInt8Lanes);
  if (whole == chunks) return;
  alignas(64) std::byte padded[32] = {};
  __builtin_memcpy(padded, from + whole * 32, static_cast<std::size_t>((w.scale_cols() - whole * 16) * 2));
  widen_lane_scales(padded, to + whole * tensor::kInt8Lanes);
}
inline void int8_lane_scales(const MatrixView& w, std::int64_t row, float* to) {
  const std::byte* from = w.scale + row * w.scale_cols() * 2;
  for (std::int64_t c = 0; c < tensor::int8_chunks(w.cols); ++c) {
    widen_lane_scales(from + c * 32, to + c * tensor::kInt8Lanes);
  }
}

inline void lane_scales(const MatrixView& w, std::int64_t row, float* to) {
  w.format == WeightFormat::kInt4Group ? int4_lane_scales(w, row, to) : int8_lane_scales(w, row, to);
}

// Dots of tokens [first, first + tokens) and a panel's rows, whose first is `row`. sums [tokens, S, 16]
template <int S>
void store_dots(const LinearArgs<std::byte>& args, std::int64_t first, std::int64_t tokens, std::int64_t row,
                std::int64_t rows, const float* sums) {
  for (std::int64_t v = 0; v < tokens * S; v += 16) {
    alignas(64) float dots[16];
    sixteen_sums(sums + v * tensor::kInt8Lanes, dots);
    for (std::int64_t part = 0; part < 16; part += S < 16 ? S : 16) {
      const std::int64_t t = first + (v + part) / S, r = (v + part) % S;
      if (t >= first + tokens) break;
      float* y = args.y_row(t) + row + r;
      for (std::int64_t i = 0; i < (S < 16 ? S : 16) && r + i < rows; ++i) {
        y[i] = args.y_weights == nullptr ? dots[part + i] : __builtin_fmaf(args.y_weights[t], dots[part + i], y[i]);
      }
    }
  }
}

template <class W, int T>
void int8_direct_panel(const Int8Panel& panel, const std::byte* const* x, float* sums) {
  constexpr int kRows = T == 1 ? 4 : 2;
  std::int64_t r = 0;
  for (; r + kRows <= panel.rows; r += kRows) int8_direct<W, T, kRows>(panel, r, x, sums);
  for (; r < panel.rows; ++r) int8_direct<W, T, 1>(panel, r, x, sums);
}

// Scratch of a call, in this order.
struct Int8Scratch {
  float* scales = nullptr;     // [kInt8PanelRows, chunks, 16]
  float* sums = nullptr;       // kInt8Sums vectors of 16
  std::byte* codes = nullptr;  // [chunks, kInt8PanelRows, 512]
};
inline Int8Scratch cut_int8_scratch(std::byte* scratch, std::int64_t chunks) {
  Int8Scratch s;
  s.scales = reinterpret_cast<float*>(scratch);
  s.sums = s.scales + kInt8PanelRows * chunks * tensor::kInt8Lanes;
  s.codes = reinterpret_cast<std::byte*>(s.sums + kInt8Sums * tensor::kInt8Lanes);
  return s;
}

// Chunk c of rows [row, row + rows), a byte a code. Meanwhile each row's next chunk is fetched; after the last, the
// first of the rows behind.
template <class W>
void unpack_int8_rows(const Int8Panel& panel, std::int64_t c, std::int64_t row, std::int64_t rows, std::byte* to) {
  const std::int64_t at = c * W::kBytes;
  const std::int64_t next = c + 1 < panel.chunks ? at + W::kBytes : rows * panel.row_bytes;
  for (std::int64_t r = row; r < row + rows; ++r, to += tensor::kInt8Chunk) {
    const std::byte* codes = panel.codes + r * panel.row_bytes;
    for (std::int64_t line = 0; line < W::kBytes; line += 64) __builtin_prefetch(codes + next + line);
    const WholeChunk<W> chunk(codes + at, panel.row_bytes - at);
    for (std::int64_t half = 0; half < kHalves; ++half) {
      I vectors[tensor::kInt8Vectors];
      W::load(chunk.data, half, vectors);
      for (std::int64_t v = 0; v < tensor::kInt8Vectors; ++v) {
        store_bytes(to + (v * kHalves + half) * kLanes * 4, vectors[v]);
      }
    }
  }
}

// Some tokens times a panel whose first row is `row`: blocks of 8 rows, unpacked into the first cache.
template <class W>
void int8_blocks(const Int8Panel& panel, std::int64_t row, const LinearArgs<std::byte>& args, const Int8Scratch& s) {
  const std::byte* x[kInt8BlockTokens] = {};
  for (std::int64_t t = 0; t < args.tokens; ++t) x[t] = args.x_row(t);
  const std::int64_t stride = panel.chunks * tensor::kInt8Lanes;
  const std::int64_t tiles = count_tiles(args.tokens, kInt8TileTokens);
  for (std::int64_t r = 0; r < panel.rows; r += kInt8BlockRows) {
    const std::int64_t rows = panel.rows - r < kInt8BlockRows ? panel.rows - r : kInt8BlockRows;
    for (std::int64_t c = 0; c < panel.chunks; ++c) {
      unpack_int8_rows<W>(panel, c, r, rows, s.codes);
      for (std::int64_t i = 0; i < tiles; ++i) {
        const std::int64_t first = part_begin(args.tokens, tiles, i),
                           tokens = part_begin(args.tokens, tiles, i + 1) - first;
        add_int8_run_of<W, kInt8BlockRows>(tokens, {.x = x + first,
                                                    .x_at = c * kRowChunkBytes,
                                                    .w = s.codes,
                                                    .scales = panel.scales + r * stride + c * tensor::kInt8Lanes,
                                                    .scale_stride = stride,
                                                    .rows = rows,
                                                    .sums = s.sums + first * kInt8BlockRows * tensor::kInt8Lanes,
                                                    .first = c == 0});
      }
    }
    store_dots<kInt8BlockRows>(args, 0, args.tokens, row + r, rows, s.sums);
  }
}

// Many tokens times a panel whose first row is `row`: unpacked at once into the second cache.
template <class W>
void int8_unpacked_panel(const Int8Panel& panel, std::int64_t row, const LinearArgs<std::byte>& args,
                         const Int8Scratch& s) {
  for (std::int64_t c = 0; c < panel.chunks; ++c) {
    unpack_int8_rows<W>(panel, c, 0, panel.rows, s.codes + c * kInt8PanelRows * tensor::kInt8Chunk);
  }
  const std::int64_t tiles = count_tiles(args.tokens, kInt8TileTokens);
  for (std::int64_t i = 0; i < tiles; ++i) {
    const std::int64_t first = part_begin(args.tokens, tiles, i),
                       tokens = part_begin(args.tokens, tiles, i + 1) - first;
    const std::byte* x[kInt8TileTokens] = {};
    for (std::int64_t t = 0; t < tokens; ++t) x[t] = args.x_row(first + t);
    for (std::int64_t c = 0; c < panel.chunks; ++c) {
      add_int8_run_of<W, kInt8PanelRows>(tokens, {.x = x,
                                                  .x_at = c * kRowChunkBytes,
                                                  .w = s.codes + c * kInt8PanelRows * tensor::kInt8Chunk,
                                                  .scales = panel.scales + c * tensor::kInt8Lanes,
                                                  .scale_stride = panel.chunks * tensor::kInt8Lanes,
                                                  .rows = panel.rows,
                                                  .sums = s.sums,
                                                  .first = c == 0});
    }
    store_dots<kInt8PanelRows>(args, first, tokens, row, panel.rows, s.sums);
  }
}

template <class W>
void int8_panel(const Int8Panel& panel, std::int64_t row, const LinearArgs<std::byte>& args, const Int8Scratch& s) {
  using Direct = void (*)(const Int8Panel&, const std::byte* const*, float*);
  static constexpr Direct kDirect[kInt8DirectTokens] = {int8_direct_panel<W, 1>, int8_direct_panel<W, 2>,
                                                        int8_direct_panel<W, 3>, int8_direct_panel<W, 4>};
  if (args.tokens > kInt8BlockTokens) return int8_unpacked_panel<W>(panel, row, args, s);
  if (args.tokens > kInt8DirectTokens) return int8_blocks<W>(panel, row, args, s);
  const std::byte* x[kInt8DirectTokens] = {};
  for (std::int64_t t = 0; t < args.tokens; ++t) x[t] = args.x_row(t);
  kDirect[args.tokens - 1](panel, x, s.sums);
  store_dots<kInt8PanelRows>(args, 0, args.tokens, row, panel.rows, s.sums);
}

void linear_int8(const MatrixView& w, const LinearArgs<std::byte>& args, std::int64_t row_begin, std::int64_t row_end,
                 std::byte* scratch) {
  BALTORO_DCHECK(row_begin >= 0 && row_begin <= row_end && row_end <= w.rows, "row range out of range");
  BALTORO_DCHECK(reads_int8(w), "a weight of 8-bit or regular 4-bit groups");
  if (args.tokens == 0 || row_begin == row_end) return;
  const std::int64_t chunks = tensor::int8_chunks(w.cols);
  const Int8Scratch s = cut_int8_scratch(scratch, chunks);
  const bool int4 = w.format == WeightFormat::kInt4Group;
  Int8Panel panel{
      .row_bytes = w.row_bytes(), .scale_bytes = w.scale_bytes() / w.rows, .scales = s.scales, .chunks = chunks};
  for (std::int64_t row = row_begin; row < row_end; row += kInt8PanelRows) {
    panel.codes = w.data + row * w.row_bytes();
    panel.stored_scales = w.scale + row * panel.scale_bytes;
    panel.rows = row_end - row < kInt8PanelRows ? row_end - row : kInt8PanelRows;
    for (std::int64_t r = 0; r < panel.rows; ++r) lane_scales(w, row + r, s.scales + r * chunks * tensor::kInt8Lanes);
    int4 ? int8_panel<ChunksInt4>(panel, row, args, s) : int8_panel<ChunksInt8>(panel, row, args, s);
  }
}
