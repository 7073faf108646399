// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/engine_core.h"

#include <algorithm>
#include <new>
#include <optional>
#include <utility>

#include "baltoro/base/check.h"
#include "baltoro/base/clock.h"
#include "baltoro/engine/random.h"

namespace baltoro::engine {
namespace {

SchedulerOptions scheduler_options(const ModelRunner& runner, const EngineOptions& options) {
  return {.max_batch_tokens = std::min(options.max_batch_tokens, runner.max_batch_tokens()),
          .max_logit_rows = std::min(runner.max_logit_rows(), runner.max_batch_tokens()),
          .max_sequences = options.max_sequences,
          .num_blocks = runner.num_blocks(),
          .prefix_cache = options.prefix_cache,
          .max_waiting = options.max_queue,
          .max_gap_seconds = options.max_gap_seconds};
}

RequestLimits request_limits(const ModelRunner& runner, const EngineOptions& options) {
  const std::int64_t context = options.max_context_tokens > 0
                                   ? std::min(options.max_context_tokens, runner.max_context_tokens())
                                   : runner.max_context_tokens();
  return {.vocab_size = runner.vocab_size(),
          .max_context_tokens = context,
          .kv_tokens = runner.num_blocks() * kBlockTokens,
          .max_choices = options.max_sequences};
}

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

KvDiskStats disk_stats(const KvTier& tier) {
  const KvDirectoryStats d = tier.store().directory().stats();
  const KvTierStats t = tier.stats();
  return {.pages = d.pages,
          .bytes = d.bytes,
          .pages_written = d.pages_written,
          .bytes_written = d.bytes_written,
          .pages_read = d.pages_read,
          .bytes_read = d.bytes_read,
          .pages_evicted = d.pages_evicted,
          .pages_bad = d.pages_bad,
          .write_errors = d.write_errors,
          .blocks_unwritten = t.blocks_unwritten,
          .blocks_restored = t.blocks_restored,
          .requests_restored = t.requests_restored,
          .writes_stopped = d.writes_stopped,
          .write_seconds = d.write_seconds,
          .read_seconds = d.read_seconds};
}

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

EngineCore::EngineCore(std::unique_ptr<ModelRunner> runner, const EngineOptions& options,
                       std::unique_ptr<KvStore> store)
    : runner_(std::move(runner)),
      scheduler_options_(scheduler_options(*runner_, options)),
      limits_(request_limits(*runner_, options)),
      sampler_(limits_.vocab_size),
      seed_counter_(entropy()),
      clock_(options.clock ? options.clock : steady_seconds),
      priority_seconds_(options.priority_seconds) {
  BALTORO_CHECK(scheduler_options_.max_batch_tokens > 0 && scheduler_options_.max_logit_rows > 0 &&
                    scheduler_options_.max_sequences > 0 && scheduler_options_.num_blocks > 0,
                "an engine needs room for at least one token");
  if (store != nullptr) tier_ = std::make_unique<KvTier>(std::move(store), *runner_);
  scheduler_options_.observer = tier_.get();
  scheduler_ = std::make_unique<Scheduler>(scheduler_options_);
  const auto tokens = static_cast<std::size_t>(scheduler_options_.max_batch_tokens);
  const auto rows = static_cast<std::size_t>(scheduler_options_.max_logit_rows);
  logits_ = std::make_unique_for_overwrite<float[]>(rows * static_cast<std::size_t>(limits_.vocab_size));
  tokens_.reserve(tokens);
  positions_.reserve(tokens);
  sequences_.reserve(tokens);
  logit_rows_.reserve(rows);
  block_tables_.reserve(static_cast<std::size_t>(scheduler_options_.max_sequences));
  choices_.reserve(static_cast<std::size_t>(scheduler_options_.max_sequences));
}

void EngineCore::add(RequestId id, Request request, double arrival) {
  auto state = std::make_unique<RequestState>();
  auto sequence = std::make_unique<Sequence>();
  const auto tokens_prompt = static_cast<std::int64_t>(request.prompt.size());
  sequence->owner = state.get();
  sequence->stands_for_all = true;
  sequence->tokens = std::move(request.prompt);
  sequence->tokens_prompt = tokens_prompt;
  state->id = id;
  state->tokens_prompt = tokens_prompt;
  state->seed = request.sampling.seed ? *request.sampling.seed : mix64(seed_counter_++);
  state->max_tokens = std::min(request.max_tokens, limits_.max_context_tokens - tokens_prompt);
  state->choices_open = request.n;
  state->ended.resize(static_cast<std::size_t>(request.n));
  state->arrival = arrival;
  if (request.timeout_seconds > 0) state->deadline = arrival + request.timeout_seconds;
  state->request = std::move(request);
  const double deadline = state->deadline;
  requests_.emplace(id, std::move(state));
  if (deadline > 0 && (earliest_deadline_ == 0 || deadline < earliest_deadline_)) earliest_deadline_ = deadline;
  ++num_queued_;
  tokens_queued_ += tokens_prompt;
  ++totals_.requests_submitted;
  if (tier_ != nullptr) tier_->hold(sequence, scheduler_->blocks());  // or not, where memory is short
  if (sequence != nullptr) enter(std::move(sequence), arrival);
}

// A sequence whose KV has come from disk ranks as one that came now: it takes no place that others have had meanwhile.
void EngineCore::enter(std::unique_ptr<Sequence> sequence, double came) {
  const double shift = sequence->owner->request.priority * priority_seconds_;
  sequence->rank = {.due = came + shift, .arrival = arrivals_++, .choice = 0};
  scheduler_->add(std::move(sequence));  // has room for all that the queue lets in
}

void EngineCore::pump() {
  expire();
  if (tier_ == nullptr) return;
  tier_->pump(scheduler_->blocks(), [this](std::unique_ptr<Sequence> sequence) { enter(std::move(sequence), now()); });
}

void EngineCore::set_wake(std::function<void()> wake) {
  if (tier_ != nullptr) tier_->store().set_wake(std::move(wake));
}

void EngineCore::cancel(RequestId id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  end_request(*found->second, FinishReason::kCancelled, Errc::kCancelled, {});
  retire();
}

void EngineCore::cancel_all() {
  for (const auto& [id, state] : requests_) end_request(*state, FinishReason::kCancelled, Errc::kCancelled, {});
  retire();
}

bool EngineCore::step() {
  step_began_ = now();
  const std::int64_t requests = num_requests();
  pump();
  const StepPlan& plan = scheduler_->plan();
  if (plan.chunks.empty()) return num_requests() < requests;
  if (const Status run = run_model(plan); !run.ok()) {
    fail_all(run.error().code, run.error().message);
    return true;
  }
  scheduler_->commit();
  for (const Chunk& chunk : plan.chunks) finish_chunk(chunk);
  retire();
  pump();
  note_step(plan, now() - step_began_);
  return true;
}

std::optional<double> EngineCore::seconds_to_deadline() const {
  if (idle() || earliest_deadline_ == 0) return std::nullopt;
  return std::max(0.0, earliest_deadline_ - now());
}

// Ends the requests whose time is over: their KV is free before the next plan.
void EngineCore::expire() {
  if (earliest_deadline_ == 0) return;
  const double now = clock_();
  if (now < earliest_deadline_) return;
  earliest_deadline_ = 0;
  for (const auto& [id, state] : requests_) {
    if (state->deadline == 0) continue;
    if (now >= state->deadline) {
      ++totals_.requests_timed_out;
      end_request(*state, FinishReason::kError, Errc::kTimeout,
                  state->started ? "[engine] the request's time was over before its answer was complete"
                                 : "[engine] the request's time was over before it could begin");
    } else if (earliest_deadline_ == 0 || state->deadline < earliest_deadline_) {
      earliest_deadline_ = state->deadline;
    }
  }
  retire();
}

void EngineCore::note_step(const StepPlan& plan, double seconds) {
  scheduler_->note_step_seconds(seconds);
  ++totals_.steps;
  totals_.step_seconds_total += seconds;
  if (scheduler_->num_decoding() > 0) totals_.step_seconds.observe(seconds);
  totals_.batch_tokens.observe(static_cast<double>(plan.tokens));
  totals_.batch_sequences.observe(static_cast<double>(plan.chunks.size()));
}

Status EngineCore::run_model(const StepPlan& plan) {
  for (const BlockCopy& copy : plan.copies) runner_->copy_block(copy.from, copy.to);
  tokens_.clear();
  positions_.clear();
  sequences_.clear();
  logit_rows_.clear();
  block_tables_.clear();
  for (const Chunk& chunk : plan.chunks) {
    const Sequence& sequence = *chunk.sequence;
    for (std::int64_t row = chunk.begin; row < chunk.begin + chunk.count; ++row) {
      if (sequence.wants_logits(row)) logit_rows_.push_back(static_cast<std::int32_t>(tokens_.size()));
      tokens_.push_back(sequence.tokens[static_cast<std::size_t>(row)]);
      positions_.push_back(static_cast<std::int32_t>(row));
      sequences_.push_back(static_cast<std::int32_t>(block_tables_.size()));
    }
    block_tables_.emplace_back(sequence.blocks);
    const bool decode = chunk.count == 1 && sequence.tokens_output() > 0 && chunk.begin == sequence.length() - 1;
    (decode ? totals_.tokens_decoded : totals_.tokens_prefilled) += chunk.count;
  }
  const model::Batch batch{.tokens = tokens_,
                           .positions = positions_,
                           .sequences = sequences_,
                           .block_tables = block_tables_,
                           .logit_rows = logit_rows_};
  return runner_->forward(batch, {logits_.get(), logit_rows_.size() * static_cast<std::size_t>(limits_.vocab_size)});
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

void EngineCore::end_request(RequestState& state, FinishReason reason, Errc code, std::string_view message) {
  scheduler_->for_each([&](Sequence& sequence) {
    if (sequence.owner == &state) scheduler_->finish(sequence);
  });
  if (tier_ != nullptr) tier_->drop(state);
  for (std::int32_t choice = 0; choice < state.request.n; ++choice) end_choice(state, choice, reason, code, message);
}

void EngineCore::mark_ended(RequestState& state, std::int32_t choice) {
  state.ended[static_cast<std::size_t>(choice)] = true;
  --state.choices_open;
  any_ended_ = true;
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

void EngineCore::leave_queue(const RequestState& state) {
  --num_queued_;
  tokens_queued_ -= state.tokens_prompt;
}

void EngineCore::retire() {
  if (!any_ended_) return;
  any_ended_ = false;
  scheduler_->sweep();
  std::erase_if(requests_, [this](const auto& item) {
    const RequestState& state = *item.second;
    if (state.choices_open > 0) return false;
    if (!state.started) leave_queue(state);
    ++(state.failed      ? totals_.requests_failed
       : state.cancelled ? totals_.requests_cancelled
                         : totals_.requests_finished);
    return true;
  });
}

void EngineCore::fail_all(Errc code, std::string_view message) {
  for (const auto& [id, state] : requests_)
    for (std::int32_t choice = 0; choice < state->request.n; ++choice)
      end_choice(*state, choice, code == Errc::kCancelled ? FinishReason::kCancelled : FinishReason::kError, code,
                 message);
  totals_.preemptions += scheduler_->preemptions();
  if (tier_ != nullptr) tier_->clear();
  scheduler_.reset();
  scheduler_ = std::make_unique<Scheduler>(scheduler_options_);
  any_ended_ = true;
  retire();
}

template <typename Body>
bool EngineCore::guarded(RequestState& state, const Body& body) {
  const Failure failure = attempt(body);
  if (failure.message == nullptr) return true;
  state.failed = true;
  end_request(state, FinishReason::kError, failure.code, failure.message);
  return false;
}

EngineStats EngineCore::stats() const {
  EngineStats stats = totals_;
  stats.preemptions += scheduler_->preemptions();
  stats.experts = runner_->expert_stats();
  if (tier_ != nullptr) {
    stats.disk = disk_stats(*tier_);
    stats.sequences_held = tier_->stats().requests_held;
  }
  stats.sequences_running = scheduler_->num_running();
  stats.sequences_waiting = scheduler_->num_waiting();
  stats.requests_queued = num_queued_;
  stats.tokens_queued = tokens_queued_;
  stats.blocks_total = scheduler_->blocks().num_blocks();
  stats.blocks_free = scheduler_->blocks().num_free();
  stats.blocks_cached = scheduler_->blocks().num_cached();
  return stats;
}

Status EngineCore::check_integrity() const { return scheduler_->check_integrity(); }

}  // namespace baltoro::engine
