// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "baltoro/engine/engine.h"
#include "baltoro/engine/kv_tier.h"
#include "baltoro/engine/model_runner.h"
#include "baltoro/engine/sampler.h"
#include "baltoro/engine/scheduler.h"

namespace baltoro::engine {

// The engine without its thread: requests in, one step at a time, events out to the sinks. Deterministic; what tests
// drive directly. One thread.
class EngineCore {
 public:
  EngineCore(std::unique_ptr<ModelRunner> runner, const EngineOptions& options,
             std::unique_ptr<KvStore> store = nullptr);

  // `request` has passed check_request() and came at `arrival` on the engine's clock. May throw std::bad_alloc, and
  // then nothing has changed.
  void add(RequestId id, Request request, double arrival);
  void add(RequestId id, Request request) { add(id, std::move(request), now()); }
  double now() const { return clock_(); }
  void cancel(RequestId id);  // now; unknown ids are ignored
  void cancel_all();
  // While on, a step that waits for weights from disk ends, and all its requests as cancelled. Any thread.
  void interrupt(bool on) { runner_->interrupt(on); }
  // One batch through the model and its events, or the end of requests alone. False: there was nothing to do. When the
  // model fails, so do all requests: see fail_all.
  bool step();
  // After an exception or error in a step, when nobody knows which rows are whole: ends every request with that error
  // (kCancelled: as cancelled) and starts from an empty cache.
  void fail_all(Errc code, std::string_view message);

  // Requests that are not ended.
  template <typename Body>
  void for_each_request(const Body& body) const {
    for (const auto& [id, state] : requests_) body(id);
  }
  bool idle() const { return requests_.empty(); }
  // Something can be computed now; else all requests wait for KV from disk, which wake() of the store announces.
  bool runnable() const { return !scheduler_->idle(); }
  // Ends requests whose time is over and moves KV between memory and disk as far as it goes without waiting. step()
  // does so too.
  void pump();
  // Until pump() has a request's time to end, however little: for waits while nothing is runnable.
  std::optional<double> seconds_to_deadline() const;
  // `wake` is called from the store's threads when pump() has something to do; null: not any more.
  void set_wake(std::function<void()> wake);
  std::int64_t num_requests() const { return static_cast<std::int64_t>(requests_.size()); }
  // Requests of which no token has been computed yet.
  std::int64_t num_queued() const { return num_queued_; }
  std::int64_t tokens_queued() const { return tokens_queued_; }  // of their prompts
  const RequestLimits& limits() const { return limits_; }
  EngineStats stats() const;
  Status check_integrity() const;

 private:
  void expire();
  void note_step(const StepPlan& plan, double seconds);
  Status run_model(const StepPlan& plan);
  void finish_chunk(const Chunk& chunk);
  void report_progress(const Sequence& sequence);
  void report_prompt_row(Sequence& sequence, std::int64_t row, std::span<const float> logits);
  void sample_choices(Sequence& leader, std::span<const float> logits);
  void sample(Sequence& sequence, std::span<const float> logits);
  void append(Sequence& sequence, TokenId token, const Logprobs& logprobs);
  void end_choice(RequestState& state, std::int32_t choice, FinishReason reason, Errc code, std::string_view message);
  void end_request(RequestState& state, FinishReason reason, Errc code, std::string_view message);
  void mark_ended(RequestState& state, std::int32_t choice);
  void start(RequestState& state);
  void enter(std::unique_ptr<Sequence> sequence, double came);
  void leave_queue(const RequestState& state);
  void retire();
  template <typename Body>
  bool guarded(RequestState& state, const Body& body);

  std::unique_ptr<ModelRunner> runner_;
  SchedulerOptions scheduler_options_;
  RequestLimits limits_;
  std::unique_ptr<KvTier> tier_;  // null: KV stays in memory
  std::unique_ptr<Scheduler> scheduler_;
  Sampler sampler_;
  std::map<RequestId, std::unique_ptr<RequestState>> requests_;
  std::uint64_t arrivals_ = 0;
  std::uint64_t seed_counter_;
  std::int64_t num_queued_ = 0, tokens_queued_ = 0;
  std::function<double()> clock_;
  double priority_seconds_;
  double step_began_ = 0;         // on the clock
  double earliest_deadline_ = 0;  // of all requests; 0: none
  EngineStats totals_;            // counters only; preemptions are those of schedulers given up

  std::unique_ptr<float[]> logits_;  // [max_logit_rows, V]
  std::vector<std::int32_t> tokens_, positions_, sequences_, logit_rows_;
  std::vector<std::span<const BlockId>> block_tables_;
  std::vector<Sequence*> choices_;  // scratch: the sequences that sample from one row
  bool any_ended_ = false;
};

}  // namespace baltoro::engine
