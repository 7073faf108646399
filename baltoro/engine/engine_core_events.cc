// SPDX-License-Identifier: Apache-2.0
// What EngineCore makes of a step's logits: sampled tokens, and what clients are told.
#include <algorithm>
#include <new>
#include <optional>

#include "baltoro/base/clock.h"
#include "baltoro/engine/engine_core.h"

namespace baltoro::engine {
namespace {

// Measures how long a mask takes.
class TimedMask final : public TokenMask {
 public:
  explicit TimedMask(TokenMask& inner) : inner_(inner) {}
  bool fill(std::span<std::uint64_t> allowed, std::int64_t remaining_tokens) override {
    const double start = steady_seconds();
    const bool constrained = inner_.fill(allowed, remaining_tokens);
    seconds = steady_seconds() - start;
    return constrained;
  }
  void accept(TokenId token) override { inner_.accept(token); }
  double seconds = 0;

 private:
  TokenMask& inner_;
};

struct Failure {
  Errc code = Errc::kInternal;
  const char* message = nullptr;  // null: none
};

// Runs what belongs to a client (its sink, its mask). Its exceptions end here: they are that request's failure alone.
template <typename Body>
Failure attempt(const Body& body) noexcept {
  try {
    body();
    return {};
  } catch (const std::bad_alloc&) {
    return {Errc::kResourceExhausted, "[engine] no memory left while the request's events were handled"};
  } catch (...) {
    return {Errc::kInternal, "[engine] the receiver of the request's events failed"};
  }
}

}  // namespace

template <typename Body>
bool EngineCore::guarded(RequestState& state, const Body& body) {
  const Failure failure = attempt(body);
  if (failure.message == nullptr) return true;
  state.failed = true;
  end_request(state, FinishReason::kError, failure.code, failure.message);
  return false;
}

void EngineCore::start(RequestState& state) {
  state.started = true;
  leave_queue(state);
  state.queue_seconds = std::max(0.0, step_began_ - state.arrival);
  totals_.queue_seconds.observe(state.queue_seconds);
  totals_.prompt_tokens.observe(static_cast<double>(state.tokens_prompt));
  const PrefixMatch& match = state.match;
  ++(match.end == PrefixEnd::kWhole ? totals_.prefix_whole
     : match.end == PrefixEnd::kNew ? totals_.prefix_new
                                    : totals_.prefix_differs);
  totals_.prefix_hits += match.tokens_cached > 0;
  totals_.tokens_prompt += match.tokens_prompt;
  guarded(state, [&] { state.request.sink->on_start(match); });
}

void EngineCore::finish_chunk(const Chunk& chunk) {
  Sequence& sequence = *chunk.sequence;
  RequestState& state = *sequence.owner;
  if (!state.started) start(state);
  if (sequence.state != SequenceState::kRunning) return;  // a choice of the same request failed it in this step
  const auto vocab = static_cast<std::size_t>(limits_.vocab_size);
  const float* logits = logits_.get() + static_cast<std::size_t>(chunk.first_logit_row) * vocab;
  guarded(state, [&] { report_progress(sequence); });
  for (std::int64_t row = chunk.begin; row < chunk.begin + chunk.count; ++row) {
    if (sequence.state != SequenceState::kRunning) return;
    if (!sequence.wants_logits(row)) continue;
    const std::span<const float> row_logits(logits, vocab);
    logits += vocab;
    if (row < sequence.echo_end()) {
      guarded(state, [&] { report_prompt_row(sequence, row, row_logits); });
    } else {
      guarded(state, [&] { sample_choices(sequence, row_logits); });
    }
  }
  if (!sequence.samples() && sequence.state == SequenceState::kRunning && sequence.tokens_remaining() == 0) {
    totals_.tokens_cached += state.tokens_cached;
    end_request(state, FinishReason::kLength, Errc::kInternal, {});
  }
}

void EngineCore::report_progress(const Sequence& sequence) {
  RequestState& state = *sequence.owner;
  const std::int64_t done = std::min(sequence.tokens_computed, sequence.tokens_prompt);
  if (!sequence.stands_for_all || done <= state.prefill_reported) return;
  state.prefill_reported = done;
  state.request.sink->on_prefill(done, sequence.tokens_prompt);
}

void EngineCore::report_prompt_row(Sequence& sequence, std::int64_t row, std::span<const float> logits) {
  RequestState& state = *sequence.owner;
  const TokenId token = sequence.tokens[static_cast<std::size_t>(row + 1)];
  const auto logprobs = sampler_.logprobs(logits, token, state.request.top_logprobs);
  if (!logprobs.ok()) {
    end_request(state, FinishReason::kError, logprobs.error().code, logprobs.error().message);
    return;
  }
  sequence.next_echo_row = row + 1;
  state.request.sink->on_prompt_logprob(row + 1, {.token = token, .logprob = logprobs->logprob}, logprobs->top);
}

// The prompt's last row serves all n choices: each draws its own first token from it and goes its own way.
void EngineCore::sample_choices(Sequence& leader, std::span<const float> logits) {
  choices_.clear();
  choices_.push_back(&leader);
  if (leader.stands_for_all) {
    for (std::int32_t choice = 1; choice < leader.owner->request.n; ++choice)
      choices_.push_back(&scheduler_->fork(leader, choice));
    leader.stands_for_all = false;
    totals_.tokens_cached += leader.owner->tokens_cached;
  }
  for (Sequence* sequence : choices_)
    if (sequence->state == SequenceState::kRunning) sample(*sequence, logits);
}

void EngineCore::sample(Sequence& sequence, std::span<const float> logits) {
  RequestState& state = *sequence.owner;
  const Request& request = state.request;
  const std::int32_t choice = sequence.rank.choice;
  if (request.make_mask && !sequence.mask_made) {
    sequence.mask = request.make_mask(choice);
    sequence.mask_made = true;
  }
  std::optional<TimedMask> mask;
  if (sequence.mask != nullptr) mask.emplace(*sequence.mask);
  const auto token = sampler_.sample({.logits = logits,
                                      .tokens = sequence.tokens,
                                      .tokens_prompt = sequence.tokens_prompt,
                                      .params = request.sampling,
                                      .seed = state.seed,
                                      .choice = choice,
                                      .mask = mask ? &*mask : nullptr,
                                      .tokens_left = state.max_tokens - sequence.tokens_output()});
  if (mask) totals_.mask_seconds.observe(mask->seconds);
  if (!token.ok()) {
    scheduler_->finish(sequence);
    end_choice(state, choice, FinishReason::kError, token.error().code, token.error().message);
    return;
  }
  Logprobs logprobs;
  if (request.logprobs || request.top_logprobs > 0) logprobs = *sampler_.logprobs(logits, *token, request.top_logprobs);
  if (sequence.mask != nullptr) sequence.mask->accept(*token);
  append(sequence, *token, logprobs);
}

void EngineCore::append(Sequence& sequence, TokenId token, const Logprobs& logprobs) {
  RequestState& state = *sequence.owner;
  const auto& stops = state.request.stop_token_ids;
  sequence.tokens.push_back(token);
  TokenEvent event{.request = state.id,
                   .choice = sequence.rank.choice,
                   .token = token,
                   .logprob = logprobs.logprob,
                   .top = logprobs.top,
                   .finish = FinishReason::kNone,
                   .stop_token = {},
                   .error = {},
                   .tokens_cached = state.tokens_cached,
                   .queue_seconds = state.queue_seconds};
  if (!state.request.ignore_stop && std::find(stops.begin(), stops.end(), token) != stops.end()) {
    event.finish = FinishReason::kStop;
    event.stop_token = token;
  } else if (sequence.tokens_output() >= state.max_tokens) {
    event.finish = FinishReason::kLength;
  }
  const bool last = event.finish != FinishReason::kNone;
  if (last) {  // before the call: an exception must not bring a second end
    totals_.output_tokens.observe(static_cast<double>(sequence.tokens_output()));
    scheduler_->finish(sequence);
    mark_ended(state, event.choice);
  }
  if (state.request.sink->on_token(event) == TokenSink::Next::kStop && !last) {
    totals_.output_tokens.observe(static_cast<double>(sequence.tokens_output()));
    scheduler_->finish(sequence);
    mark_ended(state, event.choice);
  }
}

void EngineCore::end_choice(RequestState& state, std::int32_t choice, FinishReason reason, Errc code,
                            std::string_view message) {
  if (state.ended[static_cast<std::size_t>(choice)]) return;
  mark_ended(state, choice);
  state.failed |= reason == FinishReason::kError;
  state.cancelled |= reason == FinishReason::kCancelled;
  // A sink that fails here has failed for good; there is nobody left to tell.
  (void)attempt([&] {
    TokenEvent event;
    event.request = state.id;
    event.choice = choice;
    event.finish = reason;
    event.tokens_cached = state.tokens_cached;
    event.queue_seconds = state.started ? state.queue_seconds : std::max(0.0, now() - state.arrival);
    if (reason == FinishReason::kError) event.error = {.code = code, .message = std::string(message), .field = {}};
    (void)state.request.sink->on_token(event);
  });
}

void EngineCore::mark_ended(RequestState& state, std::int32_t choice) {
  state.ended[static_cast<std::size_t>(choice)] = true;
  --state.choices_open;
  any_ended_ = true;
}

}  // namespace baltoro::engine
