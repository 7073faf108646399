// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/mla.h"

#include <cstring>

#include "baltoro/base/check.h"

namespace baltoro::model {
namespace {

void rotate(const Context& c, std::int64_t token, float* x) {
  const std::int64_t pairs = c.config.qk_rope_head_dim / 2;
  c.kernels.rope(x, c.a.cos + token * pairs, c.a.sin + token * pairs, c.config.qk_rope_head_dim);
}

// Row of a token's position in its sequence's pages.
std::byte* kv_row(const Step& step, std::int64_t layer, std::int64_t token) {
  const auto t = static_cast<std::size_t>(token);
  const auto position = static_cast<std::size_t>(step.batch.positions[t]);
  const auto& table = step.batch.block_tables[static_cast<std::size_t>(step.batch.sequences[t])];
  const auto row = static_cast<std::int64_t>(position % kBlockTokens);
  return step.kv.block(layer, table[position / kBlockTokens]) + row * step.kv.kv_dim() * step.kv.element_bytes();
}

// x [queries, D], moved to the front of a.operand.
Operand query_rows(Operand x, const Queries& queries, const Context& c) {
  BALTORO_DCHECK(x.data == c.a.operand, "the rows of x lie in a.operand");
  const std::int64_t bytes = x.stride * c.operand_bytes();
  for (std::int64_t q = 0; q < queries.count; ++q) {
    std::memmove(c.a.operand + q * bytes, c.a.operand + queries.rows[q] * bytes, static_cast<std::size_t>(bytes));
  }
  return x;
}

// What x goes through first: a.kv [T, R + rope], and a.c_q [queries, q_lora_rank] before its norm, or a.q without one.
// One region where all tokens are wanted.
void project_down(const MlaWeights& w, Operand x, const Queries& queries, const Context& c) {
  const std::int64_t tokens = queries.step.tokens();
  const Projection kv{.w = w.kv_a, .y = c.a.kv};
  const Projection q = w.q_a ? Projection{.w = *w.q_a, .y = c.a.c_q} : Projection{.w = w.q_b, .y = c.a.q};
  if (queries.count == tokens) return linear(c, w.q_a ? "kv_a, q_a" : "kv_a, q", x, tokens, {kv, q});
  linear(c, "kv_a", x, tokens, {kv});
  if (queries.count == 0) return;
  linear(c, w.q_a ? "q_a" : "q", query_rows(x, queries, c), queries.count, {q});
}

// Appends [rmsnorm(c_kv) | RoPE(k_pe)] of every token to the cache.
void append_latents(const MlaWeights& w, std::int64_t layer, const Step& step, const Context& c) {
  const std::int64_t rank = c.config.kv_lora_rank, dim = c.config.kv_dim();
  const Region region{.name = "append latents", .count = step.tokens(), .item = pass_work(2 * dim)};
  parallel(c, region, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      float* row = c.a.kv + t * dim;
      c.kernels.rmsnorm(row, w.kv_a_norm.data(), c.latent_norm_eps, row, rank);
      rotate(c, t, row + rank);
      round_row(c, row, kv_row(step, layer, t), dim);
    }
  });
}

// a.q [queries, H, nope + rope], q_pe rotated.
void project_queries(const MlaWeights& w, const Queries& queries, const Context& c) {
  const std::int64_t tokens = queries.count;
  if (w.q_a) {
    const Operand c_q = norm_rows(c, "c_q norm", c.a.c_q, w.q_a_norm, c.latent_norm_eps, c.a.c_q, tokens, c.a.operand);
    linear(c, "q_b", c_q, tokens, {{.w = w.q_b, .y = c.a.q}});
  }
  const std::int64_t heads = c.config.num_attention_heads, head_dim = c.config.qk_head_dim();
  const Region region{.name = "rotate q", .count = tokens * heads, .item = pass_work(c.config.qk_rope_head_dim)};
  parallel(c, region, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      rotate(c, queries.token(i / heads), c.a.q + i * head_dim + c.config.qk_nope_head_dim);
    }
  });
}

// w_uk (first) and w_uv (second) of one head: views into kv_b or its copy.
tensor::MatrixView w_uk(const MlaWeights& w, const ModelConfig& config, std::int64_t head) {
  if (w.kv_b_copy) return w.kv_b_copy->w_uk.row_slice(head * config.qk_nope_head_dim, config.qk_nope_head_dim);
  return w.kv_b.row_slice(head * (config.qk_nope_head_dim + config.v_head_dim), config.qk_nope_head_dim);
}
tensor::MatrixView w_uv(const MlaWeights& w, const ModelConfig& config, std::int64_t head) {
  if (w.kv_b_copy) return w.kv_b_copy->w_uv.row_slice(head * config.v_head_dim, config.v_head_dim);
  const std::int64_t head_rows = config.qk_nope_head_dim + config.v_head_dim;
  return w.kv_b.row_slice(head * head_rows + config.qk_nope_head_dim, config.v_head_dim);
}

// All rows of w_uk or w_uv of one head.
ItemWork head_work(const tensor::MatrixView& w, std::int64_t tokens) {
  const ItemWork row = row_work(w, tokens);
  return {.bytes = row.bytes * static_cast<double>(w.rows), .flops = row.flops * static_cast<double>(w.rows)};
}

// a.q_latent [queries, H, R + rope] = [W_uk,h^T q_nope_h | q_pe_h].
void absorb_queries(const MlaWeights& w, std::int64_t tokens, const Context& c) {
  const std::int64_t heads = c.config.num_attention_heads, head_dim = c.config.qk_head_dim();
  const std::int64_t rank = c.config.kv_lora_rank, dim = c.config.kv_dim(), bytes = c.operand_bytes();
  const Operand q = round_elements(c, c.a.q, tokens, heads * head_dim, c.a.operand);
  const Region region{.name = "absorb q", .count = heads, .item = head_work(w_uk(w, c.config, 0), tokens)};
  parallel(c, region, [&](std::int64_t begin, std::int64_t end, int worker) {
    float* absorbed = c.a.workers[static_cast<std::size_t>(worker)].rows;  // [T, R]
    for (std::int64_t h = begin; h < end; ++h) {
      linear_transposed(c, w_uk(w, c.config, h),
                        {.x = {.data = q.data + h * head_dim * bytes, .stride = q.stride},
                         .y = absorbed,
                         .ldy = rank,
                         .tokens = tokens},
                        worker);
      for (std::int64_t t = 0; t < tokens; ++t) {
        std::byte* row = c.a.q_latent + (t * heads + h) * dim * bytes;
        round_row(c, absorbed + t * rank, row, rank);
        round_row(c, c.a.q + (t * heads + h) * head_dim + c.config.qk_nope_head_dim, row + rank * bytes, dim - rank);
      }
    }
  });
}

// The rows of a.z [queries, H, R], one a head, in the forms that w_uv reads.
Operand attended_rows(const MlaWeights& w, const Context& c) {
  Operand z = operand_rows(c, c.a.z, c.config.kv_lora_rank);
  if (!kernels::reads_int8(w_uv(w, c.config, 0))) z.int8_offset = 0;
  return z;
}

// a.heads [queries, H, v]: o_h = W_uv,h z_h.
void expand_values(const MlaWeights& w, const Operand& z, std::int64_t tokens, const Context& c) {
  const std::int64_t heads = c.config.num_attention_heads, v = c.config.v_head_dim;
  const Region region{.name = "expand values", .count = heads, .item = head_work(w_uv(w, c.config, 0), tokens)};
  parallel(c, region, [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t h = begin; h < end; ++h) {
      linear_rows(c, w_uv(w, c.config, h),
                  {.x = {.data = z.data + h * z.stride * c.operand_bytes(),
                         .stride = heads * z.stride,
                         .int8_offset = z.int8_offset},
                   .y = c.a.heads + h * v,
                   .ldy = heads * v,
                   .tokens = tokens},
                  0, v, worker);
    }
  });
}

}  // namespace

void mla_forward(const MlaWeights& w, Operand x, std::int64_t layer, const Queries& queries, const Context& c) {
  const std::int64_t count = queries.count;
  project_down(w, x, queries, c);
  append_latents(w, layer, queries.step, c);
  if (count == 0) return;
  project_queries(w, queries, c);
  absorb_queries(w, count, c);
  const Operand z = attended_rows(w, c);
  attend(layer, queries, z, c);
  expand_values(w, z, count, c);
  const Operand o = round_rows(c, c.a.heads, count, w.o.cols, c.a.operand);
  linear(c, "o", o, count, {{.w = w.o, .y = c.a.delta}});
}

}  // namespace baltoro::model
