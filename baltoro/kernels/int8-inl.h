// SPDX-License-Identifier: Apache-2.0
// 8-bit rows and their dot products, for 16 lanes (AVX-512) or 8 at a time (AVX2). Included inside a target region,
// behind bytes_*-inl.h, which gives the vectors: I (kLanes 32-bit sums or 4 kLanes bytes), F (kLanes floats) and
//   dot_small(sum, w, x)  sum += four products a lane, w unsigned and below 16, x signed
//   dot(sum, w, x)        the same for any unsigned w
// Sums of whole numbers have no order; what follows them in f32 has one for each element: chunks ascending, then lanes
// as a tree. So tiles of any shape give the bits of scalar_int8.cc.

constexpr std::int64_t kHalves = tensor::kInt8Lanes / kLanes;  // vectors that make 16 lanes

// Words of 32 bits transposed within 128 bits: lane 4 i + k of out[j] is word j of lane i of in[k].
[[gnu::always_inline]] inline void transpose_words(const I* in, I* out) {
  const I a = unpack_low_32(in[0], in[1]), b = unpack_high_32(in[0], in[1]);
  const I c = unpack_low_32(in[2], in[3]), d = unpack_high_32(in[2], in[3]);
  out[0] = unpack_low_64(a, c);
  out[1] = unpack_high_64(a, c);
  out[2] = unpack_low_64(b, d);
  out[3] = unpack_high_64(b, d);
}

// Half `half` of the eight vectors of a chunk of INT4 codes: 256 bytes.
[[gnu::always_inline]] inline void int4_vectors(const std::byte* codes, std::int64_t half, I* out) {
  I packed[4], words[4];
  for (int k = 0; k < 4; ++k) packed[k] = load_bytes(codes + k * 64 + half * kLanes * 4);
  transpose_words(packed, words);
  for (int j = 0; j < 4; ++j) {
    out[2 * j] = low_nibbles(words[j]);
    out[2 * j + 1] = high_nibbles(words[j]);
  }
}

// Codes of one row, a chunk at a time: 512 bytes in the order of int8_layout.h, or 256 of nibbles.
struct ChunksInt8 {
  static constexpr std::int64_t kBytes = 512;
  static constexpr int kShift = 4;
  static I vector(const std::byte* chunk, std::int64_t half, std::int64_t v) {
    return load_bytes(chunk + (v * kHalves + half) * kLanes * 4);
  }
  static void load(const std::byte* chunk, std::int64_t half, I* out) {
    for (std::int64_t v = 0; v < tensor::kInt8Vectors; ++v) out[v] = vector(chunk, half, v);
  }
  static I add(I sum, I w, I x) { return dot(sum, w, x); }
  // Where the codes of R rows lie, a byte each: where they are.
  static void unpack(const std::byte* const* w, std::int64_t, std::byte*, const std::byte** at, std::int64_t rows) {
    for (std::int64_t r = 0; r < rows; ++r) at[r] = w[r];
  }
};
struct ChunksInt4 {
  static constexpr std::int64_t kBytes = 256;
  static constexpr int kShift = 0;
  static I vector(const std::byte* chunk, std::int64_t half, std::int64_t v) {
    return ChunksInt8::vector(chunk, half, v);  // unpacked
  }
  static void load(const std::byte* chunk, std::int64_t half, I* out) { int4_vectors(chunk, half, out); }
  static I add(I sum, I w, I x) { return dot_small(sum, w, x); }
  // `bytes` of each row's chunk exist.
  static void unpack(const std::byte* const* w, std::int64_t bytes, std::byte* buffer, const std::byte** at,
                     std::int64_t rows) {
    for (std::int64_t r = 0; r < rows; ++r) {
      std::byte* to = buffer + r * tensor::kInt8Chunk;
      at[r] = to;
      const std::byte* from = w[r];
      alignas(64) std::byte padded[kBytes];
      if (bytes < kBytes) {
        __builtin_memset(padded, 0, sizeof(padded));
        __builtin_memcpy(padded, from, static_cast<std::size_t>(bytes));
        from = padded;
      }
      for (std::int64_t half = 0; half < kHalves; ++half) {
        I vectors[tensor::kInt8Vectors];
        int4_vectors(from, half, vectors);
        for (std::int64_t v = 0; v < tensor::kInt8Vectors; ++v) {
          store_bytes(to + (v * kHalves + half) * kLanes * 4, vectors[v]);
        }
      }
    }
  }
};

// Rows of a weight, and their scales widened in lane order.
struct Int8Panel {
  const std::byte* codes = nullptr;
  std::int64_t row_bytes = 0;
  std::int64_t tail = 0;          // bytes of a row's ragged last chunk; 0: it is whole
  const float* scales = nullptr;  // [rows, chunks, 16]
  std::int64_t rows = 0;
  std::int64_t chunks = 0;

  const std::byte* row(std::int64_t r) const { return codes + r * row_bytes; }
  const float* row_scales(std::int64_t r) const { return scales + r * chunks * tensor::kInt8Lanes; }
};

[[gnu::always_inline]] inline F row_scales(const std::byte* x, std::int64_t half) {
  return load_f32(x + kRowScales + half * kLanes * 4);
}
[[gnu::always_inline]] inline I first_sum(const std::byte* x, std::int64_t half) {
  return load_bytes(x + kRowOffsets + half * kLanes * 4);
}
[[gnu::always_inline]] inline F load_lanes(const float* lanes, std::int64_t half) {
  return load_f32(lanes + half * kLanes);
}
inline float sum_of_all_lanes(const F* halves) {
  return sum_of_lanes(kHalves == 2 ? add(halves[0], halves[kHalves - 1]) : halves[0]);
}

// Adds a chunk's part to sums[t * kInt8BlockRows + r] for T tokens by R rows. x: the chunk of each token.
// Unrolled by name: GCC keeps an array in registers only if it unrolls all of its loops early.
template <class W, int T, int R>
[[gnu::noinline]] void int8_tile(const std::byte* const* weights_at, const float* const* scales_at,
                                 const std::byte* const* x_at, float* sums) {
  const std::byte *w[R], *x[T];  // copies: what is stored might alias the originals
  const float* scales[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    w[r] = weights_at[r];
    scales[r] = scales_at[r];
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) x[t] = x_at[t];
  for (std::int64_t half = 0; half < kHalves; ++half) {
    I sum[T][R];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sum[t][r] = shift_left<W::kShift>(first_sum(x[t], half));
    }
#pragma GCC unroll 1
    for (std::int64_t v = 0; v < tensor::kInt8Vectors; ++v) {
      I weights[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) weights[r] = W::vector(w[r], half, v);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        const I value = ChunksInt8::vector(x[t], half, v);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sum[t][r] = W::add(sum[t][r], weights[r], value);
      }
    }
    F weight_scales[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) weight_scales[r] = load_lanes(scales[r], half);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const F x_scales = row_scales(x[t], half);
      float* lanes = sums + t * kInt8BlockRows * tensor::kInt8Lanes + half * kLanes;
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r, lanes += tensor::kInt8Lanes) {
        store(lanes, fma(to_f32(sum[t][r]), mul(weight_scales[r], x_scales), load_f32(lanes)));
      }
    }
  }
}

// Tokens [0, tokens) of a block times R rows of a panel, one chunk of columns.
template <class W, int R>
void int8_chunk(const std::byte* const* w, const float* const* scales, const std::byte* const* x, std::int64_t tokens,
                float* sums) {
  constexpr std::int64_t kStride = kInt8BlockRows * tensor::kInt8Lanes;
  std::int64_t t = 0;
  for (; t + kInt8TileTokens <= tokens; t += kInt8TileTokens) {
    int8_tile<W, kInt8TileTokens, R>(w, scales, x + t, sums + t * kStride);
  }
  for (; t + 2 <= tokens; t += 2) int8_tile<W, 2, R>(w, scales, x + t, sums + t * kStride);
  if (t < tokens) int8_tile<W, 1, R>(w, scales, x + t, sums + t * kStride);
}

inline const std::byte* int8_x_row(const LinearArgs<std::byte>& args, std::int64_t t) {
  return args.x + (args.x_rows != nullptr ? args.x_rows[t] : t) * args.ldx;
}
inline void store_dot(const LinearArgs<std::byte>& args, std::int64_t t, std::int64_t row, float dot) {
  float* y = args.y + (args.y_rows != nullptr ? args.y_rows[t] : t) * args.ldy + row;
  *y = args.y_weights == nullptr ? dot : __builtin_fmaf(args.y_weights[t], dot, *y);
}

// Tokens [first, first + tokens) times at most kInt8BlockRows rows of a panel, from its row `row`. `row_begin`: the
// panel's first row in the weight.
template <class W>
void int8_block(const Int8Panel& panel, std::int64_t row, std::int64_t row_begin, const LinearArgs<std::byte>& args,
                std::int64_t first, std::int64_t tokens, float* sums) {
  const std::int64_t rows = panel.rows - row < kInt8BlockRows ? panel.rows - row : kInt8BlockRows;
  const std::byte *w[kInt8BlockRows], *x[kInt8BlockTokens];
  const float* scales[kInt8BlockRows];
  for (std::int64_t r = 0; r < kInt8BlockRows;
       ++r) {  // rows that are not there repeat the last; nobody reads their dots
    w[r] = panel.row(row + (r < rows ? r : rows - 1));
    scales[r] = panel.row_scales(row + (r < rows ? r : rows - 1));
  }
  for (std::int64_t t = 0; t < tokens; ++t) x[t] = int8_x_row(args, first + t);
  for (std::int64_t i = 0; i < tokens * kInt8BlockRows * tensor::kInt8Lanes; i += kLanes) store(sums + i, zero());
  for (std::int64_t c = 0; c < panel.chunks; ++c) {
    alignas(64) std::byte unpacked[kInt8BlockRows * tensor::kInt8Chunk];
    const std::byte* codes_at[kInt8BlockRows];
    W::unpack(w, panel.tail > 0 && c + 1 == panel.chunks ? panel.tail : W::kBytes, unpacked, codes_at,
              round_up(rows, kInt8TileRows));
    for (std::int64_t r = 0; r < rows; r += kInt8TileRows) {
      int8_chunk<W, kInt8TileRows>(codes_at + r, scales + r, x, tokens, sums + r * tensor::kInt8Lanes);
    }
    for (auto& codes : w) codes += W::kBytes;
    for (auto& lane_scales : scales) lane_scales += tensor::kInt8Lanes;
    for (std::int64_t t = 0; t < tokens; ++t) x[t] += kRowChunkBytes;
  }
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* lanes = sums + (t * kInt8BlockRows + r) * tensor::kInt8Lanes;
      F halves[kHalves];
      for (std::int64_t half = 0; half < kHalves; ++half) halves[half] = load_lanes(lanes, half);
      store_dot(args, first + t, row_begin + row + r, sum_of_all_lanes(halves));
    }
  }
}

template <class W>
void int8_blocks(const Int8Panel& panel, std::int64_t row_begin, const LinearArgs<std::byte>& args, float* sums) {
  for (std::int64_t t = 0; t < args.tokens; t += kInt8BlockTokens) {
    const std::int64_t tokens = args.tokens - t < kInt8BlockTokens ? args.tokens - t : kInt8BlockTokens;
    for (std::int64_t r = 0; r < panel.rows; r += kInt8BlockRows) {
      int8_block<W>(panel, r, row_begin, args, t, tokens, sums);
    }
  }
}

// One token times R rows: codes straight from the weight, sums in registers.
template <class W, int R>
void int8_single(const Int8Panel& panel, std::int64_t row, const std::byte* x, float* dots) {
  F lanes[R][kHalves];
  for (int r = 0; r < R; ++r) {
    for (std::int64_t half = 0; half < kHalves; ++half) lanes[r][half] = zero();
  }
  const std::int64_t whole = panel.chunks - (panel.tail > 0 ? 1 : 0);
  for (std::int64_t c = 0; c < panel.chunks; ++c, x += kRowChunkBytes) {
    for (int r = 0; r < R; ++r) {
      const std::byte* codes = panel.row(row + r) + c * W::kBytes;
      alignas(64) std::byte padded[W::kBytes];
      if (c == whole) {
        __builtin_memset(padded, 0, sizeof(padded));
        __builtin_memcpy(padded, codes, static_cast<std::size_t>(panel.tail));
        codes = padded;
      }
      for (std::int64_t half = 0; half < kHalves; ++half) {
        I weights[tensor::kInt8Vectors];
        W::load(codes, half, weights);
        I sum = shift_left<W::kShift>(first_sum(x, half));
        for (std::int64_t v = 0; v < tensor::kInt8Vectors; ++v) {
          sum = W::add(sum, weights[v], ChunksInt8::vector(x, half, v));
        }
        const F scale = mul(load_lanes(panel.row_scales(row + r) + c * tensor::kInt8Lanes, half), row_scales(x, half));
        lanes[r][half] = fma(to_f32(sum), scale, lanes[r][half]);
      }
    }
  }
  for (int r = 0; r < R; ++r) dots[r] = sum_of_all_lanes(lanes[r]);
}

template <class W>
void int8_single_token(const Int8Panel& panel, std::int64_t row_begin, const LinearArgs<std::byte>& args) {
  constexpr int kRows = 2;
  const std::byte* x = int8_x_row(args, 0);
  float dots[kRows];
  std::int64_t r = 0;
  for (; r + kRows <= panel.rows; r += kRows) {
    int8_single<W, kRows>(panel, r, x, dots);
    for (int i = 0; i < kRows; ++i) store_dot(args, 0, row_begin + r + i, dots[i]);
  }
  for (; r < panel.rows; ++r) {
    int8_single<W, 1>(panel, r, x, dots);
    store_dot(args, 0, row_begin + r, dots[0]);
  }
}

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

template <class W>
void int8_panel(const Int8Panel& panel, std::int64_t row_begin, const LinearArgs<std::byte>& args, float* sums) {
  args.tokens == 1 ? int8_single_token<W>(panel, row_begin, args) : int8_blocks<W>(panel, row_begin, args, sums);
}

void linear_int8(const MatrixView& w, const LinearArgs<std::byte>& args, std::int64_t row_begin, std::int64_t row_end,
                 std::byte* scratch) {
  BALTORO_DCHECK(row_begin >= 0 && row_begin <= row_end && row_end <= w.rows, "row range out of range");
  BALTORO_DCHECK(reads_int8(w), "a weight of 8-bit or regular 4-bit groups");
  const std::int64_t step = int8_panel_rows(w.rows, w.cols), chunks = tensor::int8_chunks(w.cols);
  auto* scales = reinterpret_cast<float*>(scratch);
  float* sums = scales + step * chunks * tensor::kInt8Lanes;
  const bool int4 = w.format == WeightFormat::kInt4Group;
  for (std::int64_t row = row_begin; row < row_end; row += step) {
    Int8Panel panel{.codes = w.data + row * w.row_bytes(), .row_bytes = w.row_bytes()};
    panel.tail = int4 ? w.cols % tensor::kInt8Chunk / 2 : 0;
    panel.scales = scales;
    panel.rows = row_end - row < step ? row_end - row : step;
    panel.chunks = chunks;
    for (std::int64_t r = 0; r < panel.rows; ++r) {
      float* to = scales + r * chunks * tensor::kInt8Lanes;
      int4 ? int4_lane_scales(w, row + r, to) : int8_lane_scales(w, row + r, to);
    }
    int4 ? int8_panel<ChunksInt4>(panel, row, args, sums) : int8_panel<ChunksInt8>(panel, row, args, sums);
  }
}
