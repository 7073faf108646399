// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>

#include "baltoro/model/context.h"

namespace baltoro::model {

// One decoder layer: h = x + MLA(norm(x)); x' = h + FFN(norm(h)), the FFN dense or MoE. Pre-norm, residual in f32.
// With `keep`, only those rows of x go on after the attention, moved to the front: the last layer need not finish
// tokens whose logits nobody wants. Updates a.x; returns how many rows it now has. Errors: those of moe_forward.
Result<std::int64_t> block_forward(const LayerWeights& w, std::int64_t layer, const Step& step,
                                   std::optional<std::span<const std::int32_t>> keep, const Context& c);

// Moves the named rows of a.x, strictly ascending, to its front. Returns how many there are.
std::int64_t keep_rows(std::span<const std::int32_t> rows, const Context& c);

}  // namespace baltoro::model
