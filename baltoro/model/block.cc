// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/block.h"

#include <cstring>

#include "baltoro/model/ffn.h"
#include "baltoro/model/mla.h"
#include "baltoro/model/moe.h"

namespace baltoro::model {
namespace {

// normed = rmsnorm(x), and its rounding: what a sublayer reads.
Operand norm(const std::vector<float>& w, std::int64_t tokens, const Context& c) {
  return norm_rows(c, "norm", c.a.x, w, c.norm_eps, c.a.normed, tokens, c.a.operand);
}

// x += delta.
void add(std::int64_t tokens, const Context& c) {
  const std::int64_t n = c.config.hidden_size;
  const Region region{.name = "residual", .count = tokens, .item = pass_work(n)};
  parallel(c, region, [&](std::int64_t begin, std::int64_t end, int) {
    c.kernels.add(c.a.delta + begin * n, c.a.x + begin * n, (end - begin) * n);
  });
}

std::span<const float> rows_of(const float* data, std::int64_t tokens, const Context& c) {
  return {data, static_cast<std::size_t>(tokens * c.config.hidden_size)};
}

}  // namespace

std::int64_t keep_rows(std::span<const std::int32_t> rows, const Context& c) {
  const std::int64_t n = c.config.hidden_size;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::memmove(c.a.x + static_cast<std::int64_t>(i) * n, c.a.x + rows[i] * n,
                 static_cast<std::size_t>(n) * sizeof(float));
  }
  return static_cast<std::int64_t>(rows.size());
}

Result<std::int64_t> block_forward(const LayerWeights& w, std::int64_t layer, const Step& step,
                                   std::optional<std::span<const std::int32_t>> keep, const Context& c) {
  std::int64_t tokens = step.tokens();
  Operand normed = norm(w.input_norm, tokens, c);
  if (keep) tokens = keep_rows(*keep, c);
  const Queries queries{step, keep ? keep->data() : nullptr, tokens};
  mla_forward(w.attention, normed, layer, queries, c);  // normed -> delta, appends to the KV cache
  if (tokens == 0) return std::int64_t{0};
  if (step.trace != nullptr && step.trace->attention) step.trace->attention(layer, rows_of(c.a.delta, tokens, c));
  add(tokens, c);  // x += delta

  normed = norm(w.post_attention_norm, tokens, c);
  if (w.moe) {
    BALTORO_TRY_STATUS(moe_forward(*w.moe, normed, layer, tokens, step.trace, c));
  } else {
    expect_experts(layer, tokens, c);
    ffn_forward(*w.dense, normed, c.a.delta, tokens, c);
  }
  add(tokens, c);
  if (step.trace != nullptr && step.trace->hidden) step.trace->hidden(layer, rows_of(c.a.x, tokens, c));
  return tokens;
}

}  // namespace baltoro::model
