// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "baltoro/model/context.h"

namespace baltoro::model {

// Those tokens of a step whose queries are wanted: all, or some in ascending order.
struct Queries {
  const Step& step;
  const std::int32_t* rows;  // [count] tokens; null: all
  std::int64_t count;
  std::int64_t token(std::int64_t query) const { return rows == nullptr ? query : rows[query]; }
  std::int64_t position(std::int64_t query) const {
    return step.batch.positions[static_cast<std::size_t>(token(query))];
  }
  std::int64_t sequence(std::int64_t query) const {
    return step.batch.sequences[static_cast<std::size_t>(token(query))];
  }
};

// z [queries, H, R], rows of a.z in the forms that it has, = softmax(scale a.q_latent . cache) cache[0:R], the queries
// of a.q_latent [queries, H, R + rope], the cache that of each query's sequence up to its own position. Neighbouring
// tokens of a sequence share what is read of its blocks. With few queries and much context, parts of the context are
// worked on side by side.
void attend(std::int64_t layer, const Queries& queries, const Operand& z, const Context& c);

}  // namespace baltoro::model
