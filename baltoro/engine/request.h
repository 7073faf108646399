// SPDX-License-Identifier: Apache-2.0
// What a client of the engine says and hears. Token ids only: text, JSON and HTTP live elsewhere.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "baltoro/base/result.h"

namespace baltoro::engine {

enum class RequestId : std::uint64_t {};
using TokenId = std::int32_t;

// How the next token is drawn. Order: logit_bias, penalties, mask, temperature, top_k, top_p, min_p (as vLLM).
struct SamplingParams {
  float temperature = 1.0f;  // 0: greedy, ties to the lowest id
  std::int32_t top_k = 0;    // 0: off
  float top_p = 1.0f;
  float min_p = 0.0f;
  float presence_penalty = 0.0f;  // over output tokens, OpenAI's definition
  float frequency_penalty = 0.0f;
  float repetition_penalty = 1.0f;  // over prompt and output tokens, CTRL's definition
  std::vector<std::pair<TokenId, float>> logit_bias = {};
  // The draw for (seed, choice, output index) is a counter-based function: neighbours and restarts never change it.
  std::optional<std::uint64_t> seed = {};  // absent: drawn at submit
};

// A set of allowed tokens for the next position, for constrained decoding. Called on the engine thread.
class TokenMask {
 public:
  virtual ~TokenMask() = default;
  // Sets bit id of `allowed` (V bits, zeroed) for every token that may come next. `remaining_tokens`: how many tokens
  // may still be sampled, the next one included. Returns false for "no constraint".
  virtual bool fill(std::span<std::uint64_t> allowed, std::int64_t remaining_tokens) = 0;
  virtual void accept(TokenId token) = 0;  // the token that was sampled
};

struct TokenLogprob {
  TokenId token = 0;
  float logprob = 0;  // natural log of the softmax of the raw logits (before bias, penalties and temperature)
};

enum class FinishReason : std::uint8_t { kNone, kStop, kLength, kCancelled, kError };

// What a request is held against before it is taken.
struct RequestLimits {
  std::int64_t vocab_size = 0;
  std::int64_t max_context_tokens = 0;  // prompt + output of one sequence
  std::int64_t kv_tokens = 0;           // that the whole KV cache holds
  std::int64_t max_choices = 0;
};

// Whose prefixes a request may find: requests with different salts never share KV. Made outside of the engine, by a
// digest of who asks; all zero is the common one.
struct CacheSalt {
  std::uint64_t high = 0, low = 0;
  friend auto operator<=>(const CacheSalt&, const CacheSalt&) = default;
};

// Why the known part of a prompt ends where it does.
enum class PrefixEnd : std::uint8_t {
  kWhole,    // all that can be reused was: the last token is always computed, for its logits
  kNew,      // nothing is known to go on from here: a first prompt, a longer one, or one that was evicted
  kDiffers,  // what is known goes on with another token
};

// What the prefix cache had of a prompt when it was started.
struct PrefixMatch {
  std::int64_t tokens_prompt = 0;
  std::int64_t tokens_cached = 0;  // also the position of the first token that is not
  PrefixEnd end = PrefixEnd::kNew;
  TokenId known = -1, seen = -1;  // kDiffers: the token that is known there, and the prompt's
};

// One sampled token, or the end of a choice.
struct TokenEvent {
  RequestId request{};
  std::int32_t choice = 0;            // 0..n-1
  std::optional<TokenId> token;       // absent on an end that brings no token
  float logprob = 0;                  // of `token`, when logprobs were asked for
  std::span<const TokenLogprob> top;  // valid during the call
  FinishReason finish = FinishReason::kNone;
  std::optional<TokenId> stop_token;  // kStop: the stop id that ended it, itself also in `token`
  Error error;                        // kError only
  std::int64_t tokens_cached = 0;     // prompt tokens served from KV of earlier work
  double queue_seconds = 0;           // from submit to its first computed token; of one that never began, till now
};

// Where a request's events go. Called on the engine thread, one call at a time, in order for each choice; must not
// block.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  // kStop ends this choice now (a stop string matched): no further event for it comes.
  enum class Next : std::uint8_t { kContinue, kStop };
  virtual Next on_token(const TokenEvent& event) = 0;
  virtual void on_start(const PrefixMatch& match) { (void)match; }  // once, before all others
  virtual void on_prefill(std::int64_t tokens_done, std::int64_t tokens_total) {
    (void)tokens_done, (void)tokens_total;
  }
  // echo_logprobs: the log-probability of prompt token `position` (1, 2, ... in order; the first has none), before the
  // first on_token. `top` is valid during the call.
  virtual void on_prompt_logprob(std::int64_t position, TokenLogprob token, std::span<const TokenLogprob> top) {
    (void)position, (void)token, (void)top;
  }
};

struct Request {
  std::vector<TokenId> prompt;  // not empty
  SamplingParams sampling;
  std::int32_t n = 1;           // choices that share the prompt's KV
  std::int64_t max_tokens = 0;  // per choice; clamped to the context length; 0: compute the prompt only
  std::vector<TokenId> stop_token_ids;
  bool logprobs = false;
  std::int32_t top_logprobs = 0;  // 0..20
  bool echo_logprobs = false;     // also report the prompt's own log-probabilities (Completions echo)
  bool ignore_stop = false;       // run to max_tokens: benchmarks
  CacheSalt cache_salt;
  std::int32_t priority = 0;   // lower is sooner: each step is worth EngineOptions::priority_seconds of waiting
  double timeout_seconds = 0;  // from submit to the last event, looked at between steps; 0: none. Then: kTimeout
  std::function<std::unique_ptr<TokenMask>(std::int32_t choice)> make_mask;  // null: unconstrained
  std::shared_ptr<TokenSink> sink;
};

// kInvalidArgument: empty prompt, ids outside the vocabulary, prompt + 1 over the context, a parameter out of range;
// the field is named. kResourceExhausted: prompt and output of one choice need more KV than there is.
Status check_request(const Request& request, const RequestLimits& limits);

}  // namespace baltoro::engine
