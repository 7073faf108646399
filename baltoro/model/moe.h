// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "baltoro/model/context.h"

namespace baltoro::model {

// Mixture of experts (DeepSeek-V3 section 2.1.2): delta = Shared(x) + sum_k weight_k Expert_k(x), summed in f32 in that
// order with the chosen experts ascending, so that a token's result does not depend on who shares its batch.
// The router reads a.normed unrounded, in f32 in both arithmetics.
// Reads a.normed [tokens, D] and x, its rounding; writes a.delta [tokens, D]; `layer` names the layer to the trace and
// to c.experts, whose errors it returns.
Status moe_forward(const MoeWeights& w, Operand x, std::int64_t layer, std::int64_t tokens, const Trace* trace,
                   const Context& c);

// Tells c.experts which experts the next MoE layer's tokens may choose, where it wants to know: that layer's router on
// the residual stream as it is before the FFN of `layer`. Overwrites a.normed, a.scores, a.experts and a.weights.
void expect_experts(std::int64_t layer, std::int64_t tokens, const Context& c);

}  // namespace baltoro::model
