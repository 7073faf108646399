// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/dense_copy.h"

#include <fmt/format.h>

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "baltoro/base/huge_pages.h"
#include "baltoro/base/progress.h"
#include "baltoro/base/round_up.h"
#include "baltoro/tensor/int8_encode.h"

namespace baltoro::model {
namespace {

using tensor::MatrixView;
using tensor::WeightFormat;

constexpr std::int64_t kAlignment = 64;
constexpr std::int64_t kRowGrain = 16;

struct DenseMatrix {
  MatrixView* view;
  std::string name;
};

void add_ffn(FfnWeights& ffn, const std::string& name, std::vector<DenseMatrix>& list) {
  list.push_back({&ffn.gate, name + ".gate"});
  list.push_back({&ffn.up, name + ".up"});
  list.push_back({&ffn.down, name + ".down"});
}

// What is to be copied, in the order of use.
std::vector<DenseMatrix> dense_matrices(Weights& weights) {
  std::vector<DenseMatrix> list;
  for (std::size_t l = 0; l < weights.layers.size(); ++l) {
    LayerWeights& layer = weights.layers[l];
    const std::string name = fmt::format("layer {}", l);
    if (layer.attention.q_a) list.push_back({&*layer.attention.q_a, name + " q_a"});
    list.push_back({&layer.attention.q_b, name + " q_b"});
    list.push_back({&layer.attention.o, name + " o"});
    if (layer.dense) add_ffn(*layer.dense, name + " dense", list);
    if (layer.moe && layer.moe->shared) add_ffn(*layer.moe->shared, name + " shared", list);
  }
  list.push_back({&weights.lm_head, "lm_head"});
  std::erase_if(list, [](const DenseMatrix& m) {
    const WeightFormat format = m.view->format;
    return format == WeightFormat::kFp8Block || format == WeightFormat::kInt4Group;
  });
  return list;
}

MatrixView int8_view(const MatrixView& w) {
  return {.format = WeightFormat::kInt8Group, .rows = w.rows, .cols = w.cols};
}

std::int64_t aligned(std::int64_t bytes) { return round_up(bytes, kAlignment); }
std::int64_t copy_bytes(const MatrixView& w) { return aligned(w.data_bytes()) + aligned(w.scale_bytes()); }

// Encodes rows of `from` into the memory of `to`; the first row that is not finite, or -1.
std::int64_t encode(const MatrixView& from, const MatrixView& to, std::byte* data, std::byte* scale,
                    const kernels::Kernels& kernels, ThreadPool& pool, std::vector<std::vector<float>>& rows) {
  std::atomic<std::int64_t> bad = -1;
  pool.parallel_for(from.rows, kRowGrain, [&](std::int64_t begin, std::int64_t end, int worker) {
    auto& row = rows[static_cast<std::size_t>(worker)];
    row.resize(static_cast<std::size_t>(from.cols));
    for (std::int64_t r = begin; r < end; ++r) {
      kernels.copy_row(from, r, row.data());
      if (!tensor::encode_int8_row(row.data(), from.cols, data + r * to.row_bytes(),
                                   scale + r * to.scale_cols() * static_cast<std::int64_t>(sizeof(tensor::bf16)))) {
        bad = r;
      }
    }
  });
  return bad;
}

}  // namespace

Weights dense_int8_shape(const Weights& weights) {
  Weights shape = weights;
  for (const DenseMatrix& m : dense_matrices(shape)) *m.view = int8_view(*m.view);
  return shape;
}

std::int64_t dense_int8_bytes(const Weights& weights) {
  Weights shape = weights;
  std::int64_t bytes = 0;
  for (const DenseMatrix& m : dense_matrices(shape)) bytes += copy_bytes(int8_view(*m.view));
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
    MatrixView view = int8_view(*m.view);
    std::byte* scale = next + aligned(view.data_bytes());
    const std::int64_t bad = encode(*m.view, view, next, scale, kernels, pool, rows);
    if (bad >= 0) {
      return Error{Errc::kCorrupt,
                   fmt::format("[dense int8] finite weights needed, {} row {} has others", m.name, bad)};
    }
    view.data = next;
    view.scale = scale;
    next += copy_bytes(view);
    *m.view = view;
    progress.add(static_cast<std::uint64_t>(copy_bytes(view)));
  }
  result->copy = std::move(memory);
  return std::shared_ptr<const Weights>(std::move(result));
}

}  // namespace baltoro::model
