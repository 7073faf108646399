// SPDX-License-Identifier: Apache-2.0
// y = x W^T of BF16 tokens and rows as stored, by f32 products, for AVX2. Widening a code must not cost more than its
// product, so codes stay where they lie in their words: a word's bits are masked and converted, which leaves the code
// times a power of two, and the activations are put in the order of the words once a call and multiplied by its
// inverse, which is exact. Codes are offset binary, so a sum begins with minus the offset times the sum of its x.
//
// A row is a sequence of blocks. Coded rows: the products of a block with one scale a lane are one chain of f32 sums,
// which the scale then multiplies into the element's eight lanes. BF16: one chain over all blocks. Lanes are added as
// a tree at the end. So tiles of any shape give the same bits.

using Words = __m256i;
[[gnu::always_inline]] inline Words load_words(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
// Bits [kBit, kBit + kBits) of each word, as a number times 2^kBit; times 1 where they are the highest, which would be
// a sign.
template <int kBit, int kBits>
[[gnu::always_inline]] inline F field(Words words) {
  if constexpr (kBit + kBits == 32) return _mm256_cvtepi32_ps(_mm256_srli_epi32(words, kBit));
  return _mm256_cvtepi32_ps(_mm256_and_si256(words, _mm256_set1_epi32(((1 << kBits) - 1) << kBit)));
}
// acc += x * w. By name: GCC 12 else copies sums from register to register, and keeps some of them in memory.
[[gnu::always_inline]] inline F add_product(F acc, F x, F w) {
  asm("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(x), "x"(w));
  return acc;
}
// Sums in memory stay there: with the same addresses in each round of a loop they would be kept in registers, which
// there are not enough of.
[[gnu::always_inline]] inline void leave_in_memory() { asm volatile("" ::: "memory"); }
constexpr float inverse_place(int bit, int bits) {
  return bit + bits == 32 ? 1.0f : 1.0f / static_cast<float>(std::int64_t{1} << bit);
}

// Rows of x, eight columns each, as eight vectors: lane l of vector i is column i of row l.
[[gnu::always_inline]] inline void load_columns(const bf16* const (&rows)[8], F (&columns)[8]) {
  for (int l = 0; l < 8; ++l) columns[l] = load_bf16(rows[l]);
  transpose(columns);
}

// Each format: how many columns and bytes a block has, and whether memory has whole blocks only; part P of its words,
// kPerPart vectors of 8 values; where block b of a row begins; the scales of its lanes, given its row's and its codes;
// and order(), which puts the block's x into vectors `stride` floats apart, in the order of expand(), behind them the
// value that sums of coded rows begin with. order() is given the kReadCols columns that the block lies in.
template <std::int64_t kBlockBytes>
struct BlocksInOrder {
  static constexpr std::int64_t kBytes = kBlockBytes;
  static constexpr std::int64_t at(std::int64_t block) { return block * kBytes; }
  template <int P>
  [[gnu::always_inline]] static Words load(const std::byte* block) {
    return load_words(block + P * 32);
  }
};

struct BlockBf16 : BlocksInOrder<64> {
  static constexpr std::int64_t kCols = 32, kReadCols = kCols;
  static constexpr int kParts = 2, kPerPart = 2;
  static constexpr bool kScaled = false, kWholeRows = false;

  template <int K>
  [[gnu::always_inline]] static F expand(Words pairs) {
    return _mm256_castsi256_ps(K == 0 ? _mm256_slli_epi32(pairs, 16)
                                      : _mm256_and_si256(pairs, _mm256_set1_epi32(-0x10000)));
  }
  static void order(const bf16* x, std::int64_t, float* to, std::int64_t stride) {
    for (int part = 0; part < kParts; ++part, to += 2 * stride) {
      const Words pairs = load_words(x + part * 16);
      store(to, expand<0>(pairs));
      store(to + stride, expand<1>(pairs));
    }
  }
};

// Four groups of 32 columns. Words 0, 1, 8, 9, 4, 5, 12, 13 are the lanes of the first part, words 2, 3, 10, 11, 6, 7,
// 14, 15 those of the second, so that a lane stays within a group.
struct BlockInt4 : BlocksInOrder<64> {
  static constexpr std::int64_t kCols = 128, kReadCols = kCols, kScales = 4;
  static constexpr int kParts = 2, kPerPart = 8;
  static constexpr bool kScaled = true, kWholeRows = false;

  template <int P>
  [[gnu::always_inline]] static Words load(const std::byte* block) {
    const Words a = load_words(block), b = load_words(block + 32);
    return P == 0 ? _mm256_unpacklo_epi64(a, b) : _mm256_unpackhi_epi64(a, b);
  }
  template <int K>
  [[gnu::always_inline]] static F expand(Words words) {
    return field<4 * K, 4>(words);
  }
  // Scales of groups 0 to 3 in lanes 0, 0, 2, 2, 1, 1, 3, 3.
  template <typename S>
  [[gnu::always_inline]] static F scales(const std::byte* row, std::int64_t block, const std::byte*) {
    if constexpr (sizeof(S) == sizeof(float)) {
      const F widened = _mm256_broadcast_ps(reinterpret_cast<const __m128*>(row + block * kScales * 4));
      return _mm256_permutevar_ps(widened, _mm256_setr_epi32(0, 0, 2, 2, 1, 1, 3, 3));
    }
    long long four = 0;
    __builtin_memcpy(&four, row + block * kScales * 2, 8);
    const __m256i places = _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 0, 1, -1, -1, 4, 5, -1, -1, 4, 5, -1, -1, 2, 3, -1,
                                            -1, 2, 3, -1, -1, 6, 7, -1, -1, 6, 7);
    return _mm256_castsi256_ps(_mm256_shuffle_epi8(_mm256_set1_epi64x(four), places));
  }
  static void order(const bf16* x, std::int64_t, float* to, std::int64_t stride) {
    constexpr int kFirstWords[8] = {0, 1, 8, 9, 4, 5, 12, 13};
    F all = zero();
    for (int part = 0; part < kParts; ++part) {
      const bf16* rows[8];
      for (int l = 0; l < 8; ++l) rows[l] = x + (kFirstWords[l] + 2 * part) * 8;
      F columns[8];
      load_columns(rows, columns);
      for (int k = 0; k < 8; ++k, to += stride) {
        all = add(all, columns[k]);
        store(to, mul(columns[k], set1(inverse_place(4 * k, 4))));
      }
    }
    store(to, mul(all, set1(-8.0f)));
  }
};

// Half a chunk of int8_layout.h: eight lanes, each a group of 32 columns. The halves' vectors alternate in memory.
struct BlockInt8 {
  static constexpr std::int64_t kCols = 256, kBytes = 256, kReadCols = tensor::kInt8Chunk, kScales = 8;
  static constexpr int kParts = 8, kPerPart = 4;
  static constexpr bool kScaled = true, kWholeRows = true;

  static constexpr std::int64_t at(std::int64_t block) { return block / 2 * tensor::kInt8Chunk + block % 2 * 32; }
  template <int P>
  [[gnu::always_inline]] static Words load(const std::byte* block) {
    return load_words(block + P * 64);
  }
  template <int K>
  [[gnu::always_inline]] static F expand(Words words) {
    return field<8 * K, 8>(words);
  }
  // Of groups 0, 4, 8, 12, 1, 5, 9, 13 of a chunk, or, of its other half, 2, 6, 10, 14, 3, 7, 11, 15.
  template <typename S>
  [[gnu::always_inline]] static F scales(const std::byte* row, std::int64_t block, const std::byte*) {
    const Words pairs = load_words(row + block / 2 * tensor::kInt8Lanes * 2);
    const Words places =
        _mm256_add_epi32(_mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6), _mm256_set1_epi32(static_cast<int>(block % 2)));
    const Words high =
        _mm256_sllv_epi32(_mm256_permutevar8x32_epi32(pairs, places), _mm256_setr_epi32(16, 16, 16, 16, 0, 0, 0, 0));
    return _mm256_castsi256_ps(_mm256_and_si256(high, _mm256_set1_epi32(-0x10000)));
  }
  static void order(const bf16* x, std::int64_t block, float* to, std::int64_t stride) {
    F all = zero();
    for (int j = 0; j < 4; ++j) {
      const bf16* rows[8];
      for (int l = 0; l < 8; ++l) rows[l] = x + ((l % 4 * 4 + l / 4 + block % 2 * 2) * tensor::kInt8LaneCols) + 8 * j;
      F columns[8];
      load_columns(rows, columns);
      for (int h = 0; h < 2; ++h) {
        for (int b = 0; b < 4; ++b, to += stride) {
          all = add(all, columns[2 * b + h]);
          store(to, mul(columns[2 * b + h], set1(inverse_place(8 * b, 8))));
        }
      }
    }
    store(to, mul(all, set1(-128.0f)));
  }
};

// Four parts of 32 columns with one scale. A code moved to where f32 has sign, exponent and mantissa is 2^-120 of its
// value, denormals included; x and the scale make up for half of it each, so either overflows from 2^68 on. A block
// with a NaN has a NaN for its scale.
struct BlockFp8 : BlocksInOrder<128> {
  static constexpr std::int64_t kCols = 128, kReadCols = kCols, kScales = 4;
  static constexpr int kParts = 4, kPerPart = 4;
  static constexpr bool kScaled = true, kWholeRows = false;

  template <int K>
  [[gnu::always_inline]] static F expand(Words words) {
    const Words high = K == 3 ? words : _mm256_slli_epi32(words, 24 - 8 * K);
    const int kept = static_cast<int>(0x87F00000);
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_srai_epi32(high, 4), _mm256_set1_epi32(kept)));
  }
  template <typename S>
  [[gnu::always_inline]] static F scales(const std::byte* row, std::int64_t block, const std::byte* codes) {
    static_assert(sizeof(S) == sizeof(float));
    const Words size = _mm256_set1_epi8(0x7F);
    Words none = _mm256_setzero_si256();
    for (int part = 0; part < kParts; ++part) {
      const Words sizes = _mm256_and_si256(load_words(codes + part * 32), size);
      none = _mm256_or_si256(none, _mm256_cmpeq_epi8(sizes, size));
    }
    float scale = 0;
    __builtin_memcpy(&scale, row + block * kScales * 4, 4);
    if (_mm256_testz_si256(none, none) == 0) scale = __builtin_nanf("");
    return mul(set1(scale), set1(0x1p60f));
  }
  static void order(const bf16* x, std::int64_t, float* to, std::int64_t stride) {
    for (int part = 0; part < kParts; ++part, x += 32, to += 4 * stride) {
      const F a = load_bf16(x), b = load_bf16(x + 8), c = load_bf16(x + 16), d = load_bf16(x + 24);
      const F rows[4] = {_mm256_permute2f128_ps(a, c, 0x20), _mm256_permute2f128_ps(a, c, 0x31),
                         _mm256_permute2f128_ps(b, d, 0x20), _mm256_permute2f128_ps(b, d, 0x31)};
      const F low01 = unpack_low(rows[0], rows[1]), high01 = unpack_high(rows[0], rows[1]);
      const F low23 = unpack_low(rows[2], rows[3]), high23 = unpack_high(rows[2], rows[3]);
      const F columns[4] = {_mm256_shuffle_ps(low01, low23, 0x44), _mm256_shuffle_ps(low01, low23, 0xEE),
                            _mm256_shuffle_ps(high01, high23, 0x44), _mm256_shuffle_ps(high01, high23, 0xEE)};
      for (int k = 0; k < 4; ++k) store(to + k * stride, mul(columns[k], set1(0x1p60f)));
    }
    store(to, zero());
  }
};

constexpr int kOrderedTokens = 4;  // most of a tile

template <class W>
constexpr std::int64_t kBlockVectors = W::kParts * W::kPerPart + (W::kScaled ? 1 : 0);

// Some rows of one weight, or padded copies of their last blocks, and the blocks of them to be multiplied. How scales
// are stored, as BF16 or widened, is a template's S.
struct OrderedRows {
  const std::byte* codes = nullptr;
  std::int64_t row_bytes = 0;
  const std::byte* scales = nullptr;
  std::int64_t scale_row_bytes = 0;
  std::int64_t first = 0;  // block
  std::int64_t blocks = 0;
};

constexpr std::int64_t kOrderedAsk = 1024;  // bytes that memory is asked for early of each BF16 row

// acc [T, R] += the products of one vector of x, [T, 8], and a vector of each row: weight(r).
template <int T, int R, class Weight>
[[gnu::always_inline]] inline void add_vector(const float* x, const Weight& weight, F (&acc)[T][R]) {
  if constexpr (T <= 3) {
    F values[T];
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) values[t] = load_f32(x + t * 8);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const F w = weight(r);
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) acc[t][r] = add_product(acc[t][r], values[t], w);
    }
  } else {
    F weights[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) weights[r] = weight(r);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      const F value = load_f32(x + t * 8);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) acc[t][r] = add_product(acc[t][r], value, weights[r]);
    }
  }
}

template <int T, int R>
[[gnu::always_inline]] inline void load_sums(const float* sums, F (&acc)[T][R]) {
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[t][r] = load_f32(sums + t * kOrderedSums + r * 8);
  }
}
template <int T, int R>
[[gnu::always_inline]] inline void store_sums(const F (&acc)[T][R], float* sums) {
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) store(sums + t * kOrderedSums + r * 8, acc[t][r]);
  }
}

// Sums of a block begin, and are multiplied by scale(r) into the elements' own.
template <int T, int R>
[[gnu::always_inline]] inline void start_sums(const float* from, F (&acc)[T][R]) {
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const F start = load_f32(from + t * 8);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[t][r] = start;
  }
}
template <int T, int R, class Scale>
[[gnu::always_inline]] inline void add_scaled(const F (&acc)[T][R], float* sums, const Scale& scale) {
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const F lanes = scale(r);
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) {
      float* sum = sums + t * kOrderedSums + r * 8;
      store(sum, fma(acc[t][r], lanes, load_f32(sum)));
    }
  }
  leave_in_memory();
}

// f.operator()<0>() to f.operator()<N - 1>().
template <int N, class F0>
[[gnu::always_inline]] inline void for_each_of(const F0& f) {
  [&]<int... I>(std::integer_sequence<int, I...>)
      __attribute__((always_inline)) { (f.template operator()<I>(), ...); }(std::make_integer_sequence<int, N>());
}

// T tokens times R rows straight from their codes: sums [T, kOrderedSums] += their products. x [block, vector, T, 8]
template <class W, typename S, int T, int R>
[[gnu::always_inline]] inline void add_ordered(const OrderedRows& rows, std::int64_t row, const float* x, float* sums) {
  F acc[T][R];
  if constexpr (!W::kScaled) load_sums(sums + row * 8, acc);
  const std::byte* codes = rows.codes + row * rows.row_bytes;
  const std::byte* stored = rows.scales + row * rows.scale_row_bytes;
  const std::int64_t row_bytes = rows.row_bytes;
  // Rows of codes are short, and the memory's own prefetchers do not see several of them as streams: so the next rows
  // and their scales are asked for.
  const std::int64_t ask = W::kScaled ? R * row_bytes : kOrderedAsk;
#pragma GCC unroll 1
  for (std::int64_t b = rows.first; b < rows.first + rows.blocks; ++b, x += kBlockVectors<W> * T * 8) {
    const std::byte* block = codes + W::at(b);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      for (std::int64_t line = 0; line < W::kBytes; line += 64) {
        _mm_prefetch(block + r * row_bytes + ask + line, _MM_HINT_T0);
      }
      if constexpr (W::kScaled) {
        const std::int64_t scale = b * W::kScales * static_cast<std::int64_t>(sizeof(S));
        _mm_prefetch(stored + (R + r) * rows.scale_row_bytes + scale, _MM_HINT_T0);
      }
    }
    if constexpr (W::kScaled) start_sums(x + (kBlockVectors<W> - 1) * T * 8, acc);
    for_each_of<W::kParts>([&]<int P>() __attribute__((always_inline)) {
      Words words[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) words[r] = W::template load<P>(block + r * row_bytes);
      for_each_of<W::kPerPart>([&]<int K>() __attribute__((always_inline)) {
        add_vector(
            x + (P * W::kPerPart + K) * T * 8,
            [&](int r) __attribute__((always_inline)) { return W::template expand<K>(words[r]); }, acc);
      });
    });
    if constexpr (W::kScaled) {
      add_scaled(acc, sums + row * 8, [&](int r) __attribute__((always_inline)) {
        return W::template scales<S>(stored + r * rows.scale_row_bytes, b, block + r * row_bytes);
      });
    }
  }
  if constexpr (!W::kScaled) store_sums(acc, sums + row * 8);
}

// Rows of a tile straight from the codes: what 16 registers hold beside T tokens.
template <class W, int T>
constexpr int kOrderedTileRows = T == 1                  ? 4
                                 : T == 2                ? (W::kScaled ? 3 : 4)
                                 : T == 3 && !W::kScaled ? 3
                                                         : 2;

template <class W, typename S, int T>
[[gnu::noinline]] void add_ordered_rows(const OrderedRows& given, std::int64_t count, const float* x, float* sums) {
  const OrderedRows rows = given;  // a copy, which the stores to sums cannot change
  constexpr int kRows = kOrderedTileRows<W, T>;
  std::int64_t r = 0;
  for (; r + kRows <= count; r += kRows) add_ordered<W, S, T, kRows>(rows, r, x, sums);
  for (; r < count; ++r) add_ordered<W, S, T, 1>(rows, r, x, sums);
}

// So many tokens at most meet whole rows, tile by tile straight from the codes: memory likes long rows better.
template <class W>
constexpr std::int64_t kWholeRowTokens = W::kScaled ? 20 : 12;

// More meet rows widened once a run, three side by side: [block, vector, 3, 8], a block's scales behind its vectors.
// Rows that are not there are zero.
constexpr int kWideRows = 3;

template <class W, typename S>
void widen_rows(const OrderedRows& rows, std::int64_t row, std::int64_t count, float* to) {
  for (int r = 0; r < kWideRows; ++r) {
    float* values = to + r * 8;
    const std::byte* codes = rows.codes + (row + r) * rows.row_bytes;
    const std::byte* stored = rows.scales + (row + r) * rows.scale_row_bytes;
    for (std::int64_t b = rows.first; b < rows.first + rows.blocks; ++b, values += kBlockVectors<W> * kWideRows * 8) {
      for_each_of<W::kParts>([&]<int P>() __attribute__((always_inline)) {
        const Words words = r < count ? W::template load<P>(codes + W::at(b)) : _mm256_setzero_si256();
        for_each_of<W::kPerPart>([&]<int K>() __attribute__((always_inline)) {
          store(values + (P * W::kPerPart + K) * kWideRows * 8, W::template expand<K>(words));
        });
      });
      if constexpr (W::kScaled) {
        store(values + (kBlockVectors<W> - 1) * kWideRows * 8,
              r < count ? W::template scales<S>(stored, b, codes + W::at(b)) : zero());
      }
    }
  }
}

// T tokens times three widened rows, a run of so many blocks: sums [T, kOrderedSums] += their products.
template <class W, int T>
[[gnu::noinline]] void add_wide(const float* values, std::int64_t blocks, const float* x, float* sums) {
  constexpr int kVectors = W::kParts * W::kPerPart;
  F acc[T][kWideRows];
  if constexpr (!W::kScaled) load_sums(sums, acc);
#pragma GCC unroll 1
  for (; blocks > 0; --blocks) {
    if constexpr (W::kScaled) start_sums(x + kVectors * T * 8, acc);
#pragma GCC unroll 1
    for (int v = 0; v < kVectors; v += 4, x += 4 * T * 8, values += 4 * kWideRows * 8) {
      for_each_of<4>([&]<int U>() __attribute__((always_inline)) {
        add_vector(
            x + U * T * 8,
            [&](int r) __attribute__((always_inline)) { return load_f32(values + (U * kWideRows + r) * 8); }, acc);
      });
    }
    if constexpr (W::kScaled) {
      add_scaled(acc, sums, [&](int r) __attribute__((always_inline)) { return load_f32(values + r * 8); });
      x += T * 8;
      values += kWideRows * 8;
    }
  }
  if constexpr (!W::kScaled) store_sums(acc, sums);
}
