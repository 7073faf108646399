// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "baltoro/base/block_reader.h"
#include "baltoro/base/huge_pages.h"
#include "baltoro/model/expert_source.h"
#include "baltoro/model/expert_stats.h"
#include "baltoro/model/expert_units.h"
#include "baltoro/model/expert_use.h"
#include "baltoro/model/streamed_weights.h"

namespace baltoro::model {

// Routed experts in bounded memory, read from disk when a step wants them and kept while they are likely to be wanted
// again. One step at a time (engine thread); stats() from any thread.
//
// Which unit goes when room is needed: of those that the layer under way does not want, the one whose next use is
// expected last: see ExpertUse. Reading ahead fills in, behind what is wanted now, units of the next MoE layer that a
// step uses with a probability over a half; in a step of few tokens, instead, those that the layer's router would
// choose now (see expect_experts).
class ExpertCache final : public ExpertSource {
 public:
  // `weights` as open_streamed_weights gives them; `bytes` for units: at least one must fit, else kResourceExhausted.
  // Without `open` reads are open_direct_reader's.
  static Result<std::unique_ptr<ExpertCache>> create(std::shared_ptr<const Weights> weights, std::int64_t bytes,
                                                     const OpenBlockReader& open = nullptr);
  ~ExpertCache() override;

  void begin(std::int64_t layer, std::span<const std::int32_t> active, const std::int32_t* first_slot,
             std::int64_t tokens) override;
  const LayerWeights* guess_after(std::int64_t layer, std::int64_t tokens) override;
  void expect(std::span<const std::int32_t> experts, std::span<const float> weights) override;
  Result<std::int64_t> wait(std::int64_t first) override;
  bool ready() const override;
  std::span<const FfnWeights> weights() const override;
  void finish(std::int64_t end) override;
  void interrupt(bool on) override;
  void drop() override;

  ExpertStats stats() const;
  // Fails if counts, slots and units contradict each other; for tests.
  Status check_integrity() const;

 private:
  enum class State : std::uint8_t { kFree, kReading, kReady, kFailed };
  struct Slot {
    std::int32_t unit = -1;
    State state = State::kFree;
    bool ahead = false;     // read ahead and not used since
    bool given_up = false;  // while that was being read
    bool asked = false;     // counted in running_
    std::int32_t reads_left = 0;
    Status status;  // kFailed
  };
  struct Unit {
    std::int32_t slot = -1;
    bool wanted = false;    // by the layer under way, not finished
    bool expected = false;  // by expect()
    float weight = 0;       // with that much weight in all
  };

  ExpertCache(std::shared_ptr<const Weights> weights, ExpertUnits units, HugeBuffer memory, std::int64_t slots);
  void want(std::span<const std::int32_t> active);
  void give_up_wrong_guesses(std::int64_t layer);
  void schedule();
  void read_ahead();
  bool read_ahead(std::int32_t unit);
  void forget_expected();
  std::int32_t take_slot(double later_than, bool must);
  double next_use(std::int32_t unit) const;
  void start(std::int32_t unit, std::int32_t slot, Urgency urgency);
  std::uint32_t first_tag(std::int32_t slot) const { return static_cast<std::uint32_t>(slot * units_.max_extents()); }
  void release(std::int32_t slot);
  void read_ended(std::uint32_t tag, Status status);
  void end_reading(std::int32_t slot);
  void show(std::int32_t unit);
  State state_of(std::int32_t unit) const;

  void fill_memory();

  const std::shared_ptr<const Weights> weights_;
  const ExpertUnits units_;
  HugeBuffer memory_;
  std::vector<std::vector<FfnWeights>> views_;  // [L][E] of the units in memory; engine thread

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<Slot> slots_;
  std::vector<Unit> unit_;
  ExpertUse use_;
  std::int64_t expected_layer_ = 0;     // engine thread
  std::int64_t layer_ = 0;              // under way
  std::vector<std::int32_t> wanted_;    // its units, ascending
  std::vector<std::int64_t> ends_;      // active experts before the end of wanted_[i]
  std::vector<std::int32_t> expected_;  // units
  std::size_t finished_ = 0;            // of wanted_
  std::size_t asked_ = 0;               // of wanted_: in memory or being read
  std::int64_t running_ = 0;            // wanted units that were read for this step and are not finished
  std::int64_t running_ahead_ = 0;      // reads ahead under way
  std::int64_t window_ = 0;             // most of each
  bool closing_ = false;
  bool interrupted_ = false;
  bool dropping_ = false;
  ExpertStats stats_;
  std::thread filling_;                  // see fill_memory
  std::unique_ptr<BlockReader> reader_;  // last: its threads use all of the above
};

}  // namespace baltoro::model
