// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "baltoro/base/result.h"
#include "baltoro/base/thread_pool.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/model/weights.h"

namespace baltoro::model {

// `--dense int8`: the linears that every token uses (q, kv_b and o of attention, dense and shared FFNs, lm_head),
// copied into memory with 8 bits an element (tensor::WeightFormat::kInt8Group). Routed experts, router, kv_a, embedding
// and norms stay the checkpoint's, and so do FP8 and INT4, which take no more bits. kv_a: 1 % of the bytes and the
// largest part of the deviation (docs/log.md), as all heads read its result. A row takes whole chunks of 512 columns,
// so a model with fewer gains nothing. Absorbed queries sum over the rows of kv_b: that half of it has its groups along
// them (kInt8RowGroup; with a nope that is no multiple of 32 kv_b stays too). It meets queries that are not rounded to
// 8 bits in `fast` either, which would cost half as much again of deviation.

// The weights with the views that the copy will have, their data missing: what the memory plan counts.
Weights dense_int8_shape(const Weights& weights);
// Bytes of the copy.
std::int64_t dense_int8_bytes(const Weights& weights);

// Makes the copy, its rows split over the pool, with progress on a terminal. The result keeps `weights` mapped.
// kResourceExhausted: no memory. kCorrupt: a weight that is no finite number; the message says where.
Result<std::shared_ptr<const Weights>> make_dense_int8(const Weights& weights, const kernels::Kernels& kernels,
                                                       ThreadPool& pool);

}  // namespace baltoro::model
