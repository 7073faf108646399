// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/moe.h"

#include <algorithm>

#include "baltoro/model/ffn.h"

namespace baltoro::model {
namespace {

constexpr std::int64_t kRouterRowMultiple = 8;
constexpr double kFlopsPerChoice = 200;  // for each expert: a sigmoid, then comparisons

// a.experts, a.weights [tokens, K].
void choose_experts(const MoeWeights& w, std::int64_t tokens, const Context& c) {
  const std::int64_t experts = c.config.n_routed_experts, chosen = c.config.num_experts_per_tok;
  const kernels::LinearArgs<float> args{
      .x = c.a.normed, .ldx = c.config.hidden_size, .y = c.a.scores, .ldy = experts, .tokens = tokens};
  const Region logits{
      .name = "router", .count = experts, .item = row_work(w.router, tokens), .multiple = kRouterRowMultiple};
  parallel(c, logits, [&](std::int64_t begin, std::int64_t end, int worker) {
    c.kernels.linear_f32(w.router, args, begin, end, c.a.workers[static_cast<std::size_t>(worker)].linear);
  });
  const auto e = static_cast<std::size_t>(experts), k = static_cast<std::size_t>(chosen);
  const Region choice{.name = "top k", .count = tokens, .item = {.flops = kFlopsPerChoice * static_cast<double>(e)}};
  parallel(c, choice, [&](std::int64_t begin, std::int64_t end, int worker) {
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

// The shared experts, as one expert of all tokens.
ExpertTokens shared_expert(const MoeWeights& w, std::int64_t tokens, const Context& c) {
  return {.weights = &*w.shared, .tokens = tokens, .activated = c.a.activated};
}

// The expert a.active[i] and its slots. Their `activated` rows lie behind those of the shared experts.
ExpertTokens routed_expert(std::int64_t i, std::int64_t tokens, const Context& c) {
  const std::int32_t e = c.a.active[i];
  const std::int64_t slot = c.a.first_slot[e];
  const std::int64_t width = c.config.moe_intermediate_size;
  return {.weights = &c.experts.weights()[static_cast<std::size_t>(e)],
          .rows = c.a.slot_token + slot,
          .mix = c.a.slot_weight + slot,
          .tokens = c.a.first_slot[e + 1] - slot,
          .activated = c.a.activated + tokens * operand_row_bytes(c.math, c.config.n_shared_experts * width) +
                       slot * operand_row_bytes(c.math, width)};
}

// a.delta of the shared and the routed experts. The routed come in waves, as they become readable; the shared go with
// the first one, or ahead of it where it is still on its way. Waves do not show in the result: a token's sum has the
// same order in any.
Status mix_experts(const MoeWeights& w, Operand x, std::int64_t tokens, std::int64_t active, const Context& c) {
  std::size_t members = 0;
  if (w.shared) {
    c.a.wave[members++] = shared_expert(w, tokens, c);
  } else {
    std::fill_n(c.a.delta, tokens * c.config.hidden_size, 0.0f);
  }
  const auto compute_wave = [&] {
    ffn_forward({c.a.wave, members}, x, c.a.delta, tokens, c);
    members = 0;
  };
  if (w.shared && !c.experts.ready()) compute_wave();
  for (std::int64_t done = 0; done < active;) {
    BALTORO_TRY(const std::int64_t end, c.experts.wait(done));
    for (; done < end; ++done) c.a.wave[members++] = routed_expert(done, tokens, c);
    compute_wave();
    c.experts.finish(done);
  }
  return {};
}

}  // namespace

Status moe_forward(const MoeWeights& w, Operand x, std::int64_t layer, std::int64_t tokens, const Trace* trace,
                   const Context& c) {
  choose_experts(w, tokens, c);
  if (trace != nullptr && trace->routing) {
    const auto n = static_cast<std::size_t>(tokens * c.config.num_experts_per_tok);
    trace->routing(layer, {c.a.experts, n}, {c.a.weights, n});
  }
  const std::int64_t active = group_by_expert(tokens, c);
  c.experts.begin(layer, {c.a.active, static_cast<std::size_t>(active)}, c.a.first_slot, tokens);
  expect_experts(layer, tokens, c);
  return mix_experts(w, x, tokens, active, c);
}

void expect_experts(std::int64_t layer, std::int64_t tokens, const Context& c) {
  const LayerWeights* next = c.experts.guess_after(layer, tokens);
  if (next == nullptr) return;
  const std::int64_t n = c.config.hidden_size;
  const Region region{.name = "norm ahead", .count = tokens, .item = pass_work(n)};
  parallel(c, region, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      c.kernels.rmsnorm(c.a.x + t * n, next->post_attention_norm.data(), c.norm_eps, c.a.normed + t * n, n);
    }
  });
  choose_experts(*next->moe, tokens, c);
  const auto chosen = static_cast<std::size_t>(tokens * c.config.num_experts_per_tok);
  c.experts.expect({c.a.experts, chosen}, {c.a.weights, chosen});
}

}  // namespace baltoro::model
