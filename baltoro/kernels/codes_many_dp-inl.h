// SPDX-License-Identifier: Apache-2.0
// Products of many tokens with codes: a panel is unpacked once into BF16 pairs, which stay in the second cache.

// Codes of a row's run as BF16 pairs, and the scales of its lanes.
template <class W, int V>
[[gnu::always_inline]] inline void unpack_run(const std::byte* codes, const RowScales& scales, std::int64_t c,
                                              std::int64_t n, std::byte* pairs, float* lane_scales) {
  constexpr int kCodeVectors = V / W::kExpand;
  constexpr int kParts = (kCodeVectors + 3) / 4;
  for (int part = 0; part < kParts; ++part) {
    __m512i q[4];
    W::template load<V>(codes, part, n, q);
    for (int j = 0; j < kCodeVectors / kParts; ++j) {
      _mm512_store_si512(pairs, W::template expand<0>(q[j]));
      _mm512_store_si512(pairs + 64, W::template expand<1>(q[j]));
      if constexpr (W::kExpand == 4) {
        _mm512_store_si512(pairs + 128, W::template expand<2>(q[j]));
        _mm512_store_si512(pairs + 192, W::template expand<3>(q[j]));
      }
      pairs += 64 * W::kExpand;
    }
  }
  store(lane_scales, W::template scales<V>(scales, c, n));
}

// While a row's run is unpacked, its next one is fetched; after the last, the first of the next panel.
template <class W, int V>
void unpack_rows(const CodedPanel& panel, std::int64_t c, std::int64_t n, std::byte* pairs, float* lane_scales) {
  const bool last = c + kBlock >= panel.cols;
  const std::int64_t next = last ? panel.rows * panel.row_bytes : W::bytes(c + kBlock);
  for (std::int64_t r = 0; r < panel.rows; ++r) {
    prefetch_bytes(panel.codes + r * panel.row_bytes + next, W::bytes(V * 32));
    unpack_run<W, V>(panel.codes + r * panel.row_bytes + W::bytes(c), panel.scales[r], c, n, pairs + r * V * 64,
                     lane_scales + r * 16);
  }
}

// The run that begins at column c.
template <class W>
void unpack_panel_run(const CodedPanel& panel, std::int64_t c, std::byte* pairs, float* lane_scales) {
  const std::int64_t n = panel.cols - c;
  if (n >= kBlock) return unpack_rows<W, 16>(panel, c, kBlock, pairs, lane_scales);
  if constexpr (W::kShortRuns) {
    if (W::vectors(n) == 8) return unpack_rows<W, 8>(panel, c, n, pairs, lane_scales);
    if (W::vectors(n) == 4) return unpack_rows<W, 4>(panel, c, n, pairs, lane_scales);
  }
  unpack_rows<W, 16>(panel, c, n, pairs, lane_scales);
}

// R unpacked rows of V vectors: acc, then acc times the scales into sums. Brings some lines of next_x.
template <int T, int R, int V, bool kFirst>
[[gnu::always_inline]] inline void add_unpacked_rows(const bf16* x, const std::byte* w, const float* scales,
                                                     float* sums, const bf16* next_x) {
  F acc[T][R];
  for (auto& row : acc) {
    for (F& lanes : row) lanes = zero();
  }
#pragma GCC unroll 1
  for (int v = 0; v < V; ++v) {
    _mm_prefetch(next_x + v * 32, _MM_HINT_T0);
    add_step<T, R, true>(x + v * 32, V * 32, w + v * 64, V * 64, 32, acc);
  }
  for (int i = 0; i < R; ++i) {
    const F scale = load_f32(scales + i * 16);
    for (int t = 0; t < T; ++t) {
      float* sum = sums + t * kSums + i * 16;
      store(sum, fma(acc[t][i], scale, kFirst ? zero() : load_f32(sum)));
    }
  }
}

template <int T, int V, bool kFirst>
[[gnu::always_inline]] inline void add_unpacked_panel(const Run& run) {
  std::int64_t r = 0;
  constexpr int kRows = T <= 6 ? 4 : 3;        // what the registers hold
  for (; r + kRows <= run.rows; r += kRows) {  // the next tokens' activations, one in each of the first T turns
    const std::int64_t next = r / kRows < T ? r / kRows : T - 1;
    add_unpacked_rows<T, kRows, V, kFirst>(run.x, run.w + r * V * 64, run.scales + r * 16, run.sums + r * 16,
                                           run.next_x + next * V * 32);
  }
  if (r + 2 <= run.rows) {
    add_unpacked_rows<T, 2, V, kFirst>(run.x, run.w + r * V * 64, run.scales + r * 16, run.sums + r * 16, run.next_x);
    r += 2;
  }
  for (; r < run.rows; ++r) {
    add_unpacked_rows<T, 1, V, kFirst>(run.x, run.w + r * V * 64, run.scales + r * 16, run.sums + r * 16, run.next_x);
  }
}

template <int T, int V>
void add_unpacked(const Run& given) {
  const Run run = given;
  return run.first ? add_unpacked_panel<T, V, true>(run) : add_unpacked_panel<T, V, false>(run);
}

template <class W, int T>
void add_unpacked_run(const Run& run) {
  if constexpr (W::kShortRuns) {
    if (run.columns == 8 * 32) return add_unpacked<T, 8>(run);
    if (run.columns == 4 * 32) return add_unpacked<T, 4>(run);
  }
  add_unpacked<T, 16>(run);
}
