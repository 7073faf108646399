// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <memory>
#include <vector>

#include "baltoro/engine/prefix_cache.h"
#include "baltoro/engine/request.h"

namespace baltoro::engine {

// A request from submit to its last event; its choices' sequences point here.
struct RequestState {
  RequestId id{};
  Request request;  // the prompt has moved into the first sequence
  std::uint64_t seed = 0;
  std::int64_t tokens_prompt = 0;
  std::int64_t max_tokens = 0;     // per choice, clamped to the context
  std::int32_t choices_open = 0;   // choices whose last event has not gone out
  std::vector<bool> ended;         // [n], which those are not
  bool started = false;            // some of its tokens have been computed
  std::int64_t tokens_cached = 0;  // of the prompt, served from KV of earlier work
  PrefixMatch match;               // when it was started
  std::int64_t prefill_reported = 0;
  double arrival = 0;        // on the engine's clock
  double deadline = 0;       // the same; 0: none
  double queue_seconds = 0;  // from arrival to the first computed token
  bool preempted = false;    // before its prompt was through: later cache hits are its own work
  bool failed = false, cancelled = false;
};

// The scheduler's only order: when a choice came, shifted by its priority. It never changes, so whoever waits comes
// first in the end. None is preempted for one that ranks behind it.
struct Rank {
  double due = 0;             // arrival + priority * priority_seconds, on the engine's clock
  std::uint64_t arrival = 0;  // how many came before
  std::int32_t choice = 0;
  auto operator<=>(const Rank&) const = default;
};

enum class SequenceState : std::uint8_t { kWaiting, kRunning, kFinished };

// One choice of a request: its tokens and the KV blocks that hold their rows. Until the prompt is through, choice 0
// stands for all n.
struct Sequence {
  RequestState* owner = nullptr;
  Rank rank;
  SequenceState state = SequenceState::kWaiting;
  bool stands_for_all = false;  // not yet forked into the n choices
  std::vector<TokenId> tokens;  // prompt, then output
  std::int64_t tokens_prompt = 0;
  std::int64_t tokens_computed = 0;  // rows [0, tokens_computed) are in `blocks`
  std::vector<BlockId> blocks;       // block i holds positions [64 i, 64 i + 64)
  std::int64_t blocks_cached = 0;    // blocks [0, blocks_cached) are full and known to the prefix cache
  std::int64_t next_echo_row = 0;    // echo_logprobs: first row whose logits are still to be reported
  std::uint64_t last_step = 0;       // when it was last served
  std::uint64_t lined_up_step = 0;   // waiting: when it came into line
  std::uint64_t admitted_step = 0;   // running: when it left it
  bool mask_made = false;
  std::unique_ptr<TokenMask> mask;  // null: unconstrained

  std::int64_t length() const { return static_cast<std::int64_t>(tokens.size()); }
  std::int64_t tokens_output() const { return length() - tokens_prompt; }
  std::int64_t tokens_remaining() const { return length() - tokens_computed; }
  bool samples() const { return owner->max_tokens > 0; }
  // Rows of the prompt whose logits tell the log-probability of the next prompt token: [next_echo_row, echo_end()).
  std::int64_t echo_end() const { return owner->request.echo_logprobs && rank.choice == 0 ? tokens_prompt - 1 : 0; }
  bool wants_logits(std::int64_t row) const {
    return (row == length() - 1 && samples()) || (row >= next_echo_row && row < echo_end());
  }
};

inline std::int64_t blocks_for(std::int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

}  // namespace baltoro::engine
