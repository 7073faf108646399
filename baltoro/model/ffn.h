// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "baltoro/model/context.h"

namespace baltoro::model {

// SwiGLU (Shazeer 2020) of one or more experts together: y += mix_e W_down,e (silu(W_gate,e x) * W_up,e x) for each e,
// a token's sum in the order of `experts`. An expert without `mix`, which can only be the first, stores y.
//   experts: weights, rows, mix, tokens and activated given; the pieces are laid out here
//   x [tokens, D] operand, outside the FFN buffers    y [tokens, D] f32
void ffn_forward(std::span<ExpertTokens> experts, Operand x, float* y, std::int64_t tokens, const Context& c);

// The same for one dense FFN.
void ffn_forward(const FfnWeights& w, Operand x, float* y, std::int64_t tokens, const Context& c);

}  // namespace baltoro::model
