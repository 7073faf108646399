// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/sampler.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "baltoro/base/check.h"
#include "baltoro/engine/random.h"

namespace baltoro::engine {
namespace {

constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr std::int32_t kMaxTop = 20;

constexpr std::size_t kRun = 256;  // ids whose weights have one sum

std::size_t at(TokenId id) { return static_cast<std::size_t>(id); }

// Likelier first; of equals the lower id.
struct Better {
  std::span<const float> logits;
  bool operator()(TokenId a, TokenId b) const {
    const float left = logits[at(a)], right = logits[at(b)];
    return left != right ? left > right : a < b;
  }
};

// Weights of up to 1, in bins of equal exponent and high mantissa bits: heavier weights lie in higher bins.
constexpr int kBinShift = 20;
constexpr std::size_t kBins = (0x3F800000u >> kBinShift) + 2;  // 1 and what rounding puts above it
std::size_t bin_of(float weight) {
  return std::min<std::size_t>(std::bit_cast<std::uint32_t>(weight) >> kBinShift, kBins - 1);
}

const kernels::Kernels& machine_kernels() {
  const auto isa = kernels::choose_isa();
  BALTORO_CHECK(isa.ok(), "an instruction set, as the decoder has one");
  return kernels::kernels(*isa);
}

}  // namespace

Sampler::Sampler(std::int64_t vocab_size) : kernels_(machine_kernels()) {
  const auto size = static_cast<std::size_t>(vocab_size);
  const std::size_t runs = (size + kRun - 1) / kRun;
  logits_.resize(size);
  weights_.resize(size);
  sums_.resize(runs);
  heads_.resize(runs);
  counts_.resize(size);
  touched_.reserve(size);
  kept_.reserve(size);
  allowed_.resize((size + 63) / 64);
  top_.resize(kMaxTop);
}

Result<float> Sampler::finite_maximum(std::span<const float> logits) const {
  BALTORO_CHECK(logits.size() == logits_.size(), "one logit for each id");
  bool finite = false;
  const float maximum = kernels_.maximum(logits.data(), std::ssize(logits), &finite);
  if (finite) [[likely]]
    return maximum;
  const auto bad =
      std::find_if(logits.begin(), logits.end(), [](float logit) { return !(std::fabs(logit) <= kLargest); });
  return Error{Errc::kInternal, fmt::format("[sampler] finite logits needed, the model gave {} for token {}",
                                            static_cast<double>(*bad), bad - logits.begin())};
}

void Sampler::add_bias(const SamplingParams& params) {
  for (const auto& [id, bias] : params.logit_bias) logits_[at(id)] += bias;
}

// Counts are taken anew each time: O(tokens), nothing beside one pass over the logits, and no state to lose.
void Sampler::penalize(const SampleInput& input) {
  const SamplingParams& params = input.params;
  const auto clamp = [](double logit) {
    return static_cast<float>(std::clamp(logit, -double{kLargest}, double{kLargest}));
  };
  const auto count = [this](std::span<const TokenId> tokens) {
    for (TokenId token : tokens)
      if (counts_[at(token)]++ == 0) touched_.push_back(token);
  };
  if (params.repetition_penalty != 1.0f) {
    count(input.tokens);
    for (TokenId id : touched_) {
      const double logit = logits_[at(id)], penalty = params.repetition_penalty;
      logits_[at(id)] = clamp(logit > 0 ? logit / penalty : logit * penalty);
    }
    forget_counts();
  }
  if (params.frequency_penalty == 0 && params.presence_penalty == 0) return;
  count(input.tokens.subspan(static_cast<std::size_t>(input.tokens_prompt)));
  for (TokenId id : touched_)
    logits_[at(id)] =
        clamp(logits_[at(id)] - double{params.frequency_penalty} * counts_[at(id)] - params.presence_penalty);
  forget_counts();
}

void Sampler::forget_counts() {
  for (TokenId id : touched_) counts_[at(id)] = 0;
  touched_.clear();
}

Status Sampler::mask(TokenMask& mask, std::int64_t tokens_left) {
  std::fill(allowed_.begin(), allowed_.end(), 0);
  if (!mask.fill(allowed_, tokens_left)) return {};
  // Most words say all or none of 64 ids.
  std::uint64_t any = 0;
  for (std::size_t begin = 0; begin < logits_.size(); begin += 64) {
    const std::size_t count = std::min<std::size_t>(64, logits_.size() - begin);
    const std::uint64_t known = count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
    const std::uint64_t bits = allowed_[begin / 64] & known;
    any |= bits;
    if (bits == 0) {
      std::fill_n(logits_.begin() + static_cast<std::ptrdiff_t>(begin), count, kNever);
    } else {
      for (std::uint64_t gone = ~bits & known; gone != 0; gone &= gone - 1)
        logits_[begin + static_cast<std::size_t>(std::countr_zero(gone))] = kNever;
    }
  }
  if (any == 0) return Error{Errc::kUnsupported, "[sampler] the constraint allows no next token"};
  return {};
}

Result<TokenId> Sampler::sample(const SampleInput& input) {
  const SamplingParams& params = input.params;
  BALTORO_TRY(float maximum, finite_maximum(input.logits));
  std::span<const float> logits = input.logits;
  if (!params.logit_bias.empty() || params.repetition_penalty != 1.0f || params.frequency_penalty != 0 ||
      params.presence_penalty != 0 || input.mask != nullptr) {
    std::copy(logits.begin(), logits.end(), logits_.begin());
    logits = logits_;
    add_bias(params);
    penalize(input);
    if (input.mask != nullptr) BALTORO_TRY_STATUS(mask(*input.mask, input.tokens_left));
    maximum = kernels_.maximum(logits.data(), std::ssize(logits), nullptr);
  }
  if (params.temperature == 0) {
    return static_cast<TokenId>(std::find(logits.begin(), logits.end(), maximum) - logits.begin());
  }
  const std::int64_t index = static_cast<std::int64_t>(input.tokens.size()) - input.tokens_prompt;
  return draw(logits, maximum, params, uniform_draw(input.seed, input.choice, index));
}

TokenId Sampler::draw(std::span<const float> logits, float maximum, const SamplingParams& params, double uniform) {
  if (params.top_k > 0 && at(params.top_k) < logits.size()) {
    keep_best(logits, at(params.top_k));  // best first
    for (Candidate& c : kept_) c.weight = std::exp((double{logits[at(c.id)]} - maximum) / params.temperature);
    if (params.top_p < 1) cut_top_p(params.top_p);
    std::sort(kept_.begin(), kept_.end(), [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
  } else {
    weigh(logits, maximum, params.temperature);
    if (params.top_p >= 1 && params.min_p <= 0) return draw_any(uniform);
    params.top_p < 1 ? keep_top_p(logits, params.top_p) : keep_heavier(params.min_p);
  }
  if (params.min_p > 0)  // the best candidate weighs 1
    std::erase_if(kept_, [&](const Candidate& c) { return c.weight < double{params.min_p}; });
  return draw_kept(uniform);
}

// weights_ of all ids, the best one's is 1, and their sums.
void Sampler::weigh(std::span<const float> logits, float maximum, float temperature) {
  kernels_.softmax_weights(logits.data(), maximum, temperature, weights_.data(), std::ssize(logits));
  for (std::size_t run = 0; run < sums_.size(); ++run) {
    const std::size_t begin = run * kRun, end = std::min(begin + kRun, weights_.size());
    double sums[4] = {};  // side by side: a sum waits for the one before it
    for (std::size_t i = begin; i < end; ++i) sums[i % 4] += double{weights_[i]};
    sums_[run] = sums[0] + sums[1] + (sums[2] + sums[3]);
  }
}

// kept_ = the best `count` ids, best first, weights not set. As many runs have a highest logit of at least the bound,
// so that at least `count` ids reach it, and few more.
void Sampler::keep_best(std::span<const float> logits, std::size_t count) {
  float bound = kNever;
  if (count < heads_.size()) {
    for (std::size_t run = 0; run < heads_.size(); ++run) {
      const std::size_t begin = run * kRun, end = std::min(begin + kRun, logits.size());
      heads_[run] = kernels_.maximum(&logits[begin], static_cast<std::int64_t>(end - begin), nullptr);
    }
    std::nth_element(heads_.begin(), heads_.begin() + static_cast<std::ptrdiff_t>(count) - 1, heads_.end(),
                     std::greater<>());
    bound = heads_[count - 1];
  }
  kept_.clear();
  for (std::size_t id = 0; id < logits.size(); ++id)
    if (logits[id] >= bound) kept_.push_back({static_cast<TokenId>(id), 0});
  const auto better = [&](const Candidate& a, const Candidate& b) { return Better{logits}(a.id, b.id); };
  const auto last = kept_.begin() + static_cast<std::ptrdiff_t>(std::min(count, kept_.size()));
  std::nth_element(kept_.begin(), last - 1, kept_.end(), better);
  kept_.erase(last, kept_.end());
  std::sort(kept_.begin(), kept_.end(), better);
}

// Of kept_, best first, the shortest run whose weights reach p of the whole (the one that crosses it included).
void Sampler::cut_top_p(double p) {
  double total = 0, sum = 0;
  for (const Candidate& c : kept_) total += c.weight;
  std::size_t n = 0;
  while (n < kept_.size() && (n == 0 || sum < p * total)) sum += kept_[n++].weight;
  kept_.resize(n);
}

// kept_ = the ids of at least that weight.
void Sampler::keep_heavier(double least) {
  kept_.clear();
  for (std::size_t id = 0; id < weights_.size(); ++id)
    if (double{weights_[id]} >= least) kept_.push_back({static_cast<TokenId>(id), double{weights_[id]}});
}

// kept_ = the shortest run of best ids whose weights reach p of all, in order of id. Sums of bins find the bin where
// that happens; only its ids are sorted.
void Sampler::keep_top_p(std::span<const float> logits, double p) {
  double bins[kBins] = {}, total = 0, above = 0;
  for (const float weight : weights_) bins[bin_of(weight)] += double{weight};
  for (const double bin : bins) total += bin;
  const double target = p * total;
  std::size_t last_bin = kBins - 1;
  while (last_bin > 0 && (bins[last_bin] == 0 || above + bins[last_bin] < target)) above += bins[last_bin--];
  const auto collect = [&](auto keep) {
    kept_.clear();
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      if (keep(bin_of(weights_[i]), id)) kept_.push_back({id, double{weights_[i]}});
    }
  };
  const Better better{logits};
  collect([&](std::size_t bin, TokenId) { return bin == last_bin; });
  std::sort(kept_.begin(), kept_.end(), [&](const Candidate& a, const Candidate& b) { return better(a.id, b.id); });
  TokenId last = -1;
  for (const Candidate& c : kept_) {
    if (last >= 0 && above >= target) break;
    above += c.weight;
    last = c.id;
  }
  collect([&](std::size_t bin, TokenId id) { return bin > last_bin || (bin == last_bin && !better(last, id)); });
}

// kept_ in order of id.
TokenId Sampler::draw_kept(double uniform) {
  double total = 0, sum = 0;
  for (const Candidate& c : kept_) total += c.weight;
  TokenId drawn = kept_.front().id;
  for (const Candidate& c : kept_) {
    if (c.weight == 0) continue;
    drawn = c.id;  // the last of any weight, should rounding leave the sum short of the target
    sum += c.weight;
    if (sum > uniform * total) break;
  }
  return drawn;
}

TokenId Sampler::draw_any(double uniform) const {
  const double target = uniform * std::accumulate(sums_.begin(), sums_.end(), 0.0);
  double before = 0;
  std::size_t run = 0, found = 0;  // the run that crosses the target, or the last of any weight
  for (double sum = 0; run < sums_.size() && sum <= target; ++run) {
    if (sums_[run] == 0) continue;
    found = run;
    before = sum;
    sum += sums_[run];
  }
  std::size_t drawn = found * kRun;
  const std::size_t end = std::min(drawn + kRun, weights_.size());
  double sum = before;
  for (std::size_t id = drawn; id < end; ++id) {
    if (weights_[id] == 0) continue;
    drawn = id;
    sum += double{weights_[id]};
    if (sum > target) break;
  }
  return static_cast<TokenId>(drawn);
}

Result<Logprobs> Sampler::logprobs(std::span<const float> logits, TokenId token, std::int32_t top) {
  BALTORO_TRY(const float maximum, finite_maximum(logits));
  weigh(logits, maximum, 1);
  const double log_total = double{maximum} + std::log(std::accumulate(sums_.begin(), sums_.end(), 0.0));
  const auto logprob = [&](TokenId id) { return static_cast<float>(logits[at(id)] - log_total); };
  const auto count = std::min({at(top), at(kMaxTop), logits.size()});
  kept_.clear();
  if (count > 0) keep_best(logits, count);
  for (std::size_t i = 0; i < count; ++i) top_[i] = {.token = kept_[i].id, .logprob = logprob(kept_[i].id)};
  return Logprobs{.logprob = logprob(token), .top = std::span(top_).first(count)};
}

}  // namespace baltoro::engine
