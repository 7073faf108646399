// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "baltoro/model/attention.h"

namespace baltoro::model {

// Multi-head latent attention (DeepSeek-V2 section 2.1), always in the absorbed form, so that a position's result is
// the same bits whether it came in a chunk or alone:
//   c_q = rmsnorm(W_qa x), [q_nope_h | q_pe_h] = W_qb,h c_q      (W_q x where the model has no q_lora)
//   [c_kv | k_pe] = W_kva x; the cache keeps rmsnorm(c_kv) and RoPE(k_pe)
//   q_latent_h = [W_uk,h^T q_nope_h | RoPE(q_pe_h)], z_h = softmax(scale q_latent_h . cache) cache[0:R]
//   delta = W_o concat_h(W_uv,h z_h)
// Reads x [T, D], the normed rows in a.operand, appends T rows of `layer` to the cache, writes a.delta [queries, D]:
// only the wanted tokens go on behind the cache. Overwrites a.operand.
void mla_forward(const MlaWeights& w, Operand x, std::int64_t layer, const Queries& queries, const Context& c);

}  // namespace baltoro::model
