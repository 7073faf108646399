// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/dense_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "baltoro/base/huge_pages.h"
#include "baltoro/base/progress.h"
#include "baltoro/base/round_up.h"
#include "baltoro/tensor/int8_encode.h"
#include "baltoro/tensor/int8_layout.h"

namespace baltoro::model {
namespace {

using tensor::MatrixView;
using tensor::WeightFormat;

constexpr std::int64_t kAlignment = 64;
constexpr std::int64_t kRowGrain = 16;

// What is copied: all rows of `from`, or `count` rows of every `stride`, the first at `begin`.
struct DenseMatrix {
  MatrixView from;
  std::int64_t begin = 0, count = 0, stride = 0;
  MatrixView* to = nullptr;  // shape and format; encode() sets the bytes
  std::string name;

  std::int64_t row(std::int64_t r) const { return r / count * stride + begin + r % count; }
};

using DenseMatrices = std::vector<DenseMatrix>;

bool is_small(const MatrixView& w) {
  return w.format == WeightFormat::kFp8Block || w.format == WeightFormat::kInt4Group;
}

void add(MatrixView& w, std::string name, DenseMatrices& list) {
  if (is_small(w)) return;
  list.push_back({.from = w, .count = w.rows, .to = &w, .name = std::move(name)});
  w = {.format = WeightFormat::kInt8Group, .rows = w.rows, .cols = w.cols};
}

void add_ffn(FfnWeights& ffn, const std::string& name, DenseMatrices& list) {
  add(ffn.gate, name + ".gate", list);
  add(ffn.up, name + ".up", list);
  add(ffn.down, name + ".down", list);
}

void add_kv_b(MlaWeights& mla, const ModelConfig& config, const std::string& name, DenseMatrices& list) {
  const std::int64_t nope = config.qk_nope_head_dim, v = config.v_head_dim, heads = config.num_attention_heads;
  if (is_small(mla.kv_b) || nope % tensor::kInt8GroupRows != 0) return;
  KvBCopy& copy = mla.kv_b_copy.emplace();
  copy.w_uk = {.format = WeightFormat::kInt8RowGroup, .rows = heads * nope, .cols = mla.kv_b.cols};
  copy.w_uv = {.format = WeightFormat::kInt8Group, .rows = heads * v, .cols = mla.kv_b.cols};
  list.push_back({.from = mla.kv_b, .count = nope, .stride = nope + v, .to = &copy.w_uk, .name = name});
  list.push_back({.from = mla.kv_b, .begin = nope, .count = v, .stride = nope + v, .to = &copy.w_uv, .name = name});
}

// What is to be copied, in the order of use; the views of `weights` become those of the copy, without data.
DenseMatrices dense_matrices(Weights& weights) {
  DenseMatrices list;
  for (std::size_t l = 0; l < weights.layers.size(); ++l) {
    LayerWeights& layer = weights.layers[l];
    const std::string name = fmt::format("layer {}", l);
    if (layer.attention.q_a) add(*layer.attention.q_a, name + " q_a", list);
    add(layer.attention.q_b, name + " q_b", list);
    add_kv_b(layer.attention, weights.config, name + " kv_b", list);
    add(layer.attention.o, name + " o", list);
    if (layer.dense) add_ffn(*layer.dense, name + " dense", list);
    if (layer.moe && layer.moe->shared) add_ffn(*layer.moe->shared, name + " shared", list);
  }
  add(weights.lm_head, "lm_head", list);
  return list;
}

std::int64_t aligned(std::int64_t bytes) { return round_up(bytes, kAlignment); }
std::int64_t copy_bytes(const MatrixView& w) { return aligned(w.data_bytes()) + aligned(w.scale_bytes()); }

// Encodes m into that memory. The first of the rows that are not finite, or that are encoded with such a one, or -1.
std::int64_t encode(const DenseMatrix& m, std::byte* data, std::byte* scale, const kernels::Kernels& kernels,
                    ThreadPool& pool, std::vector<std::vector<float>>& rows) {
  const MatrixView& to = *m.to;
  const std::int64_t at_once = tensor::int8_rows_at_once(to.format);
  std::atomic<std::int64_t> bad = -1;
  pool.parallel_for(to.rows / at_once, std::max<std::int64_t>(kRowGrain / at_once, 1),
                    [&](auto begin, auto end, int worker) {
                      auto& values = rows[static_cast<std::size_t>(worker)];
                      values.resize(static_cast<std::size_t>(at_once * to.cols));
                      for (std::int64_t row = begin * at_once; row < end * at_once; row += at_once) {
                        for (std::int64_t i = 0; i < at_once; ++i)
                          kernels.copy_row(m.from, m.row(row + i), values.data() + i * to.cols);
                        if (!tensor::encode_int8(to, row, values.data(), data, scale)) bad = m.row(row);
                      }
                    });
  return bad;
}

}  // namespace

Weights dense_int8_shape(const Weights& weights) {
  Weights shape = weights;
  dense_matrices(shape);
  return shape;
}

std::int64_t dense_int8_bytes(const Weights& weights) {
  Weights shape = weights;
  std::int64_t bytes = 0;
  for (const DenseMatrix& m : dense_matrices(shape)) bytes += copy_bytes(*m.to);
  return bytes;
}

Result<std::shared_ptr<const Weights>> make_dense_int8(const Weights& weights, const kernels::Kernels& kernels,
                                                       ThreadPool& pool) {
  auto result = std::make_shared<Weights>(weights);
  const std::int64_t bytes = dense_int8_bytes(weights);
  auto created = HugeBuffer::create(static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1)));
  if (!created.ok()) return Error{created.error().code, "[dense int8] " + created.error().message};
  auto memory = std::make_shared<HugeBuffer>(*std::move(created));
  Progress progress({.label = "dense int8", .total = static_cast<std::uint64_t>(bytes)});
  std::vector<std::vector<float>> rows(static_cast<std::size_t>(pool.size()));
  std::byte* next = memory->data();
  for (const DenseMatrix& m : dense_matrices(*result)) {
    std::byte* scale = next + aligned(m.to->data_bytes());
    const std::int64_t bad = encode(m, next, scale, kernels, pool, rows);
    if (bad >= 0) {
      return Error{Errc::kCorrupt,
                   fmt::format("[dense int8] finite weights needed, {} row {} has others", m.name, bad)};
    }
    m.to->data = next;
    m.to->scale = scale;
    next += copy_bytes(*m.to);
    progress.add(static_cast<std::uint64_t>(copy_bytes(*m.to)));
  }
  result->copy = std::move(memory);
  return std::shared_ptr<const Weights>(std::move(result));
}

}  // namespace baltoro::model
