// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/block.h"

#include <cstring>

#include "baltoro/model/ffn.h"
#include "baltoro/model/mla.h"
#include "baltoro/model/moe.h"

namespace baltoro::model {
namespace {

void norm(const std::vector<float>& w, std::int64_t tokens, const Context& c) {
  norm_rows(c, c.a.x, c.config.hidden_size, w, c.norm_eps, c.a.normed, tokens);
}

void add(std::int64_t tokens, const Context& c) { add_rows(c, c.a.delta, c.a.x, tokens, c.config.hidden_size); }

void dense_forward(const FfnWeights& w, std::int64_t tokens, const Context& c) {
  const Operand x = round_rows(c, c.a.normed, tokens, c.config.hidden_size, c.a.operand);
  ffn_forward(w, x, c.a.delta, tokens, c);
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
  norm(w.input_norm, tokens, c);             // x -> normed [T, D]
  mla_forward(w.attention, layer, step, c);  // normed -> delta [T, D], appends to the KV cache
  if (step.trace != nullptr && step.trace->attention) step.trace->attention(layer, rows_of(c.a.delta, tokens, c));
  add(tokens, c);  // x += delta

  if (keep) tokens = keep_rows(*keep, c);
  if (tokens == 0) return std::int64_t{0};

  norm(w.post_attention_norm, tokens, c);
  if (w.moe) {
    BALTORO_TRY_STATUS(moe_forward(*w.moe, layer, tokens, step.trace, c));
  } else {
    dense_forward(*w.dense, tokens, c);
  }
  add(tokens, c);
  if (step.trace != nullptr && step.trace->hidden) step.trace->hidden(layer, rows_of(c.a.x, tokens, c));
  return tokens;
}

}  // namespace baltoro::model
