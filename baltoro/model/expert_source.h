// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "baltoro/base/result.h"
#include "baltoro/model/weight_pages.h"
#include "baltoro/model/weights.h"

namespace baltoro::model {

// Where a step finds the weights of a layer's routed experts: the one place that knows whether they lie in memory. A
// layer is begin(), then wait() and finish() in turn until all active experts are done. One user at a time.
class ExpertSource {
 public:
  virtual ~ExpertSource() = default;
  // A step will compute the experts active[0..], ascending, of `layer`, each for some of `tokens` tokens. first_slot [E
  // + 1]: expert e has first_slot[e + 1] - first_slot[e] of them. Both stay as they are until the last finish(). Does
  // not wait.
  virtual void begin(std::int64_t layer, std::span<const std::int32_t> active, const std::int32_t* first_slot,
                     std::int64_t tokens) = 0;
  // The MoE layer that comes after `layer` in a step of so many tokens, if guessing its experts would let them be read
  // ahead; else null. After begin() where `layer` is a MoE layer.
  virtual const LayerWeights* guess_after(std::int64_t /*layer*/, std::int64_t /*tokens*/) { return nullptr; }
  // The experts that its tokens may choose, with the weights they would get; repeats add up. Likelier ones go first.
  virtual void expect(std::span<const std::int32_t> /*experts*/, std::span<const float> /*weights*/) {}
  // Whether wait(0) would return at once: then the layer's shared experts need not be computed meanwhile.
  virtual bool ready() const { return false; }
  // Waits until active[first] can be read. Returns `end`: active[first, end) can be read through weights() until
  // finish(end). kIo, kCorrupt: they cannot be read from disk; kCancelled. After an error the next call is begin().
  virtual Result<std::int64_t> wait(std::int64_t first) = 0;
  // The layer's experts [E]; only those that wait() named have data.
  virtual std::span<const FfnWeights> weights() const = 0;
  // While on, wait() returns kCancelled at once. Any thread.
  virtual void interrupt(bool /*on*/) {}
  // Between steps: forgets what is in memory, so that the next step reads all it wants. For measurements.
  virtual void drop() {}
  // active[0, end) are computed.
  virtual void finish(std::int64_t end) = 0;
};

// All experts lie in the mapped files; `pages`, if any, are told which are wanted.
class MappedExperts final : public ExpertSource {
 public:
  explicit MappedExperts(const Weights& weights, WeightPages* pages = nullptr) : weights_(weights), pages_(pages) {}
  void begin(std::int64_t layer, std::span<const std::int32_t> active, const std::int32_t*, std::int64_t) override {
    experts_ = weights_.layers[static_cast<std::size_t>(layer)].moe->experts;
    active_ = static_cast<std::int64_t>(active.size());
    if (pages_ != nullptr) pages_->choose(layer, active);
  }
  bool ready() const override { return true; }
  Result<std::int64_t> wait(std::int64_t) override { return active_; }
  std::span<const FfnWeights> weights() const override { return experts_; }
  void finish(std::int64_t) override {}

 private:
  const Weights& weights_;
  WeightPages* pages_;
  std::span<const FfnWeights> experts_;
  std::int64_t active_ = 0;
};

}  // namespace baltoro::model
