// SPDX-License-Identifier: Apache-2.0
// Attention over the shared latent cache as two matrix products whose lanes are the queries (a token and a head each):
//   scores[p][lane] = row_p . q_lane,   z[c][lane] += sum_p row_p[c] * weight[p][lane]
// Cache rows are read in place for the first and 32 columns at a time, packed once for all queries, for the second.
// Maximum and sum of the softmax stay in lanes: a query never meets its neighbours.
//
// A part is a chain of steps of kAttendStep positions: each step takes its own maximum, rescales what was there and
// adds its weighted rows. Positions of the last block that a query does not attend weigh zero and their rows count as
// zero if no query of the call attends them; queries of a call end in one block, so each runs the same operations
// alone.

constexpr std::int64_t kGroup = 2 * kLanes;  // queries a product takes at once
constexpr std::int64_t kSliceColumns = 32;

// Queries [begin, begin + width): width is kGroup, or kLanes at the end. Arrays over queries are cut in groups: rows of
// `width` floats, one group behind the other.
struct Group {
  std::int64_t begin, width;
};
template <class Body>
void for_groups(std::int64_t lanes, const Body& body) {
  for (std::int64_t begin = 0; begin < lanes; begin += kGroup) {
    body(Group{begin, lanes - begin < kGroup ? lanes - begin : kGroup});
  }
}

struct AttendBuffers {
  std::int64_t lanes, steps;  // steps of a query
  float* queries;             // groups of [steps, width]
  float* scores;              // groups of [kAttendStep, width], then the weights
  float* rows;                // [kAttendBlock, steps] of a block that cannot be read in place
  float* slice;               // [kAttendStep / Op::kWidth, kSliceColumns]
  float* ends;                // [lanes] positions of the call's own block that a query attends, from args.position
  float* correction;          // [lanes]
};

template <class Op>
AttendBuffers attend_buffers(const AttendArgs& args) {
  const std::int64_t lanes = attend_lanes(args.tokens * args.heads);
  const std::int64_t steps = (args.kv_dim + Op::kWidth - 1) / Op::kWidth;
  float* queries = args.scratch;
  float* scores = queries + lanes * steps;
  float* rows = scores + lanes * kAttendStep;
  float* slice = rows + kAttendBlock * round_up(steps, kLanes);
  float* ends = slice + kAttendStep * kSliceColumns;
  return {lanes, steps, queries, scores, rows, slice, ends, ends + lanes};
}

// Parts of a state: the maximum and sum of each query, then groups of z [padded rank, width].
struct AttendState {
  std::int64_t lanes, columns;
  float *maximum, *sum, *z;
  AttendState(std::int64_t queries, std::int64_t rank, float* state)
      : lanes(attend_lanes(queries)),
        columns(round_up(rank, 16)),
        maximum(state),
        sum(state + lanes),
        z(state + 2 * lanes) {}
  float* group_z(const Group& group) const { return z + group.begin * columns; }
};

template <class Op>
void pack_queries(const AttendArgs& args, const AttendBuffers& b) {
  using X = typename Op::Element;
  const auto load = [&](std::int64_t lane, std::int64_t k) {
    if (lane >= args.tokens * args.heads) return zero();
    const X* q = static_cast<const X*>(args.q) + lane / args.heads * args.q_stride + lane % args.heads * args.kv_dim;
    const std::int64_t left = args.kv_dim - k * Op::kWidth;
    return left < kLanes * Op::kWidth ? Op::load(q + k * Op::kWidth, left) : Op::load(q + k * Op::kWidth);
  };
  for_groups(b.lanes, [&](const Group& group) {
    float* packed = b.queries + group.begin * b.steps;
    for (std::int64_t lane = 0; lane < group.width; lane += kLanes) {
      for (std::int64_t k = 0; k < b.steps; k += kLanes) {
        F tile[kLanes];
        for (int i = 0; i < kLanes; ++i) tile[i] = load(group.begin + lane + i, k);
        transpose(tile);
        for (int i = 0; i < kLanes && k + i < b.steps; ++i) store(packed + (k + i) * group.width + lane, tile[i]);
      }
    }
  });
  for (std::int64_t lane = 0; lane < b.lanes; ++lane) {
    const std::int64_t token = lane / args.heads;
    b.ends[lane] = static_cast<float>((token < args.tokens ? token : args.tokens - 1) + 1);
  }
}

// The rows of a block as steps of 4 bytes; row_bytes apart.
template <class Op>
const std::byte* block_steps(const AttendArgs& args, const AttendBuffers& b, const std::byte* block,
                             std::int64_t* row_bytes) {
  using X = typename Op::Element;
  *row_bytes = args.kv_dim * static_cast<std::int64_t>(sizeof(X));
  if (Op::kWidth * sizeof(X) == 4 && args.kv_dim % Op::kWidth == 0) return block;
  const std::int64_t stride = round_up(b.steps, kLanes);
  for (std::int64_t p = 0; p < kAttendBlock; ++p) {
    const X* row = reinterpret_cast<const X*>(block + p * *row_bytes);
    for (std::int64_t k = 0; k < b.steps; k += kLanes) {
      const std::int64_t left = args.kv_dim - k * Op::kWidth;
      store(b.rows + p * stride + k,
            left < kLanes * Op::kWidth ? Op::load(row + k * Op::kWidth, left) : Op::load(row + k * Op::kWidth));
    }
  }
  *row_bytes = stride * 4;
  return reinterpret_cast<const std::byte*>(b.rows);
}

template <class Op, int V>
void score_block(const std::byte* rows, std::int64_t row_bytes, const float* queries, std::int64_t steps,
                 float* scores) {
  constexpr int kRows = kTileOnes<V>;
  for (std::int64_t p = 0; p < kAttendBlock; p += kRows) {
    F acc[kRows][V];
    for (int i = 0; i < kRows; ++i) {
      for (int v = 0; v < V; ++v) acc[i][v] = zero();
    }
    product<Op, kRows, V>(rows + p * row_bytes, row_bytes, 4, queries, V * kLanes, steps, acc);
    for (int i = 0; i < kRows; ++i) {
      for (int v = 0; v < V; ++v) store(scores + ((p + i) * V + v) * kLanes, acc[i][v]);
    }
  }
}

// Positions [first, count) of a step: the i-th of them is not attended by queries that end at i or before.
template <int V>
void mask_scores(float* scores, std::int64_t first, std::int64_t count, const float* ends) {
  for (std::int64_t p = first; p < count; ++p) {
    const F index = set1(static_cast<float>(p - first));
    for (int v = 0; v < V; ++v) {
      float* score = scores + (p * V + v) * kLanes;
      store(score, select_less(index, load_f32(ends + v * kLanes), load_f32(score), set1(-__builtin_inff())));
    }
  }
}

// Scores become weights exp(scale * score - maximum); maximum and sum move on. correction = exp(old - new maximum).
template <class Op, int V>
void weigh_scores(float* scores, std::int64_t count, float scale, bool first, float* maximum, float* sum,
                  float* correction) {
  for (int v = 0; v < V; ++v) {
    F highest = set1(-__builtin_inff());
    for (std::int64_t p = 0; p < count; ++p) highest = max(highest, load_f32(scores + (p * V + v) * kLanes));
    highest = mul(set1(scale), highest);
    F total = zero();
    if (!first) {
      const F before = load_f32(maximum + v * kLanes);
      highest = max(before, highest);
      const F factor = exp(sub(before, highest));
      store(correction + v * kLanes, factor);
      total = mul(load_f32(sum + v * kLanes), factor);
    }
    const F negative = sub(zero(), highest);
    for (std::int64_t k = 0; k < count / Op::kWidth; ++k) {
      F weights[Op::kWidth];
      for (int i = 0; i < Op::kWidth; ++i) {
        weights[i] = exp(fma(set1(scale), load_f32(scores + ((k * Op::kWidth + i) * V + v) * kLanes), negative));
      }
      store(scores + (k * V + v) * kLanes, Op::join(weights));
      for (int i = 0; i < Op::kWidth; ++i) total = add(total, weights[i]);
    }
    store(maximum + v * kLanes, highest);
    store(sum + v * kLanes, total);
  }
}

// z of `columns` columns = correction * z + their weighted rows; the first step of a part only stores.
template <class Op, int V>
void mix_slice(const float* slice, std::int64_t columns, const float* weights, std::int64_t steps, bool first,
               const float* correction, float* z) {
  constexpr int kColumns = kTileOnes<V>;
  for (std::int64_t c = 0; c < columns; c += kColumns) {
    F acc[kColumns][V];
    for (int i = 0; i < kColumns; ++i) {
      for (int v = 0; v < V; ++v) acc[i][v] = zero();
    }
    product<Op, kColumns, V>(reinterpret_cast<const std::byte*>(slice + c), 4, kSliceColumns * 4, weights, V * kLanes,
                             steps, acc);
    for (int i = 0; i < kColumns; ++i) {
      for (int v = 0; v < V; ++v) {
        float* to = z + ((c + i) * V + v) * kLanes;
        store(to, first ? acc[i][v] : fma(load_f32(correction + v * kLanes), load_f32(to), acc[i][v]));
      }
    }
  }
}

// Columns [c, c + 32) of positions [begin, begin + count), whole blocks; rows from `length` on as zeros.
template <class Op>
void pack_slice(const AttendArgs& args, std::int64_t begin, std::int64_t count, std::int64_t c, float* slice) {
  using X = typename Op::Element;
  const std::int64_t columns = args.rank - c < kSliceColumns ? args.rank - c : kSliceColumns;
  const std::int64_t length = args.position + args.tokens;
  for (std::int64_t p = begin; p < begin + count; p += kAttendBlock) {
    const X* rows = reinterpret_cast<const X*>(args.blocks[p / kAttendBlock]) + c;
    const std::int64_t full = length - p < kAttendBlock ? (length - p) / Op::kWidth * Op::kWidth : kAttendBlock;
    std::int64_t i = 0;
    for (; i < full; i += Op::kWidth, slice += kSliceColumns) {
      const X* row = rows + i * args.kv_dim;
      columns == kSliceColumns ? Op::pack(row, row + args.kv_dim, slice)
                               : Op::pack(row, row + args.kv_dim, columns, slice);
    }
    for (; i < kAttendBlock; i += Op::kWidth, slice += kSliceColumns) {
      if (p + i < length) {  // the first of two rows
        Op::pack(rows + i * args.kv_dim, nullptr, columns, slice);
      } else {
        for (std::int64_t k = 0; k < kSliceColumns; k += kLanes) store(slice + k, zero());
      }
    }
  }
}

template <class Op>
void attend_step(const AttendArgs& args, const AttendBuffers& b, const AttendState& state, std::int64_t begin,
                 std::int64_t count, bool first) {
  for (std::int64_t p = 0; p < count; p += kAttendBlock) {
    std::int64_t row_bytes = 0;
    const std::byte* rows = block_steps<Op>(args, b, args.blocks[(begin + p) / kAttendBlock], &row_bytes);
    for_groups(b.lanes, [&](const Group& group) {
      float* scores = b.scores + group.begin * kAttendStep + p * group.width;
      const float* queries = b.queries + group.begin * b.steps;
      if (group.width == kGroup) return score_block<Op, 2>(rows, row_bytes, queries, b.steps, scores);
      score_block<Op, 1>(rows, row_bytes, queries, b.steps, scores);
    });
  }
  for_groups(b.lanes, [&](const Group& group) {
    float* scores = b.scores + group.begin * kAttendStep;
    const auto weigh = [&]<int V>() {
      if (args.position < begin + count) mask_scores<V>(scores, args.position - begin, count, b.ends + group.begin);
      weigh_scores<Op, V>(scores, count, args.scale, first, state.maximum + group.begin, state.sum + group.begin,
                          b.correction + group.begin);
    };
    group.width == kGroup ? weigh.template operator()<2>() : weigh.template operator()<1>();
  });
  for (std::int64_t c = 0; c < state.columns; c += kSliceColumns) {
    pack_slice<Op>(args, begin, count, c, b.slice);
    const std::int64_t columns = state.columns - c < kSliceColumns ? state.columns - c : kSliceColumns;
    for_groups(b.lanes, [&](const Group& group) {
      const float* weights = b.scores + group.begin * kAttendStep;
      const float* correction = b.correction + group.begin;
      float* z = state.group_z(group) + c * group.width;
      const std::int64_t steps = count / Op::kWidth;
      if (group.width == kGroup) return mix_slice<Op, 2>(b.slice, columns, weights, steps, first, correction, z);
      mix_slice<Op, 1>(b.slice, columns, weights, steps, first, correction, z);
    });
  }
}

template <class Op>
void attend(const AttendArgs& args, std::int64_t part, float* state) {
  const std::int64_t begin = part * kAttendPart, length = round_up(args.position + args.tokens, kAttendBlock);
  const std::int64_t end = length - begin < kAttendPart ? length : begin + kAttendPart;
  BALTORO_DCHECK(args.tokens * args.heads <= kAttendLanes && begin < end && args.rank <= args.kv_dim &&
                     args.scale > 0 && args.position / kAttendBlock == (args.position + args.tokens - 1) / kAttendBlock,
                 "attend takes a part of queries that end in one block");
  const AttendBuffers buffers = attend_buffers<Op>(args);
  const AttendState to(args.tokens * args.heads, args.rank, state);
  pack_queries<Op>(args, buffers);
  for (std::int64_t p = begin; p < end; p += kAttendStep) {
    attend_step<Op>(args, buffers, to, p, end - p < kAttendStep ? end - p : kAttendStep, p == begin);
  }
}
