// SPDX-License-Identifier: Apache-2.0
// Products with BF16 rows as stored: few tokens meet whole rows; more of them, and few whose activations do not stay in
// the first cache beside such rows, meet a panel run by run.

// Few tokens meet whole rows, R at a time.
struct FewPairs {
  const bf16* x = nullptr;  // token t's activations: x + t * x_stride
  std::int64_t x_stride = 0;
  const std::byte* w = nullptr;  // row r: w + r * row_bytes
  std::int64_t row_bytes = 0;
  std::int64_t rows = 0;  // at most kDpRows
  std::int64_t cols = 0;
  float* sums = nullptr;  // [tokens, kSums]
};

constexpr std::int64_t kPairsAhead = 8192;      // bytes asked for before they are used
constexpr std::int64_t kTinyRowBytes = 1024;    // rows that caches may hold: four chains of sums are faster than one
constexpr std::int64_t kShortRowBytes = 2048;   // that are over before one chain of sums gets going
constexpr std::int64_t kNearBytes = 30 << 10;   // of x, that stay in the first cache beside one row
constexpr std::int64_t kWholeBytes = 40 << 10;  // of x, that do so well enough beside a few
constexpr std::int64_t kOneRowTokens = 4;  // most whose x may be read for each row: loads take longer than products

// Rows side by side, as many as have room for their sums.
template <int T>
constexpr int kRowsBeside = T <= 6 ? 4 : 3;

// kOneStream: memory is asked for rows in the order they lie in; those of one time are no more than kPairsAhead, or
// one.
static_assert(4 * kTinyRowBytes <= kPairsAhead && 2 * kShortRowBytes <= kPairsAhead);
template <int T, int R, bool kOneStream>
[[gnu::always_inline]] inline void add_rows_of_pairs(const FewPairs& few, std::int64_t r) {
  const std::byte* w = few.w + r * few.row_bytes;
  float* sums = few.sums + r * 16;
  const std::byte* ahead = w + kPairsAhead;
  F acc[T][R];
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) acc[t][i] = zero();
  }
  std::int64_t c = 0;
  for (; c + kStep <= few.cols; c += kStep) {
    if constexpr (kOneStream) {
      for (int i = 0; i < R; ++i, ahead += kStep * 2) _mm_prefetch(ahead, _MM_HINT_T0);
    } else {  // at a row's end, the start of the one R rows on
      const std::int64_t at = c * 2 + kPairsAhead / R;
      const std::int64_t next = at < few.row_bytes ? 0 : (R - 1) * few.row_bytes;
      for (int i = 0; i < R; ++i) _mm_prefetch(w + i * few.row_bytes + at + next, _MM_HINT_T0);
    }
    add_step<T, R, true>(few.x + c, few.x_stride, w + c * 2, few.row_bytes, kStep, acc);
  }
  if (c < few.cols) {
    add_step<T, R, false>(few.x + c, few.x_stride, w + c * 2, few.row_bytes, few.cols - c, acc);
  }
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) store(sums + t * kSums + i * 16, acc[t][i]);
  }
}

template <int T, int R, bool kOneStream>
[[gnu::noinline]] void add_few_pairs(const FewPairs& given) {
  const FewPairs few = given;  // a copy, which the stores to sums cannot change
  std::int64_t r = 0;
  for (; r + R <= few.rows; r += R) add_rows_of_pairs<T, R, kOneStream>(few, r);
  for (; r < few.rows; ++r) add_rows_of_pairs<T, 1, true>(few, r);
}

// One stream reaches what a plain read does, rows side by side 80 % of it where memory is fast; but x is read once for
// all of them, which decides where it does not fit the first cache.
template <int T>
void add_pairs(const FewPairs& few) {
  constexpr int kBeside = kRowsBeside<T>;
  if (few.row_bytes <= kTinyRowBytes) return add_few_pairs<T, kBeside, true>(few);
  if (few.row_bytes <= kShortRowBytes) return add_few_pairs<T, 2, true>(few);
  if constexpr (T <= kOneRowTokens) {
    if (T == 1 || T * few.row_bytes <= kNearBytes) return add_few_pairs<T, 1, true>(few);
  }
  if constexpr (T > 1) add_few_pairs<T, kBeside, false>(few);
}

// Columns of a run. Short rows are one; for few tokens the longest of these are more, which is measured, not derived.
constexpr std::int64_t kShortRunTokens = 16, kOneRunCols = 1408;
constexpr std::int64_t pair_run(std::int64_t cols, std::int64_t tokens) {
  if (cols > kDpLongPairRun) return kDpPairRun;
  return tokens <= kShortRunTokens && cols > kOneRunCols ? kDpLongPairRun / 3 : kDpLongPairRun;
}

// Some rows times some tokens over a run.
constexpr int kMostAsked = 4;
struct PairTile {
  const bf16* x = nullptr;  // [step, T, 32], zero behind the last column
  const std::byte* w = nullptr;
  std::int64_t w_stride = 0;
  std::int64_t columns = 0;                 // at least one
  bf16* held = nullptr;                     // the rows of w as [step, R, 32], zero behind the last column; not kStored
  float* sums = nullptr;                    // of the first row: [T, kDpPairSums]
  bool first = false;                       // sums hold nothing yet
  const std::byte* ahead[kMostAsked] = {};  // kAsk rows to ask memory for, as many columns of them
};

// Where a tile's rows come from: held; w, and they are put into held for the tiles after this one; w.
enum class PairRows { kHeld, kToHold, kStored };

// Not inlined, few arguments: GCC 12 keeps addresses that find no register in vectors, and reading one back waits for
// all products before it. The loop tests its end last: sums that might pass it untouched are kept in memory too.
template <int T, int R, PairRows kRows, int kAsk>
[[gnu::noinline]] void add_pair_tile(const PairTile& tile) {
  const std::int64_t columns = tile.columns, w_stride = tile.w_stride;
  const bf16* x = tile.x;
  const std::byte* w = tile.w;
  bf16* held = tile.held;
  const std::byte* ahead[kAsk];
  for (int i = 0; i < kAsk; ++i) ahead[i] = tile.ahead[i];
  float* sums = tile.sums;
  const __mmask16 mask = tile.first ? 0 : 0xFFFF;
  F acc[T][R];
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) acc[t][i] = _mm512_maskz_loadu_ps(mask, sums + t * kDpPairSums + i * 16);
  }
  std::int64_t c = 0;
  do {
    for (const std::byte* row : ahead) _mm_prefetch(row + c * 2 + 63, _MM_HINT_T0);  // files align nothing
    if constexpr (kRows == PairRows::kStored) {
      add_step<T, R, false>(x + c * T, kStep, w + c * 2, w_stride, columns - c, acc);
    } else {
      if constexpr (kRows == PairRows::kToHold) {
        for (int i = 0; i < R; ++i)
          _mm512_store_si512(held + i * kStep, load_pairs(w + i * w_stride + c * 2, columns - c));
      }
      add_step<T, R, true>(x + c * T, kStep, reinterpret_cast<const std::byte*>(held), kStep * 2, kStep, acc);
    }
    c += kStep;
    held += R * kStep;
  } while (c < columns);
  for (int t = 0; t < T; ++t) {
    for (int i = 0; i < R; ++i) store(sums + t * kDpPairSums + i * 16, acc[t][i]);
  }
}

// Rows to ask memory for: some, then others elsewhere.
struct RowsAhead {
  const std::byte* row = nullptr;
  std::int64_t before_others = 0;  // rows from here on
  const std::byte* others = nullptr;
  std::int64_t stride = 0;
  EvenTurns turns;

  const std::byte* take(const std::byte* none) {
    if (!turns.take()) return none;
    if (before_others-- == 0) row = others;
    return std::exchange(row, row + stride);
  }
};

// A run of a panel and all tokens of a chunk.
struct PairRun {
  const bf16* x = nullptr;  // [tile, step, token of the tile, 32]
  std::int64_t tokens = 0;
  const std::byte* w = nullptr;
  std::int64_t w_stride = 0;
  std::int64_t rows = 0;  // at most kDpPairPanelRows
  std::int64_t columns = 0;
  const std::byte* next = nullptr;  // the run after it: the same rows, or those of the next panel
  bf16* held = nullptr;             // kDpHeldRows rows of the run
  float* sums = nullptr;            // [tokens, kDpPairSums]
  bool first = false;
};

using AddPairTile = void (*)(const PairTile&);
template <int T, PairRows kRows, int kAsk, int... kLess>
constexpr std::array<AddPairTile, sizeof...(kLess)> tiles_of_rows(std::integer_sequence<int, kLess...>) {
  return {add_pair_tile<T, kLess + 1, kRows, kAsk>...};
}
template <int T, int R, PairRows kRows, int kAsk>  // of 1 to R rows
constexpr auto kAddPairTile = tiles_of_rows<T, kRows, kAsk>(std::make_integer_sequence<int, R>());

// Tiles of kLeast or T tokens and up to R rows. All tokens pass a group of rows before the next: kFirst is where
// the first tile finds them, kOthers where the others do. Meanwhile memory is asked for as many rows behind those that
// follow, at most kAsk a tile.
template <int kLeast, int T, int R, PairRows kFirst, PairRows kOthers, int kAsk>
void add_pair_run(const PairRun& run) {
  constexpr int kGroupsAhead = R == 4 ? 1 : 2;  // measured: eight rows ahead are too many where memory is fast
  static_assert(kAsk <= kMostAsked);
  static constexpr std::array<AddPairTile, R> kAdd[2][2] = {
      {kAddPairTile<kLeast, R, kFirst, kAsk>, kAddPairTile<T, R, kFirst, kAsk>},
      {kAddPairTile<kLeast, R, kOthers, kAsk>, kAddPairTile<T, R, kOthers, kAsk>}};
  const std::int64_t tiles = count_tiles(run.tokens, T), groups = count_tiles(run.rows, R);
  const std::int64_t width = round_up(run.columns, kStep);
  const std::int64_t first_rows = part_begin(run.rows, groups, clamp(groups, kGroupsAhead));
  RowsAhead ahead{.row = run.w + first_rows * run.w_stride,
                  .before_others = run.rows - first_rows,
                  .others = run.next,
                  .stride = run.w_stride,
                  .turns = {.items = run.rows, .turns = tiles * groups}};
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t row = part_begin(run.rows, groups, g), rows = part_begin(run.rows, groups, g + 1) - row;
    PairTile tile{.x = run.x,
                  .w = run.w + row * run.w_stride,
                  .w_stride = run.w_stride,
                  .columns = run.columns,
                  .held = run.held,
                  .sums = run.sums + row * 16,
                  .first = run.first};
    for (std::int64_t i = 0; i < tiles; ++i) {
      ahead.turns.begin();
      for (int k = 0; k < kAsk; ++k) tile.ahead[k] = ahead.take(tile.w);
      const std::int64_t count = tile_count(run.tokens, tiles, i);
      kAdd[i == 0 ? 0 : 1][count == T ? 1 : 0][static_cast<std::size_t>(rows - 1)](tile);
      tile.x += count * width;
      tile.sums += count * kDpPairSums;
    }
  }
}

// Few tokens are one tile.
constexpr std::int64_t kOneTileTokens = 9;
template <int T>
constexpr auto add_few_run = add_pair_run<T, T, kRowsBeside<T>, PairRows::kStored, PairRows::kStored, kRowsBeside<T>>;

// Whether few tokens meet rows run by run: their activations do not stay in the first cache beside whole ones, those of
// a run do. Up to kOneRowTokens gain nothing.
constexpr bool few_by_runs(std::int64_t tokens, std::int64_t row_bytes) {
  return tokens > kOneRowTokens && tokens <= kOneTileTokens && tokens * row_bytes > kWholeBytes;
}

// More of them, which are cut into tiles of three and four. A few tiles read rows as stored; of more, the first puts
// them side by side: as stored, a row begins anywhere, so that each read takes two lines, and rows may share cache
// sets.
constexpr std::int64_t kStoredTokens = 20;
static_assert(kDpHeldTokens == 4 && kDpPairTokens >= 5);
static_assert(2 * count_tiles(kDpPairTokens + 1, kDpHeldTokens) >= kDpHeldRows &&
              count_tiles(kStoredTokens + 1, kDpHeldTokens) >= kDpHeldRows);
constexpr auto add_some_run =
    add_pair_run<kDpHeldTokens - 1, kDpHeldTokens, kDpHeldRows, PairRows::kStored, PairRows::kStored, 2>;
constexpr auto add_many_run =
    add_pair_run<kDpHeldTokens - 1, kDpHeldTokens, kDpHeldRows, PairRows::kToHold, PairRows::kHeld, 1>;
