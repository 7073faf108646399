// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/moe.h"

#include <algorithm>

#include "baltoro/model/ffn.h"

namespace baltoro::model {
namespace {

// Active experts [first, end), whose weights can be read.
struct Wave {
  std::span<const FfnWeights> experts;  // [E] of the layer
  std::int64_t first = 0;
  std::int64_t end = 0;
};

// The weights of one routed expert: the only way to them in a step.
const FfnWeights& expert(const Wave& wave, std::int64_t e) { return wave.experts[static_cast<std::size_t>(e)]; }

// a.experts, a.weights [tokens, K].
void choose_experts(const MoeWeights& w, std::int64_t tokens, const Context& c) {
  const std::int64_t experts = c.config.n_routed_experts, chosen = c.config.num_experts_per_tok;
  const kernels::LinearArgs<float> args{
      .x = c.a.normed, .ldx = c.config.hidden_size, .y = c.a.scores, .ldy = experts, .tokens = tokens};
  c.pool.parallel_for(experts, row_grain(c, experts), [&](std::int64_t begin, std::int64_t end, int worker) {
    c.kernels.linear_f32(w.router, args, begin, end, c.a.workers[static_cast<std::size_t>(worker)].linear);
  });
  const auto e = static_cast<std::size_t>(experts), k = static_cast<std::size_t>(chosen);
  c.pool.parallel_for(tokens, 4, [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t t = begin; t < end; ++t) {
      route(c.config, {c.a.scores + t * experts, e}, w.e_score_correction_bias, {c.a.experts + t * chosen, k},
            {c.a.weights + t * chosen, k}, c.a.workers[static_cast<std::size_t>(worker)].router);
    }
  });
}

// Orders the tokens' choices by expert, then token: a.slot_token, a.slot_weight, a.first_slot. Returns how many experts
// have any; those are a.active.
std::int64_t group_by_expert(std::int64_t tokens, const Context& c) {
  const std::int64_t experts = c.config.n_routed_experts, chosen = c.config.num_experts_per_tok;
  std::int32_t* first = c.a.first_slot;
  std::fill_n(first, experts + 1, 0);
  for (std::int64_t i = 0; i < tokens * chosen; ++i) ++first[c.a.experts[i] + 1];
  std::int64_t active = 0;
  for (std::int64_t e = 0; e < experts; ++e) {
    if (first[e + 1] > 0) c.a.active[active++] = static_cast<std::int32_t>(e);
    first[e + 1] += first[e];
  }
  for (std::int64_t i = 0; i < tokens * chosen; ++i) {
    const std::int32_t slot = first[c.a.experts[i]]++;  // moves each start to its end; undone below
    c.a.slot_token[slot] = static_cast<std::int32_t>(i / chosen);
    c.a.slot_weight[slot] = c.a.weights[i];
  }
  for (std::int64_t e = experts; e > 0; --e) first[e] = first[e - 1];
  first[0] = 0;
  return active;
}

// a.gate, a.up [slots, M]: both projections of every slot's token by its expert, for the slots of a wave.
void expand(const Wave& wave, Operand x, const Context& c) {
  const std::int64_t width = c.config.moe_intermediate_size;
  const std::int64_t count = (wave.end - wave.first) * width;
  c.pool.parallel_for(count, row_grain(c, count), [&](std::int64_t begin, std::int64_t end, int worker) {
    while (begin < end) {
      const std::int32_t e = c.a.active[wave.first + begin / width];
      const std::int64_t row = begin % width, rows = std::min(end - begin, width - row);
      const std::int64_t slot = c.a.first_slot[e];
      LinearCall call{.x = x,
                      .x_rows = c.a.slot_token + slot,
                      .y = c.a.gate + slot * width,
                      .ldy = width,
                      .tokens = c.a.first_slot[e + 1] - slot};
      linear_rows(c, expert(wave, e).gate, call, row, row + rows, worker);
      call.y = c.a.up + slot * width;
      linear_rows(c, expert(wave, e).up, call, row, row + rows, worker);
      begin += rows;
    }
  });
}

// delta += weight * W_down activated for every slot of a wave. A worker owns columns of delta and walks the experts in
// ascending order: the order of a token's sum is fixed without a buffer per slot.
void contract(const Wave& wave, Operand activated, const Context& c) {
  const std::int64_t hidden = c.config.hidden_size;
  c.pool.parallel_for(hidden, row_grain(c, hidden), [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t i = wave.first; i < wave.end; ++i) {
      const std::int32_t e = c.a.active[i];
      const std::int64_t slot = c.a.first_slot[e];
      linear_rows(
          c, expert(wave, e).down,
          {.x = {.data = activated.data + slot * activated.stride * c.operand_bytes(), .stride = activated.stride},
           .y = c.a.delta,
           .ldy = hidden,
           .y_rows = c.a.slot_token + slot,
           .y_weights = c.a.slot_weight + slot,
           .tokens = c.a.first_slot[e + 1] - slot},
          begin, end, worker);
    }
  });
}

// The routed experts, as they become readable. delta is summed in memory, so where one wave ends and the next begins
// does not show in the result.
Status routed_experts(Operand x, std::int64_t active, const Context& c) {
  const auto slot_of = [&c](std::int64_t i) { return c.a.first_slot[c.a.active[i]]; };
  Wave wave;
  while (wave.end < active) {
    wave.first = wave.end;
    BALTORO_TRY(wave.end, c.experts.wait(wave.first));
    wave.experts = c.experts.weights();
    expand(wave, x, c);
    const std::int64_t end_slot = c.a.first_slot[c.a.active[wave.end - 1] + 1];
    contract(wave, activate(slot_of(wave.first), end_slot, c.config.moe_intermediate_size, c), c);
    c.experts.finish(wave.end);
  }
  return {};
}

}  // namespace

Status moe_forward(const MoeWeights& w, std::int64_t layer, std::int64_t tokens, const Trace* trace, const Context& c) {
  choose_experts(w, tokens, c);
  const std::int64_t slots = tokens * c.config.num_experts_per_tok;
  if (trace != nullptr && trace->routing) {
    const auto n = static_cast<std::size_t>(slots);
    trace->routing(layer, {c.a.experts, n}, {c.a.weights, n});
  }
  const std::int64_t active = group_by_expert(tokens, c);
  c.experts.begin(layer, {c.a.active, static_cast<std::size_t>(active)}, c.a.first_slot, tokens);

  const Operand x = round_rows(c, c.a.normed, tokens, c.config.hidden_size, c.a.operand);
  if (w.shared) {
    ffn_forward(*w.shared, x, c.a.delta, tokens, c);
  } else {
    std::fill_n(c.a.delta, tokens * c.config.hidden_size, 0.0f);
  }
  return routed_experts(x, active, c);
}

}  // namespace baltoro::model
