// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "baltoro/model/context.h"

namespace baltoro::model {

// SwiGLU (Shazeer 2020): y = W_down (silu(W_gate x) * W_up x).
//   x [tokens, D] operand, outside the FFN buffers    y [tokens, D] f32
void ffn_forward(const FfnWeights& w, Operand x, float* y, std::int64_t tokens, const Context& c);

// a.activated = silu(a.gate) * a.up for rows [first, end) of `width` values, rounded to the operand type. Returns all
// of a.activated.
Operand activate(std::int64_t first, std::int64_t end, std::int64_t width, const Context& c);

}  // namespace baltoro::model
