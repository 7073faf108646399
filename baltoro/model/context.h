// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>

#include "baltoro/base/clock.h"
#include "baltoro/base/thread_pool.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/model/activations.h"
#include "baltoro/model/decoder.h"
#include "baltoro/model/expert_source.h"
#include "baltoro/model/kv_cache.h"
#include "baltoro/model/step_profile.h"

namespace baltoro::model {

// The constants, arithmetic and means of a run. One per decoder; used by one thread at a time.
struct Context {
  const ModelConfig& config;
  Math math;
  float norm_eps;
  float latent_norm_eps;  // of q_a_layernorm and kv_a_layernorm
  float softmax_scale;
  const kernels::Kernels& kernels;
  ThreadPool& pool;
  ExpertSource& experts;
  Activations a;
  StepProfile* profile = nullptr;  // of the step under way; null: nobody asks

  std::int64_t operand_bytes() const { return element_bytes(math); }
  // Elements from one row of n values that a linear reads to the next: see operand_row_bytes.
  std::int64_t operand_stride(std::int64_t n) const { return operand_row_bytes(math, n) / element_bytes(math); }
};

// One call of Decoder::forward, as the layers see it.
struct Step {
  const Batch& batch;
  KvCache& kv;
  const Trace* trace;  // may be null
  std::int64_t tokens() const { return static_cast<std::int64_t>(batch.tokens.size()); }
};

// Independent items of work with a name, to be split over the pool.
struct Region {
  const char* name;
  std::int64_t count = 0;
  ItemWork item;              // of one item
  std::int64_t multiple = 1;  // chunks are a multiple of this many items, but for the last

  ItemWork work() const {  // of all
    return {.bytes = item.bytes * static_cast<double>(count), .flops = item.flops * static_cast<double>(count)};
  }
};

// A chunk of weight rows: whole tiles of every kernel, and whole groups of an operand's scales.
inline constexpr std::int64_t kRowMultiple = 32;

// About how long a modest core takes, and how long a chunk should take where `all` is the work of a region. Only for
// cutting work.
double microseconds(const ItemWork& work);
double chunk_microseconds(const ItemWork& all, int threads);
// Items one worker takes at a time: enough to pay for the hand-out, few enough that no worker waits long for the last
// one; all of them where the work is not worth waking the others. Never changes results.
std::int64_t chunk_items(const Region& region, int threads);

// Calls body(begin, end, worker) on disjoint ranges of `grain` items that cover [0, count), and returns when all are
// done: ThreadPool::parallel_for with a name and `work` of all items for the profile. The one way of a step to the
// pool.
template <typename Body>
void parallel_ranges(const Context& c, const char* name, const ItemWork& work, std::int64_t count, std::int64_t grain,
                     const Body& body) {
  if (c.profile == nullptr) return c.pool.parallel_for(count, grain, body);
  c.profile->begin_region();
  c.pool.parallel_for(count, grain, [&](std::int64_t begin, std::int64_t end, int worker) {
    const double start = steady_seconds();
    body(begin, end, worker);
    c.profile->chunk(worker, steady_seconds() - start);
  });
  c.profile->end_region(name, work.bytes, work.flops);
}

// The same on chunks of a region.
template <typename Body>
void parallel(const Context& c, const Region& region, const Body& body) {
  parallel_ranges(c, region.name, region.work(), region.count, chunk_items(region, c.pool.size()), body);
}

// Blocks that the tokens of a product are cut into: of at most `most` tokens, and more where its rows are too few to
// keep that many threads busy.
std::int64_t token_blocks(std::int64_t rows, std::int64_t tokens, std::int64_t most, int threads);

// parallel() over rows and blocks of at most `most` of a number of tokens:
// body(row_begin, row_end, token_begin, token_end, worker).
// All blocks of some rows are neighbours: the rows that a node's workers meet are then those that lie there, in any
// number of blocks (see WeightPlacement), and rows come from memory once.
template <typename Body>
void parallel_rows(const Context& c, Region region, std::int64_t tokens, std::int64_t most, const Body& body) {
  const std::int64_t rows = region.count, blocks = token_blocks(rows, tokens, most, c.pool.size());
  const auto parts = static_cast<double>(blocks);
  region.count = rows * blocks;
  region.item = {.bytes = region.item.bytes / parts, .flops = region.item.flops / parts};
  const std::int64_t chunk = chunk_items(region, c.pool.size()), group = std::min(chunk, rows);
  const std::int64_t pieces = (rows + group - 1) / group * blocks, grain = chunk < region.count ? 1 : pieces;
  const auto meet = [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = i / blocks * group, block = i % blocks;
      body(row, std::min(row + group, rows), tokens * block / blocks, tokens * (block + 1) / blocks, worker);
    }
  };
  parallel_ranges(c, region.name, region.work(), pieces, grain, meet);
}

// What a linear reads: rows of the run's elements (BF16, or F32 in `f32`), `stride` elements apart. In `fast`, the
// 8-bit form of a row lies `int8_offset` bytes behind its start; 0: it has none, and every weight meets the elements.
struct Operand {
  const std::byte* data = nullptr;
  std::int64_t stride = 0;
  std::int64_t int8_offset = 0;
};

// One linear over a batch, in the run's arithmetic; fields as in kernels::LinearArgs.
struct LinearCall {
  Operand x;
  const std::int32_t* x_rows = nullptr;
  float* y = nullptr;
  std::int64_t ldy = 0;
  const std::int32_t* y_rows = nullptr;
  const float* y_weights = nullptr;
  std::int64_t tokens = 0;
};
// Tokens [begin, end) of a call, whose y may still be missing.
LinearCall slice_tokens(const Context& c, LinearCall call, std::int64_t begin, std::int64_t end);

// Output columns [row_begin, row_end) of y = x W^T, on the calling worker.
void linear_rows(const Context& c, const tensor::MatrixView& w, const LinearCall& call, std::int64_t row_begin,
                 std::int64_t row_end, int worker);
// y = x W, on the calling worker.
void linear_transposed(const Context& c, const tensor::MatrixView& w, const LinearCall& call, int worker);
// One of the weights that read the same x, and its y [tokens, W.rows].
struct Projection {
  const tensor::MatrixView& w;
  float* y;
};
// y = x W^T for every projection, the columns of all split over the pool as one region.
void linear(const Context& c, const char* name, Operand x, std::int64_t tokens,
            std::initializer_list<Projection> projections);
// What one row of w costs for that many tokens.
ItemWork row_work(const tensor::MatrixView& w, std::int64_t tokens);

// Rounds n values to the run's element.
void round_row(const Context& c, const float* x, std::byte* y, std::int64_t n);
// Columns [begin, end) of a row of n values, rounded to all that a linear may read; begin is a multiple of 32, end too
// or n. x [end - begin], row operand_row_bytes.
void round_columns(const Context& c, const float* x, std::byte* row, std::int64_t begin, std::int64_t end,
                   std::int64_t n);
// The same to the forms that `form` has alone.
void round_forms(const Context& c, const float* x, std::byte* row, const Operand& form, std::int64_t begin,
                 std::int64_t end, std::int64_t n);
// Rows of n values that round_columns wrote, from `data`.
Operand operand_rows(const Context& c, const std::byte* data, std::int64_t n);
// Rounds x [tokens, n] into `buffer`; round_elements: for those who read no 8-bit form.
Operand round_rows(const Context& c, const float* x, std::int64_t tokens, std::int64_t n, std::byte* buffer);
Operand round_elements(const Context& c, const float* x, std::int64_t tokens, std::int64_t n, std::byte* buffer);
// y [tokens, n] = rmsnorm(x; w), row by row, and its rounding in `buffer`. y may alias x.
Operand norm_rows(const Context& c, const char* name, const float* x, std::span<const float> w, float eps, float* y,
                  std::int64_t tokens, std::byte* buffer);
// Work of a pass over a row of n floats.
ItemWork pass_work(std::int64_t n);

}  // namespace baltoro::model
