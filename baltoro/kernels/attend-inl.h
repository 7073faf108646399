// SPDX-License-Identifier: Apache-2.0
// Attention over the shared latent cache as two matrix products:
//   scores[p][query] = row_p . q_query,   z[query][c] += sum_p weight[p][query] * row_p[c]
// A word is 4 bytes: an f32, or a pair of BF16 where products come in pairs. The scores have the queries in lanes and
// read cache rows in place, two words at a time: even and odd words have accumulators of their own, added at the end.
// The mix has columns in lanes; they are packed once for all queries. A group that is at most half full takes half of
// it.
//
// A part is a chain of steps of kAttendStep positions: each takes its own maximum, rescales what was there and adds its
// weighted rows. Positions of the last block that a query does not attend weigh zero, and rows that no query of the
// call attends count as zero. Queries of a call end in one block, so each runs the same operations as alone.

constexpr std::int64_t kGroup = kLanes;      // queries a product takes at once
constexpr std::int64_t kSlice = 2 * kLanes;  // columns packed at once
constexpr int kHalfTileOnes = kLanes;        // positions a tile of half a group takes: accumulators as in a whole one

struct AttendBuffers {
  std::int64_t count;  // queries
  std::int64_t lanes;  // padded to whole groups
  std::int64_t words;  // of a query or a row, padded to an even number
  float* queries;  // groups of [words / 2, 2 vectors]: the words 2k, 2k + 1 of places 0, 1, 4, 5, ..; then of 2, 3, ..
  float* scores;   // groups of [kAttendStep, kGroup], then the weights
  float* rows;     // [kAttendBlock, words] of a block that cannot be read in place
  float* slice;    // [kAttendStep / Op::kWidth, kSlice]
  float* ends;     // [lanes] positions from args.position on that a query attends
  float* correction;  // [lanes]
};

template <class Op>
AttendBuffers attend_buffers(const AttendArgs& args) {
  const std::int64_t lanes = attend_lanes(args.tokens * args.heads);
  const std::int64_t words = round_up((args.kv_dim + Op::kWidth - 1) / Op::kWidth, 2);
  float* queries = args.scratch;
  float* scores = queries + lanes * words;
  float* rows = scores + lanes * kAttendStep;
  float* slice = rows + kAttendBlock * round_up(words, kLanes);
  float* ends = slice + kAttendStep * kSlice;
  return {args.tokens * args.heads, lanes, words, queries, scores, rows, slice, ends, ends + lanes};
}

// A state: maximum and sum of each query, then z [lanes, columns].
struct AttendState {
  std::int64_t lanes, columns;
  float *maximum, *sum, *z;
  AttendState(std::int64_t queries, std::int64_t rank, float* state)
      : lanes(attend_lanes(queries)),
        columns(round_up(rank, 32)),
        maximum(state),
        sum(state + lanes),
        z(state + 2 * lanes) {}
};

// Words [k, k + kLanes) of a row of kv_dim elements, zeros behind its end.
template <class Op>
[[gnu::always_inline]] inline F load_words(const typename Op::Element* row, std::int64_t kv_dim, std::int64_t k) {
  const std::int64_t left = kv_dim - k * Op::kWidth;
  if (left >= kLanes * Op::kWidth) return Op::load(row + k * Op::kWidth);
  return left > 0 ? Op::load(row + k * Op::kWidth, left) : zero();
}

// Whether the queries of the group from `begin` on leave at least half of it empty. Their places are 0, 1, 4, 5, ..,
// so that they fill the first of two vectors.
inline bool half_group(const AttendBuffers& b, std::int64_t begin) { return b.count - begin <= kGroup / 2; }
constexpr std::int64_t query_of_place(std::int64_t place) { return place / 4 * 2 + place % 2; }

template <class Op>
void pack_queries(const AttendArgs& args, const AttendBuffers& b) {
  using X = typename Op::Element;
  const auto clamped = [&b](std::int64_t query) { return query < b.count ? query : b.count - 1; };
  for (std::int64_t begin = 0; begin < b.lanes; begin += kGroup) {
    const X* q[kGroup];
    const bool half = half_group(b, begin);
    for (std::int64_t i = 0; i < kGroup; ++i) {
      const std::int64_t query = clamped(begin + (half ? query_of_place(i) : i));
      q[i] = static_cast<const X*>(args.q) + query / args.heads * args.q_stride + query % args.heads * args.kv_dim;
      b.ends[begin + i] = static_cast<float>(clamped(begin + i) / args.heads + 1);
    }
    float* packed = b.queries + begin * b.words;
    for (std::int64_t k = 0; k < b.words; k += kLanes) {
      F tile[kLanes];
      for (int i = 0; i < kLanes; ++i) tile[i] = load_words<Op>(q[i], args.kv_dim, k);
      transpose(tile);
      for (int i = 0; i < kLanes && k + i < b.words; i += 2) {
        store(packed + (k + i) * kLanes, unpack_low(tile[i], tile[i + 1]));
        store(packed + (k + i + 1) * kLanes, unpack_high(tile[i], tile[i + 1]));
      }
    }
  }
}

// The rows of a block as words, row_bytes apart, an even number of them in each row.
template <class Op>
const std::byte* block_words(const AttendArgs& args, const AttendBuffers& b, const std::byte* block,
                             std::int64_t* row_bytes) {
  using X = typename Op::Element;
  *row_bytes = args.kv_dim * static_cast<std::int64_t>(sizeof(X));
  if (Op::kWidth * sizeof(X) == 4 && *row_bytes == b.words * 4) return block;
  const std::int64_t stride = round_up(b.words, kLanes);
  for (std::int64_t p = 0; p < kAttendBlock; ++p) {
    const X* row = reinterpret_cast<const X*>(block + p * *row_bytes);
    for (std::int64_t k = 0; k < b.words; k += kLanes) {
      store(b.rows + p * stride + k, load_words<Op>(row, args.kv_dim, k));
    }
  }
  *row_bytes = stride * 4;
  return reinterpret_cast<const std::byte*>(b.rows);
}

// As score_block, for half a group.
template <class Op>
void score_half(const std::byte* rows, std::int64_t row_bytes, std::int64_t count, const float* queries,
                std::int64_t words, Ahead ahead, float* scores) {
  ahead.lines *= kHalfTileOnes / kTileOnes;
  for (std::int64_t p = 0; p < count; p += kHalfTileOnes) {
    F acc[kHalfTileOnes];
    for (F& sum : acc) sum = zero();
    const std::byte* row = rows + p * row_bytes;
    for (std::int64_t k = 0; k < words / 2; ++k) {
      if (k % kUnrolled == 0) {
        for (std::int64_t i = 0; i < ahead.lines; ++i, ahead.data += 64) __builtin_prefetch(ahead.data, 0, 2);
      }
      const F lanes = load_f32(queries + k * 2 * kLanes);
#pragma GCC unroll 16  // or else acc lives in memory
      for (int i = 0; i < kHalfTileOnes; ++i) {
        acc[i] = Op::multiply_add(acc[i], lanes, load_same<8>(row + i * row_bytes + k * 8));
      }
    }
    for (int i = 0; i < kHalfTileOnes; ++i) store(scores + (p + i) * kGroup, first_pairs(add_pairs(acc[i], acc[i])));
  }
}

// Scores of the first `count` rows of a block, and of some more.
template <class Op>
void score_block(const std::byte* rows, std::int64_t row_bytes, std::int64_t count, const float* queries,
                 std::int64_t words, Ahead ahead, float* scores) {
  for (std::int64_t p = 0; p < count; p += kTileOnes) {
    Tile<kTileOnes> acc;
    clear<kTileOnes>(acc);
    product<Op, 8, kTileOnes>(rows + p * row_bytes, row_bytes, 8, queries, words / 2, ahead, acc);
    ahead.data += words / 2 / kUnrolled * ahead.lines * 64;
    for (int i = 0; i < kTileOnes; ++i) store(scores + (p + i) * kGroup, add_pairs(acc[i][0], acc[i][1]));
  }
}

// Positions [first, count) of a step: the i-th of them is not attended by queries that end at i or before.
inline void mask_scores(float* scores, std::int64_t first, std::int64_t count, const float* ends) {
  for (std::int64_t p = first; p < count; ++p) {
    const F index = set1(static_cast<float>(p - first));
    float* score = scores + p * kGroup;
    store(score, select_less(index, load_f32(ends), load_f32(score), set1(-__builtin_inff())));
  }
}

// Scores become weights exp(scale * score - maximum); maximum and sum move on. correction = exp(old - new maximum).
template <class Op>
void weigh_scores(float* scores, std::int64_t count, float scale, bool first, float* maximum, float* sum,
                  float* correction) {
  F highest = load_f32(scores), other = load_f32(scores + kGroup);
  for (std::int64_t p = 2; p < count; p += 2) {
    highest = max(highest, load_f32(scores + p * kGroup));
    other = max(other, load_f32(scores + (p + 1) * kGroup));
  }
  highest = mul(set1(scale), max(highest, other));
  F total = zero();
  if (!first) {
    const F before = load_f32(maximum);
    highest = max(before, highest);
    const F factor = exp(sub(before, highest));
    store(correction, factor);
    total = mul(load_f32(sum), factor);
  }
  const F negative = sub(zero(), highest);
  for (std::int64_t k = 0; k < count / Op::kWidth; ++k) {
    F weights[Op::kWidth];
    for (int i = 0; i < Op::kWidth; ++i) {
      weights[i] = exp(fma(set1(scale), load_f32(scores + (k * Op::kWidth + i) * kGroup), negative));
    }
    store(scores + k * kGroup, Op::join(weights));
    for (int i = 0; i < Op::kWidth; ++i) total = add(total, weights[i]);
  }
  store(maximum, highest);
  store(sum, total);
}

template <class Op, int P>
void mix_tile(const float* slice, const float* weights, std::int64_t words, bool first, const float* correction,
              std::int64_t columns, float* z) {
  Tile<P> acc;
  clear<P>(acc);
  product<Op, 4, P>(reinterpret_cast<const std::byte*>(weights), 4, kGroup * 4, slice, words, {}, acc);
  for (int i = 0; i < P; ++i) {
    float* to = z + i * columns;
    for (int v = 0; v < 2; ++v) {
      store(to + v * kLanes, first ? acc[i][v] : fma(set1(correction[i]), load_f32(to + v * kLanes), acc[i][v]));
    }
  }
}

// kSlice columns of z = correction * z + their weighted rows, for so many queries of a group; the first step of a part
// only stores.
template <class Op>
void mix_slice(const float* slice, const float* weights, std::int64_t words, bool first, const float* correction,
               std::int64_t queries, std::int64_t columns, float* z) {
  constexpr int kFew = kTileOnes / 2;
  for (std::int64_t q = 0; q < kGroup && q < queries; q += kTileOnes) {
    float* to = z + q * columns;
    if (queries - q <= kFew) {
      mix_tile<Op, kFew>(slice, weights + q, words, first, correction + q, columns, to);
    } else {
      mix_tile<Op, kTileOnes>(slice, weights + q, words, first, correction + q, columns, to);
    }
  }
}

// Columns [c, c + kSlice) of positions [begin, begin + count), whole blocks; rows from `length` on as zeros.
template <class Op>
void pack_slice(const AttendArgs& args, std::int64_t begin, std::int64_t count, std::int64_t c, float* slice) {
  using X = typename Op::Element;
  const std::int64_t columns = args.rank - c < kSlice ? args.rank - c : kSlice;
  const std::int64_t length = args.position + args.tokens;
  for (std::int64_t p = begin; p < begin + count; p += kAttendBlock) {
    const X* rows = reinterpret_cast<const X*>(args.blocks[p / kAttendBlock]) + c;
    const std::int64_t full = length - p < kAttendBlock ? (length - p) / Op::kWidth * Op::kWidth : kAttendBlock;
    std::int64_t i = 0;
    for (; i < full; i += Op::kWidth, slice += kSlice) {
      const X* row = rows + i * args.kv_dim;
      columns == kSlice ? Op::pack(row, row + args.kv_dim, slice) : Op::pack(row, row + args.kv_dim, columns, slice);
    }
    for (; i < kAttendBlock; i += Op::kWidth, slice += kSlice) {
      if (p + i < length) {  // the first of two rows
        Op::pack(rows + i * args.kv_dim, nullptr, columns, slice);
      } else {
        store(slice, zero());
        store(slice + kLanes, zero());
      }
    }
  }
}

// Scores of positions [begin, begin + count), whole blocks: groups of [kAttendStep, kGroup], the first at `begin`.
template <class Op>
void score_positions(const AttendArgs& args, const AttendBuffers& b, std::int64_t begin, std::int64_t count,
                     float* scores) {
  for (std::int64_t p = 0; p < count; p += kAttendBlock) {
    std::int64_t row_bytes = 0;
    const std::byte* rows = block_words<Op>(args, b, args.blocks[(begin + p) / kAttendBlock], &row_bytes);
    const std::int64_t next = (begin + p) / kAttendBlock + 1;
    const bool more = next * kAttendBlock < args.position + args.tokens;
    Ahead ahead = {more ? args.blocks[next] : nullptr, more ? (4 * kGroup + b.lanes - 1) / b.lanes : 0};
    const std::int64_t left = args.position + args.tokens - begin - p;  // the rest is masked
    const std::int64_t needed = left < kAttendBlock ? left : kAttendBlock;
    for (std::int64_t q = 0; q < b.lanes; q += kGroup) {
      float* to = scores + q * kAttendStep + p * kGroup;
      const auto score = half_group(b, q) ? score_half<Op> : score_block<Op>;
      score(rows, row_bytes, needed, b.queries + q * b.words, b.words, ahead, to);
      ahead.data += ahead.lines * 64 * kAttendBlock / kTileOnes * (b.words / 2 / kUnrolled);
    }
  }
}

// Weights of a group's queries for a step.
template <class Op>
void weigh_group(const AttendArgs& args, std::int64_t begin, std::int64_t count, bool first, const float* ends,
                 float* scores, float* maximum, float* sum, float* correction) {
  if (args.position < begin + count) mask_scores(scores, args.position - begin, count, ends);
  weigh_scores<Op>(scores, count, args.scale, first, maximum, sum, correction);
}

// Columns [c, c + kSlice) of all queries' z for a step.
template <class Op>
void mix_columns(const AttendArgs& args, std::int64_t begin, std::int64_t count, bool first, std::int64_t c,
                 const float* weights, const float* correction, float* slice, const AttendState& state) {
  const std::int64_t queries = args.tokens * args.heads;
  pack_slice<Op>(args, begin, count, c, slice);
  for (std::int64_t q = 0; q < state.lanes; q += kGroup) {
    mix_slice<Op>(slice, weights + q * kAttendStep, count / Op::kWidth, first, correction + q, queries - q,
                  state.columns, state.z + q * state.columns + c);
  }
}

template <class Op>
void attend_step(const AttendArgs& args, const AttendBuffers& b, const AttendState& state, std::int64_t begin,
                 std::int64_t count, bool first) {
  score_positions<Op>(args, b, begin, count, b.scores);
  for (std::int64_t q = 0; q < b.lanes; q += kGroup) {
    weigh_group<Op>(args, begin, count, first, b.ends + q, b.scores + q * kAttendStep, state.maximum + q, state.sum + q,
                    b.correction + q);
  }
  for (std::int64_t c = 0; c < state.columns; c += kSlice) {
    mix_columns<Op>(args, begin, count, first, c, b.scores, b.correction, b.slice, state);
  }
}

// Positions [begin, end) of a part, whole blocks.
struct AttendPart {
  std::int64_t begin, end;
  AttendPart(const AttendArgs& args, std::int64_t part) : begin(part * kAttendPart) {
    const std::int64_t length = round_up(args.position + args.tokens, kAttendBlock);
    end = length - begin < kAttendPart ? length : begin + kAttendPart;
    BALTORO_DCHECK(args.tokens * args.heads <= kAttendLanes && begin < end && args.rank <= args.kv_dim &&
                       args.scale > 0 &&
                       args.position / kAttendBlock == (args.position + args.tokens - 1) / kAttendBlock,
                   "attend takes a part of queries that end in one block");
  }
  std::int64_t step_end(std::int64_t step) const { return end - step < kAttendStep ? end : step + kAttendStep; }
};

template <class Op>
void attend(const AttendArgs& args, std::int64_t part, float* state) {
  const AttendPart all(args, part);
  const AttendBuffers buffers = attend_buffers<Op>(args);
  const AttendState to(args.tokens * args.heads, args.rank, state);
  pack_queries<Op>(args, buffers);
  for (std::int64_t p = all.begin; p < all.end; p += kAttendStep) {
    attend_step<Op>(args, buffers, to, p, all.step_end(p) - p, p == all.begin);
  }
}
