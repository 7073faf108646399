// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/ffn.h"

namespace baltoro::model {

Operand activate(std::int64_t first, std::int64_t end, std::int64_t width, const Context& c) {
  c.pool.parallel_for(end - first, 4, [&](std::int64_t from, std::int64_t to, int) {
    for (std::int64_t i = first + from; i < first + to; ++i) {
      float* gate = c.a.gate + i * width;
      c.kernels.silu_mul(gate, c.a.up + i * width, gate, width);
      round_row(c, gate, c.a.activated + i * width * c.operand_bytes(), width);
    }
  });
  return {.data = c.a.activated, .stride = width};
}

void ffn_forward(const FfnWeights& w, Operand x, float* y, std::int64_t tokens, const Context& c) {
  linear(c, w.gate, x, c.a.gate, tokens);
  linear(c, w.up, x, c.a.up, tokens);
  linear(c, w.down, activate(0, tokens, w.gate.rows, c), y, tokens);
}

}  // namespace baltoro::model
