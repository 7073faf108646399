// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/ffn.h"

#include <algorithm>

namespace baltoro::model {
namespace {

// Of down, which puts an expert's tokens in order and asks memory anew for each chunk of rows: most rows of a chunk,
// fewest chunks of a thread.
constexpr std::int64_t kMostRows = 512, kLeastChunks = 8;

std::int64_t width(const ExpertTokens& e) { return e.weights->gate.rows; }

// A row of gate and the same row of up, for the expert's tokens.
ItemWork gate_up_work(const ExpertTokens& e) {
  const ItemWork gate = row_work(e.weights->gate, e.tokens), up = row_work(e.weights->up, e.tokens);
  return {.bytes = gate.bytes + up.bytes, .flops = gate.flops + up.flops};
}

// Cuts the rows of every expert into pieces of about the same work. The region of all pieces.
Region lay_out_pieces(std::span<ExpertTokens> experts, const char* name, const Context& c) {
  ItemWork all;
  for (const ExpertTokens& e : experts) {
    const ItemWork row = gate_up_work(e);
    all.bytes += row.bytes * static_cast<double>(width(e));
    all.flops += row.flops * static_cast<double>(width(e));
  }
  const double chunk = chunk_microseconds(all, c.pool.size());
  std::int64_t pieces = 0;
  for (ExpertTokens& e : experts) {
    const std::int64_t most =
        std::min(kFfnRows, kFfnValues / std::min(e.tokens, kFfnTokens) / kRowMultiple * kRowMultiple);
    const double wanted = chunk / microseconds(gate_up_work(e));
    const std::int64_t multiples = wanted < kFfnRows ? static_cast<std::int64_t>(wanted) / kRowMultiple + 1 : kFfnRows;
    e.piece_rows = std::min(multiples * kRowMultiple, most);
    e.first_piece = pieces;
    pieces += (width(e) + e.piece_rows - 1) / e.piece_rows;
  }
  const auto count = static_cast<double>(pieces);
  return {.name = name, .count = pieces, .item = {.bytes = all.bytes / count, .flops = all.flops / count}};
}

// e.activated, columns [begin, end): silu(W_gate x) * W_up x, rounded.
void activate_rows(const ExpertTokens& e, Operand x, std::int64_t begin, std::int64_t end, const Context& c,
                   int worker) {
  const WorkerScratch& scratch = c.a.workers[static_cast<std::size_t>(worker)];
  const std::int64_t rows = end - begin, row_bytes = operand_row_bytes(c.math, width(e));
  const std::int64_t parts = (e.tokens + kFfnTokens - 1) / kFfnTokens;
  for (std::int64_t part = 0; part < parts; ++part) {
    const std::int64_t t = e.tokens * part / parts;
    const LinearCall all{.x = x, .x_rows = e.rows, .ldy = rows, .tokens = e.tokens};
    LinearCall call = slice_tokens(c, all, t, e.tokens * (part + 1) / parts);
    call.y = scratch.gate;
    linear_rows(c, e.weights->gate.row_slice(begin, rows), call, 0, rows, worker);
    call.y = scratch.up;
    linear_rows(c, e.weights->up.row_slice(begin, rows), call, 0, rows, worker);
    c.kernels.silu_mul(scratch.gate, scratch.up, scratch.gate, call.tokens * rows);
    for (std::int64_t i = 0; i < call.tokens; ++i) {
      round_columns(c, scratch.gate + i * rows, e.activated + (t + i) * row_bytes, begin, end, width(e));
    }
  }
}

// All experts' `activated`: both projections, the activation and its rounding while the values are in cache.
void expand(std::span<ExpertTokens> experts, Operand x, const char* name, const Context& c) {
  parallel(c, lay_out_pieces(experts, name, c), [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      const auto after = std::ranges::upper_bound(experts, piece, {}, &ExpertTokens::first_piece);
      const ExpertTokens& e = *(after - 1);
      const std::int64_t row = (piece - e.first_piece) * e.piece_rows;
      activate_rows(e, x, row, std::min(row + e.piece_rows, width(e)), c, worker);
    }
  });
}

// The slots of an expert whose tokens are in [begin, end).
struct Slots {
  std::int64_t begin, end;
};
Slots slots_of(const ExpertTokens& e, std::int64_t begin, std::int64_t end) {
  if (e.rows == nullptr) return {begin, end};
  const std::int32_t* last = e.rows + e.tokens;
  return {std::lower_bound(e.rows, last, begin) - e.rows, std::lower_bound(e.rows, last, end) - e.rows};
}

// y += mix * W_down activated for every expert. A worker owns columns of y, of all tokens or a block of them, and walks
// the experts in their order: the order of a token's sum is fixed without a buffer per slot.
void contract(std::span<const ExpertTokens> experts, float* y, std::int64_t tokens, const char* name,
              const Context& c) {
  const std::int64_t hidden = c.config.hidden_size;
  const std::int64_t least = hidden / (kLeastChunks * c.pool.size()) / kRowMultiple * kRowMultiple;
  Region region{.name = name, .count = hidden, .item = {}, .multiple = std::clamp(least, kRowMultiple, kMostRows)};
  for (const ExpertTokens& e : experts) {
    const ItemWork row = row_work(e.weights->down, e.tokens);
    region.item = {.bytes = region.item.bytes + row.bytes, .flops = region.item.flops + row.flops};
  }
  const auto body = [&](std::int64_t begin, std::int64_t end, std::int64_t t, std::int64_t t_end, int worker) {
    for (const ExpertTokens& e : experts) {
      const Slots slots = slots_of(e, t, t_end);
      if (slots.begin == slots.end) continue;
      const LinearCall all{.x = operand_rows(c, e.activated, width(e)),
                           .y = y,
                           .ldy = hidden,
                           .y_rows = e.rows,
                           .y_weights = e.mix,
                           .tokens = e.tokens};
      linear_rows(c, e.weights->down, slice_tokens(c, all, slots.begin, slots.end), begin, end, worker);
    }
  };
  // To a few of the tokens each, which are not cut further.
  const bool routed = std::ranges::any_of(experts, [](const ExpertTokens& e) { return e.rows != nullptr; });
  parallel_rows(c, region, tokens, routed ? tokens : kernels::kTokensAtOnce, body);
}

}  // namespace

void ffn_forward(std::span<ExpertTokens> experts, Operand x, float* y, std::int64_t tokens, const Context& c) {
  expand(experts, x, "experts: gate, up", c);
  contract(experts, y, tokens, "experts: down", c);
}

void ffn_forward(const FfnWeights& w, Operand x, float* y, std::int64_t tokens, const Context& c) {
  ExpertTokens all{.weights = &w, .tokens = tokens, .activated = c.a.activated};
  expand({&all, 1}, x, "gate, up", c);
  contract({&all, 1}, y, tokens, "down", c);
}

}  // namespace baltoro::model
