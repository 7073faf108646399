// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/expert_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "baltoro/base/check.h"
#include "baltoro/base/clock.h"
#include "baltoro/base/direct_reader.h"
#include "baltoro/base/quiet_thread.h"

namespace baltoro::model {
namespace {

// Reads under way or done ahead of the computation: enough to keep any disk busy while a unit is computed, and no more,
// since each takes the place of a unit that may be wanted again.
constexpr std::int64_t kWindowBytes = 128 << 20;
constexpr float kReadAheadFrom = 0.5f;
constexpr double kWorthSwapping = 0.25;  // steps that a unit must be used later than one read ahead in its place

Result<std::unique_ptr<BlockReader>> open_default(const std::vector<std::string>& paths, BlockReader::Done done,
                                                  std::uint32_t tags) {
  return open_direct_reader(paths, std::move(done), {.tags = tags});
}

}  // namespace

Result<std::unique_ptr<ExpertCache>> ExpertCache::create(std::shared_ptr<const Weights> weights, std::int64_t bytes,
                                                         const OpenBlockReader& open) {
  BALTORO_CHECK(weights != nullptr && weights->streamed != nullptr, "weights whose experts are on disk");
  ExpertUnits units(weights->config, *weights->streamed);
  BALTORO_CHECK(units.count() > 0, "experts to keep");
  const std::int64_t slots = std::min<std::int64_t>(bytes / units.slot_bytes(), units.count());
  if (slots < 1) {
    return Error{Errc::kResourceExhausted, fmt::format("[experts] {} bytes needed for one of {} units, {} given",
                                                       units.slot_bytes(), units.count(), bytes)};
  }
  BALTORO_TRY(HugeBuffer memory, HugeBuffer::create(static_cast<std::size_t>(slots * units.slot_bytes())));
  const auto tags = static_cast<std::uint32_t>(slots * units.max_extents());
  const std::vector<std::string>& paths = weights->streamed->paths;
  std::unique_ptr<ExpertCache> cache(new ExpertCache(std::move(weights), std::move(units), std::move(memory), slots));
  const auto done = [raw = cache.get()](std::uint32_t tag, Status status) { raw->read_ended(tag, std::move(status)); };
  BALTORO_TRY(cache->reader_, (open ? open : open_default)(paths, done, tags));
  BALTORO_TRY(cache->filling_, start_quiet_thread([raw = cache.get()] { raw->fill_memory(); }));
  return cache;
}

// First touches of memory are slow where the system must drop page cache for it (5 s for 1.7 GB, measured on a virtual
// machine), and would hold up the one thread that hands reads to the kernel. So they are made ahead, in the order in
// which slots are taken.
void ExpertCache::fill_memory() {
  constexpr std::size_t kPiece = 32 << 20;
  for (std::size_t at = 0; at < memory_.size(); at += kPiece) {
    {
      const std::lock_guard lock(mutex_);
      if (closing_) return;
    }
    if (!make_present(memory_.data() + at, std::min(kPiece, memory_.size() - at))) return;
  }
}

ExpertCache::ExpertCache(std::shared_ptr<const Weights> weights, ExpertUnits units, HugeBuffer memory,
                         std::int64_t slots)
    : weights_(std::move(weights)),
      units_(std::move(units)),
      memory_(std::move(memory)),
      use_(weights_->config, units_) {
  for (const LayerWeights& layer : weights_->layers) {
    views_.push_back(layer.moe ? layer.moe->experts : std::vector<FfnWeights>());
  }
  slots_.resize(static_cast<std::size_t>(slots));
  unit_.resize(static_cast<std::size_t>(units_.count()));
  wanted_.reserve(static_cast<std::size_t>(units_.per_layer()));
  expected_.reserve(static_cast<std::size_t>(units_.per_layer()));
  ends_.reserve(static_cast<std::size_t>(units_.per_layer()));
  window_ = std::max<std::int64_t>(2, kWindowBytes / units_.slot_bytes());
  stats_.slots = slots;
  stats_.cache_bytes = static_cast<std::int64_t>(memory_.size());
}

ExpertCache::~ExpertCache() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  reader_.reset();
  if (filling_.joinable()) filling_.join();
}

ExpertCache::State ExpertCache::state_of(std::int32_t unit) const {
  const std::int32_t slot = unit_[static_cast<std::size_t>(unit)].slot;
  return slot < 0 ? State::kFree : slots_[static_cast<std::size_t>(slot)].state;
}

void ExpertCache::begin(std::int64_t layer, std::span<const std::int32_t> active, const std::int32_t* first_slot,
                        std::int64_t tokens) {
  const std::lock_guard lock(mutex_);
  for (const std::int32_t unit : wanted_) unit_[static_cast<std::size_t>(unit)].wanted = false;  // of a failed step
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    slots_[slot].asked = false;
    if (slots_[slot].state == State::kFailed) release(static_cast<std::int32_t>(slot));
  }
  forget_expected();
  layer_ = layer;
  use_.learn(layer, active, first_slot, tokens);
  want(active);
  give_up_wrong_guesses(layer);
  finished_ = asked_ = 0;
  running_ = 0;
  schedule();
}

// Makes wanted_ and ends_, and counts.
void ExpertCache::want(std::span<const std::int32_t> active) {
  wanted_.clear();
  ends_.clear();
  for (std::size_t i = 0; i < active.size(); ++i) {
    const std::int32_t unit = units_.unit_of(layer_, active[i]);
    if (wanted_.empty() || wanted_.back() != unit) {
      wanted_.push_back(unit);
      ends_.push_back(0);
    }
    ends_.back() = static_cast<std::int64_t>(i) + 1;
  }
  for (const std::int32_t unit : wanted_) {
    unit_[static_cast<std::size_t>(unit)].wanted = true;
    const State state = state_of(unit);
    ++(state == State::kReady ? stats_.hits : state == State::kReading ? stats_.late : stats_.misses);
    if (state == State::kFree) stats_.bytes_used += units_[unit].bytes();
    if (state == State::kFree) continue;
    Slot& slot = slots_[static_cast<std::size_t>(unit_[static_cast<std::size_t>(unit)].slot)];
    if (!std::exchange(slot.ahead, false)) continue;
    ++stats_.read_ahead_used;
    stats_.bytes_used += units_[unit].bytes();
    if (state == State::kReading) --running_ahead_;
  }
}

// Reads ahead for a layer that are neither wanted nor expected any more would only hold up others.
void ExpertCache::give_up_wrong_guesses(std::int64_t layer) {
  if (running_ahead_ == 0) return;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_[i];
    if (slot.state != State::kReading || !slot.ahead || slot.given_up) continue;
    const Unit& now = unit_[static_cast<std::size_t>(slot.unit)];
    const ExpertUnits::Unit& unit = units_[slot.unit];
    if (now.wanted || now.expected || unit.layer != layer) continue;
    const auto index = static_cast<std::int32_t>(i);
    for (std::uint32_t extent = 0; extent < unit.extents.size(); ++extent) {
      if (reader_->cancel(first_tag(index) + extent)) --slot.reads_left;
    }
    slot.given_up = true;
    ++stats_.read_ahead_given_up;
    if (slot.reads_left > 0) continue;  // the rest ends as cancelled
    --running_ahead_;
    release(index);
  }
}

// Asks for what the layer wants and is not there, in the order of computation, as far as there is room.
void ExpertCache::schedule() {
  if (closing_ || dropping_) return;
  for (; asked_ < wanted_.size(); ++asked_) {
    const std::int32_t unit = wanted_[asked_];
    const State state = state_of(unit);
    if (state == State::kReady || state == State::kFailed) continue;
    if (running_ >= window_) return;
    if (state == State::kReading) {
      const std::uint32_t tag = first_tag(unit_[static_cast<std::size_t>(unit)].slot);
      for (std::uint32_t i = 0; i < units_[unit].extents.size(); ++i) reader_->hurry(tag + i);
      continue;
    }
    const std::int32_t slot = take_slot(0, asked_ == finished_);
    if (slot < 0) return;
    slots_[static_cast<std::size_t>(slot)].asked = true;
    ++running_;
    start(unit, slot, Urgency::kNow);
  }
  read_ahead();
}

void ExpertCache::read_ahead() {
  for (const std::int32_t unit : expected_) {
    if (!read_ahead(unit)) return;
  }
  if (!expected_.empty()) return;
  const std::int32_t first = units_.first_of(units_.next_layer(layer_));
  for (std::int32_t unit = first; unit < first + units_.per_layer(); ++unit) {
    if (use_.per_step(unit) >= kReadAheadFrom && !read_ahead(unit)) return;
  }
}

// False: there is no room for this one, nor for more.
bool ExpertCache::read_ahead(std::int32_t unit) {
  if (running_ahead_ >= window_) return false;
  const Unit& one = unit_[static_cast<std::size_t>(unit)];
  if (one.slot >= 0 || one.wanted) return true;
  const std::int32_t slot = take_slot(next_use(unit) + kWorthSwapping, false);
  if (slot < 0) return false;
  slots_[static_cast<std::size_t>(slot)].ahead = true;
  ++running_ahead_;
  ++stats_.read_ahead;
  start(unit, slot, Urgency::kLater);
  return true;
}

// Guesses pay where a step's tokens choose few of a layer's experts, and not all of them fit. Of many tokens it is
// enough to know that they come; but the last layer computes only those whose logits are wanted, as many as in the step
// before.
const LayerWeights* ExpertCache::guess_after(std::int64_t layer, std::int64_t tokens) {
  const std::int64_t next = units_.next_layer(layer);
  const std::int64_t chosen = tokens * weights_->config.num_experts_per_tok;
  if (next <= layer) return nullptr;
  if (chosen > weights_->config.n_routed_experts) {
    if (next == weights_->config.num_hidden_layers - 1) return nullptr;
    const std::lock_guard lock(mutex_);
    forget_expected();
    use_.estimate(next, tokens);
    schedule();
    return nullptr;
  }
  if (slots_.size() == unit_.size()) return nullptr;
  expected_layer_ = next;
  return &weights_->layers[static_cast<std::size_t>(next)];
}

void ExpertCache::expect(std::span<const std::int32_t> experts, std::span<const float> weights) {
  const std::lock_guard lock(mutex_);
  forget_expected();
  for (std::size_t i = 0; i < experts.size(); ++i) {
    const std::int32_t index = units_.unit_of(expected_layer_, experts[i]);
    Unit& unit = unit_[static_cast<std::size_t>(index)];
    if (!std::exchange(unit.expected, true)) {
      unit.weight = 0;
      expected_.push_back(index);
    }
    if (std::isfinite(weights[i])) unit.weight += weights[i];
  }
  const auto weight = [this](std::int32_t unit) { return unit_[static_cast<std::size_t>(unit)].weight; };
  std::sort(expected_.begin(), expected_.end(),
            [&](std::int32_t a, std::int32_t b) { return weight(a) != weight(b) ? weight(a) > weight(b) : a < b; });
  give_up_wrong_guesses(expected_layer_);
  schedule();
}

void ExpertCache::forget_expected() {
  for (const std::int32_t unit : expected_) unit_[static_cast<std::size_t>(unit)].expected = false;
  expected_.clear();
}

double ExpertCache::next_use(std::int32_t unit) const {
  return use_.next_use(unit, layer_, unit_[static_cast<std::size_t>(unit)].expected);
}

// A free slot, or one made so; -1: none. `must`: the layer cannot go on without, so what it wants last may go too.
// Nothing goes that is expected to be used within `later_than` steps.
std::int32_t ExpertCache::take_slot(double later_than, bool must) {
  std::int32_t best = -1;
  double furthest = later_than;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].state == State::kFree) return static_cast<std::int32_t>(i);
    if (slots_[i].state != State::kReady || unit_[static_cast<std::size_t>(slots_[i].unit)].wanted) continue;
    const double when = next_use(slots_[i].unit);
    if (when > furthest) furthest = when, best = static_cast<std::int32_t>(i);
  }
  if (best < 0 && must) {
    for (std::size_t i = wanted_.size(); i > finished_ + 1 && best < 0; --i) {
      if (state_of(wanted_[i - 1]) == State::kReady) best = unit_[static_cast<std::size_t>(wanted_[i - 1])].slot;
    }
  }
  if (best >= 0) release(best);
  return best;
}

void ExpertCache::release(std::int32_t slot) {
  Slot& one = slots_[static_cast<std::size_t>(slot)];
  unit_[static_cast<std::size_t>(one.unit)].slot = -1;
  one = Slot{};
}

void ExpertCache::start(std::int32_t unit, std::int32_t slot, Urgency urgency) {
  const std::vector<Extent>& extents = units_[unit].extents;
  Slot& one = slots_[static_cast<std::size_t>(slot)];
  one.unit = unit;
  one.state = State::kReading;
  one.reads_left = static_cast<std::int32_t>(extents.size());
  unit_[static_cast<std::size_t>(unit)].slot = slot;
  std::byte* memory = memory_.data() + slot * units_.slot_bytes();
  for (std::size_t i = 0; i < extents.size(); ++i) {
    reader_->read({.tag = first_tag(slot) + static_cast<std::uint32_t>(i),
                   .file = extents[i].file,
                   .offset = extents[i].offset,
                   .bytes = extents[i].bytes,
                   .into = memory + extents[i].at},
                  urgency);
  }
}

void ExpertCache::read_ended(std::uint32_t tag, Status status) {
  {
    const std::lock_guard lock(mutex_);
    const auto index = static_cast<std::int32_t>(tag / units_.max_extents());
    Slot& slot = slots_[static_cast<std::size_t>(index)];
    if (!status.ok() && slot.status.ok()) slot.status = std::move(status);
    if (--slot.reads_left > 0) return;
    end_reading(index);
    schedule();
  }
  changed_.notify_all();
}

// All reads of a slot have ended. A unit that was given up and is wanted by now is read once more.
void ExpertCache::end_reading(std::int32_t index) {
  Slot& slot = slots_[static_cast<std::size_t>(index)];
  const bool wanted = unit_[static_cast<std::size_t>(slot.unit)].wanted;
  if (slot.ahead) --running_ahead_;
  if (wanted && !slot.status.ok() && slot.status.error().code == Errc::kCancelled) {
    slot.status = {};
    return start(slot.unit, index, Urgency::kNow);
  }
  slot.state = slot.status.ok() ? State::kReady : State::kFailed;
  if (slot.state == State::kFailed && !wanted) release(index);
}

bool ExpertCache::ready() const {
  const std::lock_guard lock(mutex_);
  return finished_ < wanted_.size() && state_of(wanted_[finished_]) == State::kReady;
}

Result<std::int64_t> ExpertCache::wait(std::int64_t first) {
  std::unique_lock lock(mutex_);
  BALTORO_CHECK(finished_ < wanted_.size() && first == (finished_ == 0 ? 0 : ends_[finished_ - 1]),
                "experts in the order of begin()");
  const std::int32_t next = wanted_[finished_];
  const auto ended = [&] { return state_of(next) == State::kReady || state_of(next) == State::kFailed; };
  if (!ended()) {
    const double start = steady_seconds();
    changed_.wait(lock, [&] { return interrupted_ || ended(); });
    stats_.stall_seconds += steady_seconds() - start;
  }
  if (interrupted_) return Error{Errc::kCancelled, "[experts] interrupted"};
  if (state_of(next) == State::kFailed) {
    const std::int32_t slot = unit_[static_cast<std::size_t>(next)].slot;
    Status status = std::move(slots_[static_cast<std::size_t>(slot)].status);
    release(slot);
    return std::move(status).error();
  }
  std::size_t end = finished_;
  for (; end < wanted_.size() && state_of(wanted_[end]) == State::kReady; ++end) show(wanted_[end]);
  return ends_[end - 1];
}

// Points the views of the unit's experts at its slot.
void ExpertCache::show(std::int32_t unit) {
  const ExpertUnits::Unit& place = units_[unit];
  const std::byte* memory = memory_.data() + unit_[static_cast<std::size_t>(unit)].slot * units_.slot_bytes();
  auto& layer = views_[static_cast<std::size_t>(place.layer)];
  for (std::int32_t e = place.first; e < place.end; ++e) {
    FfnWeights& expert = layer[static_cast<std::size_t>(e)];
    const auto& at = place.at[static_cast<std::size_t>(e - place.first)];
    tensor::MatrixView* views[] = {&expert.gate, &expert.up, &expert.down};
    for (std::size_t i = 0; i < 3; ++i) {
      views[i]->data = memory + at[2 * i];
      if (views[i]->scale_bytes() > 0) views[i]->scale = memory + at[2 * i + 1];
    }
  }
}

std::span<const FfnWeights> ExpertCache::weights() const { return views_[static_cast<std::size_t>(layer_)]; }

void ExpertCache::finish(std::int64_t end) {
  const std::lock_guard lock(mutex_);
  for (; finished_ < wanted_.size() && ends_[finished_] <= end; ++finished_) {
    Unit& unit = unit_[static_cast<std::size_t>(wanted_[finished_])];
    unit.wanted = false;
    if (std::exchange(slots_[static_cast<std::size_t>(unit.slot)].asked, false)) --running_;
  }
  schedule();
}

void ExpertCache::interrupt(bool on) {
  {
    const std::lock_guard lock(mutex_);
    interrupted_ = on;
  }
  changed_.notify_all();
}

void ExpertCache::drop() {
  std::unique_lock lock(mutex_);
  dropping_ = true;  // what is under way ends, and nothing new begins
  const auto reading = [](const Slot& slot) { return slot.state == State::kReading; };
  changed_.wait(lock, [&] { return std::none_of(slots_.begin(), slots_.end(), reading); });
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    if (slots_[slot].state != State::kFree) release(static_cast<std::int32_t>(slot));
  }
  dropping_ = false;
}

ExpertStats ExpertCache::stats() const {
  const BlockReaderStats read = reader_->stats();
  const std::lock_guard lock(mutex_);
  ExpertStats stats = stats_;
  stats.bytes_read = read.bytes_read;
  stats.read_seconds = read.busy_seconds;
  stats.read_retries = read.retries;
  stats.io_uring = read.io_uring;
  stats.direct = read.direct;
  return stats;
}

Status ExpertCache::check_integrity() const {
  const std::lock_guard lock(mutex_);
  std::int64_t ahead = 0;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    if ((slot.state == State::kFree) != (slot.unit < 0)) return Error{Errc::kInternal, "a free slot with a unit"};
    if (slot.unit < 0) continue;
    if (unit_[static_cast<std::size_t>(slot.unit)].slot != static_cast<std::int32_t>(i)) {
      return Error{Errc::kInternal, "a slot whose unit lies elsewhere"};
    }
    if (slot.state == State::kReading && slot.ahead) ++ahead;
  }
  for (std::size_t u = 0; u < unit_.size(); ++u) {
    const std::int32_t slot = unit_[u].slot;
    if (slot >= 0 && slots_[static_cast<std::size_t>(slot)].unit != static_cast<std::int32_t>(u)) {
      return Error{Errc::kInternal, "a unit whose slot holds another"};
    }
  }
  if (ahead != running_ahead_) return Error{Errc::kInternal, "reads ahead miscounted"};
  return {};
}

}  // namespace baltoro::model
