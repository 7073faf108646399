// SPDX-License-Identifier: Apache-2.0
// Products of five or six tokens straight from the codes of a panel, run by run.

// A tile over one run.
struct CodedRun {
  const bf16* x = nullptr;  // [T, V vectors]
  std::int64_t column = 0;
  std::int64_t columns = 0;
  float* sums = nullptr;  // [T, kSums]; nothing yet at column 0
};

template <class W, int T, int R, int V>
[[gnu::always_inline]] inline void add_coded_run(const CodedPanel& panel, std::int64_t r, const CodedRun& run,
                                                 std::int64_t columns) {
  F acc[1][T][R];
  dot_coded_runs<W, T, R, 1, V>(panel, r, run.x, run.column, columns, nullptr, acc);
  for (int i = 0; i < R; ++i) {
    const F scale = W::template scales<V>(panel.scales[r + i], run.column, columns);
    for (int t = 0; t < T; ++t) {
      float* sum = run.sums + t * kSums + (r + i) * 16;
      store(sum, fma(acc[0][t][i], scale, run.column == 0 ? zero() : load_f32(sum)));
    }
  }
}

// kWhole: run.columns is kBlock.
template <class W, int T, int V, bool kWhole>
void add_coded_panel_run(const CodedPanel& given, const CodedRun& given_run) {
  const CodedPanel panel = given;  // copies, which the stores to sums cannot change
  const CodedRun run = given_run;
  const std::int64_t columns = kWhole ? kBlock : run.columns;
  const bool last = run.column + run.columns >= panel.cols;  // then the first run of the next panel
  const std::int64_t next = last ? panel.rows * panel.row_bytes : W::bytes(run.column + kBlock);
  const std::byte* next_scales =
      panel.stored_scales + (last ? panel.rows * panel.scale_row_bytes : (run.column + kBlock) / 16);
  std::int64_t r = 0;
  for (; r + 2 <= panel.rows; r += 2) {
    for (int i = 0; i < 2; ++i) {
      prefetch_bytes(panel.codes + (r + i) * panel.row_bytes + next, W::bytes(kBlock));
      _mm_prefetch(next_scales + (r + i) * panel.scale_row_bytes + 31, _MM_HINT_T0);
    }
    add_coded_run<W, T, 2, V>(panel, r, run, columns);
  }
  for (; r < panel.rows; ++r) add_coded_run<W, T, 1, V>(panel, r, run, columns);
}

template <class W, int T>
void add_tile_of_run(const CodedPanel& panel, const CodedRun& run) {
  if (run.columns == kBlock) return add_coded_panel_run<W, T, 16, true>(panel, run);
  if constexpr (W::kShortRuns) {
    if (W::vectors(run.columns) == 8) return add_coded_panel_run<W, T, 8, false>(panel, run);
    if (W::vectors(run.columns) == 4) return add_coded_panel_run<W, T, 4, false>(panel, run);
  }
  add_coded_panel_run<W, T, 16, false>(panel, run);
}

// All columns of a panel. x: all tokens' activations, [run, token, run width].
template <class W, int T>
void add_code_runs(const CodedPanel& panel, const bf16* x, float* sums) {
  for (std::int64_t c = 0; c < panel.cols; c += kBlock) {
    add_tile_of_run<W, T>(panel, {.x = x + c * T, .column = c, .columns = clamp(panel.cols - c, kBlock), .sums = sums});
  }
}
