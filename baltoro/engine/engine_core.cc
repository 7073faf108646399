// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/engine_core.h"

#include <algorithm>
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

KvDiskStats disk_stats(const KvTier& tier) {
  const KvTierStats stats = tier.stats();
  return {tier.store().directory().stats(), stats.blocks_unwritten, stats.blocks_restored, stats.requests_restored};
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
  const bool reuses = tier_ != nullptr && !sequence->owner->request.echo_logprobs;
  if (reuses) tier_->hold(sequence, scheduler_->blocks());  // or not, where memory is short
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

void EngineCore::end_request(RequestState& state, FinishReason reason, Errc code, std::string_view message) {
  scheduler_->for_each([&](Sequence& sequence) {
    if (sequence.owner == &state) scheduler_->finish(sequence);
  });
  if (tier_ != nullptr) tier_->drop(state);
  for (std::int32_t choice = 0; choice < state.request.n; ++choice) end_choice(state, choice, reason, code, message);
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
