// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "baltoro/base/worker_plan.h"

namespace baltoro::model {

// Which memory node holds which part of the weights. Every byte lies on one node (no copies): the one whose workers
// read it. Results never depend on it.
class WeightPlacement {
 public:
  virtual ~WeightPlacement() = default;
  virtual int nodes() const = 0;
  // CPUs of a node's workers; empty: any.
  virtual std::span<const int> cpus(int node) const = 0;
  // A weight whose rows all workers share (attention, dense and shared FFN, the experts' down, router, lm_head): node n
  // holds rows [first_row(n, rows), first_row(n + 1, rows)).
  virtual std::int64_t first_row(int node, std::int64_t rows) const = 0;
  // The node of expert e's gate and up, of `experts` in its layer.
  virtual int node_of_expert(std::int64_t e, std::int64_t experts) const = 0;
};

// The cut of ThreadPool::parallel_for: contiguous shares in proportion to each node's workers, in the places' order.
// Rows of one weight go to all nodes, so that one token keeps all memories busy; of experts, which a step takes in
// ascending order, each has one node. One worker's places make one node.
std::unique_ptr<WeightPlacement> place_by_share(std::span<const WorkerPlace> places);

}  // namespace baltoro::model
