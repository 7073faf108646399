// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/context.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace baltoro::model {
namespace {

// A modest core, for the size of chunks alone: what it does in a microsecond.
constexpr double kBytesPerMicrosecond = 20e3, kFlopsPerMicrosecond = 100e3;
constexpr double kInlineMicroseconds = 4;   // less is done before another core has woken up,
constexpr double kWakeMicroseconds = 0.05;  // and every further core wants its turn at the hand-out
constexpr double kChunkMicroseconds = 2;    // some twenty times what handing out a chunk costs

// Chunks a worker takes of a region, so that the others wait little for the last one. A product with many tokens reads
// all of x again for each chunk; streaming weights past a few tokens costs the same in any cut.
constexpr int kProductChunks = 16, kStreamChunks = 24;
constexpr double kProductFlopsPerByte = 32;
constexpr std::int64_t kLeastTokens = 64;  // of a block: what a kernel needs to be at its best
constexpr std::int64_t kRowPieces = 8;     // for each thread, and the rows alone are enough

template <typename T>
kernels::LinearArgs<T> typed(const LinearCall& call) {
  return {.x = reinterpret_cast<const T*>(call.x.data),
          .ldx = call.x.stride,
          .x_rows = call.x_rows,
          .y = call.y,
          .ldy = call.ldy,
          .y_rows = call.y_rows,
          .y_weights = call.y_weights,
          .tokens = call.tokens};
}

// x [tokens, n] to the rows that `form` describes, which lie in `buffer`.
Operand round_all(const Context& c, const float* x, std::int64_t tokens, std::int64_t n, std::byte* buffer,
                  const Operand& form) {
  const std::int64_t row_bytes = operand_row_bytes(c.math, n);
  const Region region{.name = "round", .count = tokens, .item = pass_work(n)};
  parallel(c, region, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) round_forms(c, x + t * n, buffer + t * row_bytes, form, 0, n, n);
  });
  return form;
}

std::byte* linear_scratch(const Context& c, int worker) { return c.a.workers[static_cast<std::size_t>(worker)].linear; }

}  // namespace

void linear_rows(const Context& c, const tensor::MatrixView& w, const LinearCall& call, std::int64_t row_begin,
                 std::int64_t row_end, int worker) {
  if (call.x.int8_offset != 0 && kernels::reads_int8(w)) {
    kernels::LinearArgs<std::byte> args = typed<std::byte>(call);
    args.x += call.x.int8_offset;
    args.ldx *= c.operand_bytes();
    c.kernels.linear_int8(w, args, row_begin, row_end, linear_scratch(c, worker));
  } else if (c.math != Math::kF32) {
    c.kernels.linear_bf16(w, typed<tensor::bf16>(call), row_begin, row_end, linear_scratch(c, worker));
  } else {
    c.kernels.linear_f32(w, typed<float>(call), row_begin, row_end, linear_scratch(c, worker));
  }
}

void linear_transposed(const Context& c, const tensor::MatrixView& w, const LinearCall& call, int worker) {
  if (c.math != Math::kF32) {
    c.kernels.linear_transposed_bf16(w, typed<tensor::bf16>(call), linear_scratch(c, worker));
  } else {
    c.kernels.linear_transposed_f32(w, typed<float>(call), linear_scratch(c, worker));
  }
}

double microseconds(const ItemWork& work) {
  return std::max({work.bytes / kBytesPerMicrosecond, work.flops / kFlopsPerMicrosecond, 1e-6});
}

double chunk_microseconds(const ItemWork& all, int threads) {
  const bool product = all.flops > kProductFlopsPerByte * all.bytes;
  return std::max(kChunkMicroseconds, microseconds(all) / (threads * (product ? kProductChunks : kStreamChunks)));
}

std::int64_t chunk_items(const Region& region, int threads) {
  const ItemWork all = region.work();
  if (microseconds(all) <= kInlineMicroseconds + kWakeMicroseconds * threads) {
    return std::max<std::int64_t>(region.count, 1);
  }
  const double group = microseconds(region.item) * static_cast<double>(region.multiple);
  const double groups = std::ceil(chunk_microseconds(all, threads) / group);
  return static_cast<std::int64_t>(groups) * region.multiple;
}

std::int64_t token_blocks(std::int64_t rows, std::int64_t tokens, std::int64_t most, int threads) {
  const std::int64_t pieces = (rows + kRowMultiple - 1) / kRowMultiple;
  const std::int64_t wanted = (kRowPieces * threads + pieces - 1) / pieces;
  return std::max<std::int64_t>({std::min(wanted, tokens / kLeastTokens), (tokens + most - 1) / most, 1});
}

LinearCall slice_tokens(const Context& c, LinearCall call, std::int64_t begin, std::int64_t end) {
  if (call.x_rows != nullptr) {
    call.x_rows += begin;
  } else {
    call.x.data += begin * call.x.stride * c.operand_bytes();
  }
  if (call.y_rows != nullptr) {
    call.y_rows += begin;
  } else if (call.y != nullptr) {
    call.y += begin * call.ldy;
  }
  if (call.y_weights != nullptr) call.y_weights += begin;
  call.tokens = end - begin;
  return call;
}

ItemWork row_work(const tensor::MatrixView& w, std::int64_t tokens) {
  return {.bytes = static_cast<double>(w.data_bytes() + w.scale_bytes()) / static_cast<double>(w.rows),
          .flops = 2.0 * static_cast<double>(w.cols) * static_cast<double>(tokens)};
}

ItemWork pass_work(std::int64_t n) { return {.bytes = 4.0 * static_cast<double>(n), .flops = 0}; }

void linear(const Context& c, const char* name, Operand x, std::int64_t tokens,
            std::initializer_list<Projection> projections) {
  Region region{.name = name, .count = 0, .item = {}, .multiple = kRowMultiple};
  for (const Projection& p : projections) {
    region.count += p.w.rows;
    const ItemWork row = row_work(p.w, tokens);
    region.item = {.bytes = std::max(region.item.bytes, row.bytes), .flops = std::max(region.item.flops, row.flops)};
  }
  const auto body = [&](std::int64_t row, std::int64_t row_end, std::int64_t t, std::int64_t t_end, int worker) {
    for (const Projection& p : projections) {  // [row, row_end) counts from the first row of p.w
      if (row < p.w.rows && row < row_end) {
        const LinearCall all{.x = x, .y = p.y, .ldy = p.w.rows, .tokens = tokens};
        linear_rows(c, p.w, slice_tokens(c, all, t, t_end), row, std::min(row_end, p.w.rows), worker);
      }
      row = std::max<std::int64_t>(row - p.w.rows, 0);
      row_end -= p.w.rows;
    }
  };
  parallel_rows(c, region, tokens, kernels::kTokensAtOnce, body);
}

void round_row(const Context& c, const float* x, std::byte* y, std::int64_t n) {
  if (c.math != Math::kF32) {
    c.kernels.to_bf16(x, reinterpret_cast<tensor::bf16*>(y), n);
  } else {
    std::memcpy(y, x, static_cast<std::size_t>(n) * sizeof(float));
  }
}

void round_forms(const Context& c, const float* x, std::byte* row, const Operand& form, std::int64_t begin,
                 std::int64_t end, std::int64_t n) {
  round_row(c, x, row + begin * c.operand_bytes(), end - begin);
  if (form.int8_offset != 0) c.kernels.quantize_row(x, row + form.int8_offset, begin, end, n);
}

void round_columns(const Context& c, const float* x, std::byte* row, std::int64_t begin, std::int64_t end,
                   std::int64_t n) {
  round_forms(c, x, row, operand_rows(c, row, n), begin, end, n);
}

Operand operand_rows(const Context& c, const std::byte* data, std::int64_t n) {
  const std::int64_t int8_bytes = c.math == Math::kFast ? kernels::int8_row_bytes(n) : 0;
  return {.data = data,
          .stride = c.operand_stride(n),
          .int8_offset = int8_bytes > 0 ? operand_row_bytes(c.math, n) - int8_bytes : 0};
}

Operand round_rows(const Context& c, const float* x, std::int64_t tokens, std::int64_t n, std::byte* buffer) {
  return round_all(c, x, tokens, n, buffer, operand_rows(c, buffer, n));
}

Operand round_elements(const Context& c, const float* x, std::int64_t tokens, std::int64_t n, std::byte* buffer) {
  Operand form = operand_rows(c, buffer, n);
  form.int8_offset = 0;
  return round_all(c, x, tokens, n, buffer, form);
}

Operand norm_rows(const Context& c, const char* name, const float* x, std::span<const float> w, float eps, float* y,
                  std::int64_t tokens, std::byte* buffer) {
  const auto n = static_cast<std::int64_t>(w.size());
  const std::int64_t row_bytes = operand_row_bytes(c.math, n);
  const Region region{.name = name, .count = tokens, .item = pass_work(2 * n)};
  parallel(c, region, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t t = begin; t < end; ++t) {
      c.kernels.rmsnorm(x + t * n, w.data(), eps, y + t * n, n);
      round_columns(c, y + t * n, buffer + t * row_bytes, 0, n, n);
    }
  });
  return operand_rows(c, buffer, n);
}

}  // namespace baltoro::model
