// SPDX-License-Identifier: Apache-2.0
// 8-bit rows and their dot products, for 16 lanes (AVX-512) or 8 at a time (AVX2). Included inside a target region,
// behind bytes_*-inl.h, which gives the vectors: I (kLanes 32-bit sums or 4 kLanes bytes), F (kLanes floats) and
//   Small, Whole: sums of a lane's products for w below 16 and for any w, unsigned, x signed. They begin with
//   begin(start), add() four products a lane, at most eight times, and end() makes them 32-bit sums, `start` added.
//   start: of Small minus eight times, of Whole minus 128 times the sum of the lane's x, as codes are offset binary
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
  using Sums = Whole;
  static constexpr std::int64_t kBytes = 512;
  static constexpr int kShift = 4;
  [[gnu::always_inline]] static void load(const std::byte* chunk, std::int64_t half, I* out) {
    for (std::int64_t v = 0; v < tensor::kInt8Vectors; ++v)
      out[v] = load_bytes(chunk + (v * kHalves + half) * kLanes * 4);
  }
};
struct ChunksInt4 {
  using Sums = Small;
  static constexpr std::int64_t kBytes = 256;
  static constexpr int kShift = 0;
  [[gnu::always_inline]] static void load(const std::byte* chunk, std::int64_t half, I* out) {
    int4_vectors(chunk, half, out);
  }
};

// The bytes of a row's chunk: in place, or its first `bytes` and zeros.
template <class W>
struct WholeChunk {
  alignas(64) std::byte padded[W::kBytes];
  const std::byte* data;
  [[gnu::always_inline]] WholeChunk(const std::byte* codes, std::int64_t bytes) : data(codes) {
    if (bytes >= W::kBytes) return;
    __builtin_memset(padded, 0, sizeof(padded));
    __builtin_memcpy(padded, codes, static_cast<std::size_t>(bytes));
    data = padded;
  }
};

[[gnu::always_inline]] inline I chunk_vector(const std::byte* chunk, std::int64_t half, std::int64_t v) {
  return load_bytes(chunk + (v * kHalves + half) * kLanes * 4);
}
[[gnu::always_inline]] inline F chunk_scales(const std::byte* x, std::int64_t half) {
  return load_f32(x + kRowScales + half * kLanes * 4);
}
template <class W>
[[gnu::always_inline]] inline I first_sum(const std::byte* x, std::int64_t half) {
  return shift_left<W::kShift>(load_bytes(x + kRowOffsets + half * kLanes * 4));
}
[[gnu::always_inline]] inline F load_lanes(const float* lanes, std::int64_t half) {
  return load_f32(lanes + half * kLanes);
}

// Rows of a weight, and their scales widened in lane order.
struct Int8Panel {
  const std::byte* codes = nullptr;
  std::int64_t row_bytes = 0;
  const std::byte* stored_scales = nullptr;
  std::int64_t scale_bytes = 0;   // of a row
  const float* scales = nullptr;  // [rows, chunks, 16]
  std::int64_t rows = 0;
  std::int64_t chunks = 0;
};

// One chunk of columns of some unpacked rows, for a tile of tokens.
struct Int8Run {
  const std::byte* const* x = nullptr;  // rows of activations
  std::int64_t x_at = 0;                // of each, where the chunk begins
  const std::byte* w = nullptr;         // [rows, 512]
  const float* scales = nullptr;        // 16 of each row, scale_stride apart
  std::int64_t scale_stride = 0;
  std::int64_t rows = 0;
  float* sums = nullptr;  // [tokens, S, 16]
  bool first = false;     // sums hold nothing yet
};

// T tokens by R rows, S of which make a token's sums. Unrolled by name: GCC keeps an array in registers only if it
// unrolls all of its loops early.
template <class W, int T, int R, int S, bool kFirst>
[[gnu::always_inline]] inline void add_int8_rows(const Int8Run& run, const std::byte* const (&x)[T], std::int64_t row) {
  const std::byte* w = run.w + row * tensor::kInt8Chunk;
  for (std::int64_t half = 0; half < kHalves; ++half) {
    I sum[T][R];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) sum[t][r] = W::Sums::begin(first_sum<W>(x[t], half));
    }
#pragma GCC unroll 1
    for (std::int64_t v = 0; v < tensor::kInt8Vectors; ++v) {
      if constexpr (T < R) {
        I values[T];
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) values[t] = chunk_vector(x[t], half, v);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          const I weights = chunk_vector(w + r * tensor::kInt8Chunk, half, v);
#pragma GCC unroll 8
          for (int t = 0; t < T; ++t) sum[t][r] = W::Sums::add(sum[t][r], weights, values[t]);
        }
      } else {
        I weights[R];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) weights[r] = chunk_vector(w + r * tensor::kInt8Chunk, half, v);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) {
          const I value = chunk_vector(x[t], half, v);
#pragma GCC unroll 8
          for (int r = 0; r < R; ++r) sum[t][r] = W::Sums::add(sum[t][r], weights[r], value);
        }
      }
    }
    F w_scales[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) w_scales[r] = load_lanes(run.scales + (row + r) * run.scale_stride, half);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const F x_scales = chunk_scales(x[t], half);
      float* lanes = run.sums + (t * S + row) * tensor::kInt8Lanes + half * kLanes;
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r, lanes += tensor::kInt8Lanes) {
        const I whole = W::Sums::end(sum[t][r], first_sum<W>(x[t], half));
        store(lanes, fma(to_f32(whole), mul(w_scales[r], x_scales), kFirst ? zero() : load_f32(lanes)));
      }
    }
  }
}

template <class W, int T, int S, bool kFirst>
[[gnu::noinline]] void add_int8_run(const Int8Run& given) {
  const Int8Run run = given;  // a copy, which the stores to sums cannot change
  const std::byte* x[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) x[t] = run.x[t] + run.x_at;
  std::int64_t r = 0;
  for (; r + kInt8TileRows <= run.rows; r += kInt8TileRows) add_int8_rows<W, T, kInt8TileRows, S, kFirst>(run, x, r);
  for (; r < run.rows; ++r) add_int8_rows<W, T, 1, S, kFirst>(run, x, r);
}

template <class W, int S, int T = kInt8TileTokens>
void add_int8_run_of(std::int64_t tokens, const Int8Run& run) {
  if constexpr (T > 1) {
    if (tokens < T) return add_int8_run_of<W, S, T - 1>(tokens, run);
  }
  run.first ? add_int8_run<W, T, S, true>(run) : add_int8_run<W, T, S, false>(run);
}

// Rows [row, row + R) straight from their codes for T tokens; partial sums stay in registers. Memory is asked some KiB
// ahead: its own prefetchers see each chunk as a jump.
template <class W, int T, int R>
void int8_direct(const Int8Panel& panel, std::int64_t row, const std::byte* const* x_at, float* sums) {
  constexpr std::int64_t kAhead = kInt8Ahead / R;
  F lanes[T][R][kHalves];
  const std::byte* x[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    x[t] = x_at[t];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
      for (std::int64_t half = 0; half < kHalves; ++half) lanes[t][r][half] = zero();
    }
  }
  const std::byte* next_scales = panel.stored_scales + (row + kInt8PanelRows) * panel.scale_bytes;
  for (std::int64_t line = 0; line < R * panel.scale_bytes; line += 64) __builtin_prefetch(next_scales + line);
  for (std::int64_t c = 0; c < panel.chunks; ++c) {
    const std::int64_t at = c * W::kBytes;
    std::int64_t ahead = at + kAhead;
    if (ahead >= panel.row_bytes) ahead += (R - 1) * panel.row_bytes;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const std::byte* codes = panel.codes + (row + r) * panel.row_bytes;
      for (std::int64_t line = 0; line < W::kBytes; line += 64) __builtin_prefetch(codes + ahead + line);
      const WholeChunk<W> chunk(codes + at, panel.row_bytes - at);
#pragma GCC unroll 2
      for (std::int64_t half = 0; half < kHalves; ++half) {
        I weights[tensor::kInt8Vectors];
        W::load(chunk.data, half, weights);
        const F w_scales = load_lanes(panel.scales + ((row + r) * panel.chunks + c) * tensor::kInt8Lanes, half);
#pragma GCC unroll 8
        for (int t = 0; t < T; ++t) {
          const std::byte* values = x[t] + c * kRowChunkBytes;
          const I start = first_sum<W>(values, half);
          I sum = W::Sums::begin(start);
#pragma GCC unroll 8
          for (std::int64_t v = 0; v < tensor::kInt8Vectors; ++v) {
            sum = W::Sums::add(sum, weights[v], chunk_vector(values, half, v));
          }
          sum = W::Sums::end(sum, start);
          lanes[t][r][half] = fma(to_f32(sum), mul(w_scales, chunk_scales(values, half)), lanes[t][r][half]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      float* to = sums + (t * kInt8PanelRows + row + r) * tensor::kInt8Lanes;
#pragma GCC unroll 2
      for (std::int64_t half = 0; half < kHalves; ++half) store(to + half * kLanes, lanes[t][r][half]);
    }
  }
}
