// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/engine/request.h"
#include "baltoro/kernels/kernels.h"

namespace baltoro::engine {

// Everything one draw depends on.
struct SampleInput {
  std::span<const float> logits;    // [V], as the model gave them
  std::span<const TokenId> tokens;  // prompt, then output so far
  std::int64_t tokens_prompt = 0;
  const SamplingParams& params;
  std::uint64_t seed = 0;  // with choice and the output's length, what the draw is a function of
  std::int32_t choice = 0;
  TokenMask* mask = nullptr;     // null: unconstrained
  std::int64_t tokens_left = 0;  // that may still be sampled, this one included: for the mask
};

// A token's log-probability and the most probable tokens, best first (ties: lowest id).
struct Logprobs {
  float logprob = 0;
  std::span<const TokenLogprob> top;  // valid until the next call
};

// Draws the next token from logits. The result is a function of the input alone, never of what was drawn before or
// beside it. Order: logit_bias; repetition, then frequency and presence penalties; mask; temperature; top_k; top_p;
// min_p; then the inverse of the cumulative distribution, in order of id. A few passes over V; scratch is held, so that
// a draw allocates nothing. One thread.
class Sampler {
 public:
  explicit Sampler(std::int64_t vocab_size);

  // kInternal: a logit is NaN or infinite. kUnsupported: the mask allows no token.
  Result<TokenId> sample(const SampleInput& input);
  // log softmax of the raw logits: l[token] - log(sum exp(l)). `top` in 0..20. kInternal as above.
  Result<Logprobs> logprobs(std::span<const float> logits, TokenId token, std::int32_t top);

 private:
  struct Candidate {
    TokenId id;
    double weight;  // exp((logit - max) / temperature)
  };
  Result<float> finite_maximum(std::span<const float> logits) const;
  void add_bias(const SamplingParams& params);
  void penalize(const SampleInput& input);
  void forget_counts();
  Status mask(TokenMask& mask, std::int64_t tokens_left);
  TokenId draw(std::span<const float> logits, float maximum, const SamplingParams& params, double uniform);
  void weigh(std::span<const float> logits, float maximum, float temperature);
  void keep_best(std::span<const float> logits, std::size_t count);
  void cut_top_p(double p);
  void keep_heavier(double least);
  void keep_top_p(std::span<const float> logits, double p);
  TokenId draw_kept(double uniform);
  TokenId draw_any(double uniform) const;

  const kernels::Kernels& kernels_;
  std::vector<float> logits_;         // [V], adjusted
  std::vector<float> weights_;        // [V] by id
  std::vector<double> sums_;          // of the weights of each run of kRun ids
  std::vector<std::int32_t> counts_;  // [V], zero between calls
  std::vector<TokenId> touched_;      // ids with a count
  std::vector<Candidate> kept_;       // candidates, [V] at most
  std::vector<float> heads_;          // highest logit of each run
  std::vector<std::uint64_t> allowed_;
  std::vector<TokenLogprob> top_;
};

}  // namespace baltoro::engine
