// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/attention.h"

#include <algorithm>

namespace baltoro::model {
namespace {

static_assert(kernels::kAttendBlock == kBlockTokens && kernels::kAttendPart % kBlockTokens == 0);

constexpr double kElementsOfWeight = 10;  // that a score costs on its way to a weight, about
constexpr std::int64_t kLanes = kernels::kAttendLanes;

struct Plan {
  std::int64_t items = 0, parts = 0, largest = 0;  // parts of all items, and of the longest
};

// Tokens from query `first` on that may share an item: neighbours in one sequence and one block, at most so many.
std::int64_t neighbours(const Queries& queries, std::int64_t first, std::int64_t most) {
  const std::int64_t position = queries.position(first);
  most = std::min({most, queries.count - first, kBlockTokens - position % kBlockTokens});
  std::int64_t n = 1;
  while (n < most && queries.sequence(first + n) == queries.sequence(first) &&
         queries.position(first + n) == position + n) {
    ++n;
  }
  return n;
}

// Cuts queries into items of at most kLanes tokens x heads.
Plan cut_items(const Queries& queries, const Context& c) {
  const std::int64_t heads = c.config.num_attention_heads;
  const std::int64_t groups = (heads + kLanes - 1) / kLanes, group_heads = (heads + groups - 1) / groups;
  Plan plan;
  for (std::int64_t q = 0; q < queries.count;) {
    const std::int64_t tokens = neighbours(queries, q, std::max<std::int64_t>(kLanes / heads, 1));
    const std::int64_t parts = kernels::attend_parts(queries.position(q) + tokens);
    for (std::int64_t head = 0; head < heads; head += group_heads) {
      c.a.attend_items[plan.items++] = {.query = static_cast<std::int32_t>(q),
                                        .tokens = static_cast<std::int32_t>(tokens),
                                        .head = static_cast<std::int32_t>(head),
                                        .heads = static_cast<std::int32_t>(std::min(group_heads, heads - head)),
                                        .parts = static_cast<std::int32_t>(parts)};
      plan.parts += parts;
    }
    plan.largest = std::max(plan.largest, parts);
    q += tokens;
  }
  return plan;
}

// What the kernels ask of one part of an item; its blocks lie in the worker's scratch.
kernels::AttendArgs part_args(std::int64_t layer, const Queries& queries, const AttendItem& item, std::int64_t part,
                              const Context& c, int worker) {
  const WorkerScratch& scratch = c.a.workers[static_cast<std::size_t>(worker)];
  const auto sequence = static_cast<std::size_t>(queries.sequence(item.query));
  const std::int64_t position = queries.position(item.query), heads = c.config.num_attention_heads;
  constexpr std::int64_t kPartBlocks = kernels::kAttendPart / kBlockTokens;
  const std::int64_t last = std::min(position / kBlockTokens, (part + 1) * kPartBlocks);  // the next part's first too
  for (std::int64_t i = part * kPartBlocks; i <= last; ++i) {
    scratch.blocks[i] =
        queries.step.kv.block(layer, queries.step.batch.block_tables[sequence][static_cast<std::size_t>(i)]);
  }
  const std::int64_t dim = c.config.kv_dim();
  return {.q = c.a.q_latent + (item.query * heads + item.head) * dim * c.operand_bytes(),
          .q_stride = heads * dim,
          .tokens = item.tokens,
          .heads = item.heads,
          .blocks = scratch.blocks,
          .position = position,
          .kv_dim = dim,
          .rank = c.config.kv_lora_rank,
          .scale = c.softmax_scale,
          .scratch = scratch.attend};
}

// state = one part of an item.
void attend_part(std::int64_t layer, const Queries& queries, const AttendItem& item, std::int64_t part,
                 const Context& c, int worker, float* state) {
  const kernels::AttendArgs args = part_args(layer, queries, item, part, c, worker);
  (c.math != Math::kF32 ? c.kernels.attend_bf16 : c.kernels.attend_f32)(args, part, state);
}

// Queries [begin, end) of an item whose parts lie in `states`, rounded into z.
void finish(const Operand& z, const AttendItem& item, float* const* states, std::int64_t count, std::int64_t begin,
            std::int64_t end, const Context& c, int worker) {
  const std::int64_t rank = c.config.kv_lora_rank, queries = std::int64_t{item.tokens} * item.heads;
  float* rows = c.a.workers[static_cast<std::size_t>(worker)].rows;
  c.kernels.attend_fold(queries, rank, states, count, begin, end);
  c.kernels.attend_finish(queries, rank, states[0], begin, end, rows);
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t row = (item.query + i / item.heads) * c.config.num_attention_heads + item.head + i % item.heads;
    round_forms(c, rows + (i - begin) * rank, c.a.z + row * z.stride * c.operand_bytes(), z, 0, rank, rank);
  }
}

// All parts of an item on one worker, folded as they come.
void attend_item(std::int64_t layer, const Queries& queries, const AttendItem& item, const Operand& z, const Context& c,
                 int worker) {
  float* const* states = c.a.workers[static_cast<std::size_t>(worker)].attend_states;
  const std::int64_t all = std::int64_t{item.tokens} * item.heads;
  attend_part(layer, queries, item, 0, c, worker, states[0]);
  for (std::int64_t part = 1; part < item.parts; ++part) {
    attend_part(layer, queries, item, part, c, worker, states[1]);
    c.kernels.attend_fold(all, c.config.kv_lora_rank, states, 2, 0, all);
  }
  finish(z, item, states, 1, 0, all, c, worker);
}

// Work of all queries, shared evenly by so many regions' items.
ItemWork attend_work(const Queries& queries, const Plan& plan, std::int64_t items, const Context& c) {
  double positions = 0;
  for (std::int64_t q = 0; q < queries.count; ++q) positions += static_cast<double>(queries.position(q) + 1);
  const std::int64_t dim = c.config.kv_dim(), rank = c.config.kv_lora_rank, heads = c.config.num_attention_heads;
  const auto read = static_cast<double>(plan.parts * kernels::kAttendPart * dim * c.operand_bytes());
  return {.bytes = read / static_cast<double>(items),
          .flops = 2 * positions * static_cast<double>(heads * (dim + rank)) / static_cast<double>(items)};
}

// Folds the first `count` states, those of items [begin, end), and finishes the items if these are all their parts.
void fold_parts(std::int64_t begin, std::int64_t end, std::int64_t count, bool all, const Operand& z,
                const Context& c) {
  const AttendItem* items = c.a.attend_items;
  const std::int64_t rank = c.config.kv_lora_rank;
  std::int64_t most = 0;  // queries of an item
  for (std::int64_t i = begin; i < end; ++i) most = std::max<std::int64_t>(most, items[i].tokens * items[i].heads);
  const double floats = static_cast<double>(count) * static_cast<double>(rank) / static_cast<double>(end - begin);
  const Region region{
      .name = "fold parts", .count = (end - begin) * most, .item = {.bytes = 4 * floats, .flops = 4 * floats}};
  parallel(c, region, [&](std::int64_t first, std::int64_t last, int worker) {
    float* const* states = c.a.attend_states.data();
    for (std::int64_t i = begin, at = 0; i < end; states += items[i++].parts, at += most) {
      const std::int64_t queries = std::int64_t{items[i].tokens} * items[i].heads;
      const std::int64_t q = std::clamp<std::int64_t>(first - at, 0, queries),
                         q_end = std::clamp<std::int64_t>(last - at, 0, queries);
      if (q == q_end) continue;
      if (all) {
        finish(z, items[i], states, end - begin == 1 ? count : items[i].parts, q, q_end, c, worker);
      } else {
        c.kernels.attend_fold(queries, rank, states, count, q, q_end);
      }
    }
  });
}

// Items [begin, end), each part on any worker; states of an item stand side by side. An item of more parts than there
// are states comes alone and is folded in rounds, its first state going on.
void attend_in_parts(std::int64_t layer, const Queries& queries, std::int64_t begin, std::int64_t end,
                     const ItemWork& part_work, const Operand& z, const Context& c) {
  const AttendItem* items = c.a.attend_items;
  std::int64_t done = 0, all = 0;  // parts
  for (std::int64_t i = begin; i < end; ++i) all += items[i].parts;
  while (done < all) {
    const std::int64_t slot = done == 0 ? 0 : 1;
    const std::int64_t pieces = std::min(all - done, std::ssize(c.a.attend_states) - slot);
    parallel(c, {.name = "attend parts", .count = pieces, .item = part_work}, [&](auto first, auto last, int worker) {
      for (std::int64_t p = first; p < last; ++p) {
        std::int64_t i = begin, part = done + p;
        while (part >= items[i].parts) part -= items[i++].parts;
        attend_part(layer, queries, items[i], part, c, worker, c.a.attend_states[static_cast<std::size_t>(slot + p)]);
      }
    });
    done += pieces;
    fold_parts(begin, end, slot + pieces, done == all, z, c);
  }
}

// A part of an item, and where its scores and its state are.
struct Piece {
  const AttendItem& item;
  std::int64_t part;
  float *scores, *state;
};

// One stage of all parts of all items: body(piece, begin, end, worker) on multiples of `multiple` of what each has
// length(piece) of.
template <typename Length, typename Body>
void attend_stage(const Plan& plan, Region region, const Length& length, const Body& body, const Context& c) {
  const auto for_pieces = [&](const auto& visit) {
    std::size_t slot = 0;
    for (std::int64_t i = 0; i < plan.items; ++i) {
      const AttendItem& item = c.a.attend_items[i];
      for (std::int64_t part = 0; part < item.parts; ++part, ++slot) {
        const Piece piece{item, part, c.a.attend_scores[slot], c.a.attend_states[slot]};
        visit(piece, (length(piece) + region.multiple - 1) / region.multiple);
      }
    }
  };
  const std::int64_t multiple = region.multiple;
  region.multiple = 1;
  for_pieces([&](const Piece&, std::int64_t units) { region.count += units; });
  region.item.flops /= static_cast<double>(region.count);
  region.item.bytes /= static_cast<double>(region.count);
  parallel(c, region, [&](std::int64_t first, std::int64_t last, int worker) {
    for_pieces([&](const Piece& piece, std::int64_t units) {
      if (first < units && first < last) {
        body(piece, first * multiple, std::min(std::min(last, units) * multiple, length(piece)), worker);
      }
      first = std::max<std::int64_t>(first - units, 0);
      last -= units;
    });
  });
}

// All parts of all items, few enough to hold the scores of all, in stages that every worker has a share of.
void attend_in_stages(std::int64_t layer, const Queries& queries, const Plan& plan, const Operand& z,
                      const Context& c) {
  const kernels::AttendStages& stages =
      c.math != Math::kF32 ? c.kernels.attend_stages_bf16 : c.kernels.attend_stages_f32;
  const auto dim = static_cast<double>(c.config.kv_dim()), rank = static_cast<double>(c.config.kv_lora_rank);
  const ItemWork all = attend_work(queries, plan, 1, c);
  const double flops = all.flops / (dim + rank);  // for each element of a row
  const auto args = [&](const Piece& piece, int worker) {
    return part_args(layer, queries, piece.item, piece.part, c, worker);
  };
  attend_stage(
      plan,
      {.name = "attend scores", .item = {.bytes = all.bytes, .flops = flops * dim}, .multiple = kernels::kAttendBlock},
      [&](const Piece& piece) {
        const std::int64_t length = queries.position(piece.item.query) + piece.item.tokens;
        return std::min(length - piece.part * kernels::kAttendPart, kernels::kAttendPart);
      },
      [&](const Piece& piece, std::int64_t begin, std::int64_t end, int worker) {
        stages.score(args(piece, worker), piece.part, begin, end, piece.scores);
      },
      c);
  attend_stage(
      plan, {.name = "attend weights", .item = {.flops = flops * kElementsOfWeight}, .multiple = kernels::kAttendGroup},
      [](const Piece& piece) { return std::int64_t{piece.item.tokens} * piece.item.heads; },
      [&](const Piece& piece, std::int64_t begin, std::int64_t end, int worker) {
        stages.weigh(args(piece, worker), piece.part, begin, end, piece.scores, piece.state);
      },
      c);
  attend_stage(
      plan,
      {.name = "attend values",
       .item = {.bytes = all.bytes, .flops = flops * rank},
       .multiple = kernels::kAttendColumns},
      [&c](const Piece&) { return c.config.kv_lora_rank; },
      [&](const Piece& piece, std::int64_t begin, std::int64_t end, int worker) {
        stages.mix(args(piece, worker), piece.part, begin, end, piece.scores, piece.state);
      },
      c);
  fold_parts(0, plan.items, plan.parts, true, z, c);
}

}  // namespace

void attend(std::int64_t layer, const Queries& queries, const Operand& z, const Context& c) {
  const Plan plan = cut_items(queries, c);
  if (plan.parts <= std::ssize(c.a.attend_scores)) return attend_in_stages(layer, queries, plan, z, c);
  // The longest item must not keep one worker busy when all else is done.
  if (plan.largest == 1 || plan.largest * 2 * c.pool.size() <= plan.parts || c.pool.size() == 1) {
    const Region region{.name = "attend", .count = plan.items, .item = attend_work(queries, plan, plan.items, c)};
    return parallel(c, region, [&](std::int64_t begin, std::int64_t end, int worker) {
      // Later tokens, which attend more, first.
      for (std::int64_t i = begin; i < end; ++i) {
        attend_item(layer, queries, c.a.attend_items[plan.items - 1 - i], z, c, worker);
      }
    });
  }
  const ItemWork part_work = attend_work(queries, plan, plan.parts, c);
  for (std::int64_t begin = 0, end = 0; begin < plan.items; begin = end) {
    std::int64_t slots = 0;
    do {
      slots += c.a.attend_items[end++].parts;
    } while (end < plan.items && slots + c.a.attend_items[end].parts <= std::ssize(c.a.attend_states));
    attend_in_parts(layer, queries, begin, end, part_work, z, c);
  }
}

}  // namespace baltoro::model
