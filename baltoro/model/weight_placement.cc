// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/weight_placement.h"

#include <algorithm>

#include "baltoro/base/check.h"

namespace baltoro::model {
namespace {

class SharePlacement final : public WeightPlacement {
 public:
  explicit SharePlacement(std::span<const WorkerPlace> places) : workers_(static_cast<std::int64_t>(places.size())) {
    BALTORO_CHECK(!places.empty(), "a worker to place weights for");
    for (std::size_t i = 0; i < places.size(); ++i) {
      if (i == 0 || places[i].node != places[i - 1].node)
        nodes_.push_back({.first_worker = static_cast<std::int64_t>(i)});
      std::vector<int>& cpus = nodes_.back().cpus;
      cpus.insert(cpus.end(), places[i].cpus.begin(), places[i].cpus.end());
    }
    for (Node& node : nodes_) {
      std::ranges::sort(node.cpus);
      node.cpus.erase(std::unique(node.cpus.begin(), node.cpus.end()), node.cpus.end());
    }
  }
  int nodes() const override { return static_cast<int>(nodes_.size()); }
  std::span<const int> cpus(int node) const override { return nodes_[static_cast<std::size_t>(node)].cpus; }
  std::int64_t first_row(int node, std::int64_t rows) const override {
    if (node == nodes()) return rows;
    return share_begin(rows, nodes_[static_cast<std::size_t>(node)].first_worker, workers_);
  }
  int node_of_expert(std::int64_t e, std::int64_t experts) const override {
    int node = nodes() - 1;
    while (first_row(node, experts) > e) --node;
    return node;
  }

 private:
  struct Node {
    std::int64_t first_worker = 0;
    std::vector<int> cpus = {};
  };
  std::int64_t workers_;
  std::vector<Node> nodes_;
};

}  // namespace

std::unique_ptr<WeightPlacement> place_by_share(std::span<const WorkerPlace> places) {
  return std::make_unique<SharePlacement>(places);
}

}  // namespace baltoro::model
