// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "baltoro/base/histogram.h"
#include "baltoro/base/result.h"
#include "baltoro/engine/kv_store.h"
#include "baltoro/engine/request.h"
#include "baltoro/model/expert_stats.h"

namespace baltoro::engine {

class ModelRunner;  // model_runner.h: runs one batch; a Decoder in earnest, a formula in tests

struct EngineOptions {
  std::int64_t max_batch_tokens = 512;  // tokens a step may hold, prefill and decode together
  std::int64_t max_sequences = 64;      // running choices
  std::int64_t max_queue = 1024;        // waiting requests; beyond: kOverloaded
  std::int64_t max_queue_tokens = 0;    // prompt tokens of waiting requests, of which one may be longer; 0: no bound
  std::int64_t max_context_tokens = 0;  // prompt + output of one sequence; 0: the model's
  bool prefix_cache = true;             // false: every prompt is computed whole
  // The time between a running answer's tokens that prompts may stretch a step to; see SchedulerOptions. 0: no bound.
  double max_gap_seconds = 0;
  double priority_seconds = 10;        // what one step of priority is worth in waiting time
  std::function<double()> clock = {};  // seconds; null: the steady clock. For tests
};

// KV on disk, and what goes between there and memory: see KvTierStats.
struct KvDiskStats : KvDirectoryStats {
  std::int64_t blocks_unwritten = 0, blocks_restored = 0, requests_restored = 0;
};

// Counters since start and gauges of now.
struct EngineStats {
  std::int64_t requests_submitted = 0, requests_finished = 0, requests_cancelled = 0, requests_failed = 0;
  std::int64_t tokens_prefilled = 0, tokens_cached = 0, tokens_decoded = 0, steps = 0, preemptions = 0;
  // Prompts started, by what the prefix cache had of them (see PrefixEnd), those of which it had anything, and all
  // their tokens: tokens_cached / tokens_prompt is the hit rate.
  std::int64_t prefix_whole = 0, prefix_new = 0, prefix_differs = 0, prefix_hits = 0, tokens_prompt = 0;
  std::int64_t sequences_running = 0, sequences_waiting = 0;
  std::int64_t sequences_held = 0;  // that wait for KV from disk
  std::int64_t blocks_total = 0, blocks_free = 0, blocks_cached = 0;
  std::int64_t requests_timed_out = 0;                  // of those failed
  std::int64_t requests_queued = 0, tokens_queued = 0;  // now: not begun, and their prompts' tokens
  double step_seconds_total = 0;
  Histogram queue_seconds{kWaitSeconds};  // from submit to the first computed token
  Histogram step_seconds{kStepSeconds};   // of each step that had sequences to decode: the gap between their tokens
  Histogram prompt_tokens{kTokenCounts}, output_tokens{kTokenCounts};  // of each request begun; of each choice ended
  Histogram mask_seconds{kPartSeconds};  // for each token drawn under a mask: the making of that
  Histogram batch_tokens{kBatchSizes}, batch_sequences{kBatchSizes};  // of each step
  std::optional<model::ExpertStats> experts = {};                     // when they are streamed from disk
  std::optional<KvDiskStats> disk = {};                               // with a KV store
};

// Continuous batching over one model. One thread owns scheduler and KV; the others send messages.
class Engine {
 public:
  // With `store`, whose pages are as large as the runner's blocks, KV also goes to disk and comes back from there.
  Engine(std::unique_ptr<ModelRunner> runner, EngineOptions options, std::unique_ptr<KvStore> store = nullptr);
  ~Engine();  // cancels what runs and joins
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Queues a request; its events come to request.sink. Any thread.
  // kInvalidArgument: empty prompt, ids outside the vocabulary, prompt + 1 over the context, parameters out of range
  // (the field is named). kResourceExhausted: more KV than the whole cache holds. kOverloaded: the queue is full,
  // by requests or tokens, with an estimate of when there is room. kUnavailable: draining.
  Result<RequestId> submit(Request request);
  // Ends a request before the next step; its choices get kCancelled. Unknown ids are ignored. Any thread.
  void cancel(RequestId id);
  // Refuses new requests and waits until the running ones end and full blocks are on their way to disk, or the deadline
  // passes (then cancels them).
  void drain(double deadline_seconds);

  EngineStats stats() const;
  // How long the present step has taken; 0: none is being taken. Any thread, never blocks.
  double busy_seconds() const;
  std::int64_t vocab_size() const;
  std::int64_t max_context_tokens() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace baltoro::engine
