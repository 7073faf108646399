// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/scheduler.h"

#include <algorithm>
#include <utility>

#include "baltoro/base/check.h"

namespace baltoro::engine {
namespace {

bool before(const Sequence* a, const Sequence* b) { return a->rank < b->rank; }

// Where `sequence` belongs in a list ordered by rank.
auto place_of(std::vector<std::unique_ptr<Sequence>>& list, const Sequence& sequence) {
  return std::upper_bound(list.begin(), list.end(), sequence.rank,
                          [](const Rank& rank, const auto& other) { return rank < other->rank; });
}

std::int64_t slots_of(const Sequence& sequence) { return sequence.stands_for_all ? sequence.owner->request.n : 1; }

// One past the last token whose row may be reused: the last token is always computed, its logits are wanted.
std::int64_t reuse_end(const Sequence& sequence) {
  const std::int64_t end = sequence.length() - 1;
  return sequence.next_echo_row < sequence.echo_end() ? std::min(end, sequence.next_echo_row) : end;
}

}  // namespace

Scheduler::Scheduler(SchedulerOptions options) : options_(options), blocks_(options.num_blocks) {
  const auto sequences = static_cast<std::size_t>(options_.max_sequences);
  running_.reserve(sequences);
  waiting_.reserve(sequences + static_cast<std::size_t>(options_.max_waiting));
  plan_.chunks.reserve(sequences);
  plan_.copies.reserve(2 * sequences);  // one to start from, one for the first write
  picked_.reserve(sequences);
  grants_.reserve(sequences);
}

void Scheduler::add(std::unique_ptr<Sequence> sequence) {
  sequence->lined_up_step = step_;
  waiting_.insert(place_of(waiting_, *sequence), std::move(sequence));
}

const StepPlan& Scheduler::plan() {
  plan_.chunks.clear();
  plan_.copies.clear();
  plan_.tokens = plan_.logit_rows = 0;
  ++step_;
  admit();  // first: it may preempt, and nothing that is planned may go; it leaves decodes the blocks of this step
  plan_decodes(decode_share());
  plan_prefills();
  // Nothing yet: all that run are decodes, and those tried found no block and went back. One of the rest will.
  while (plan_.chunks.empty() && !running_.empty())
    plan_decodes(std::min(options_.max_batch_tokens, options_.max_logit_rows));
  return plan_;
}

// While prompts wait, decodes leave a quarter of the step's tokens to them, and a logit row to each prompt as long as
// that is not over a quarter too; every other step where there is only one place.
std::int64_t Scheduler::decode_share() const {
  const std::int64_t tokens = options_.max_batch_tokens, rows = options_.max_logit_rows;
  std::int64_t prompts = std::ssize(waiting_);
  for (const auto& sequence : running_) prompts += sequence->tokens_remaining() > 1 ? 1 : 0;
  if (prompts == 0) return std::min(tokens, rows);
  if (std::min(tokens, rows) == 1) return static_cast<std::int64_t>(step_ % 2);
  const auto quarter = [](std::int64_t whole) { return std::max<std::int64_t>(1, whole / 4); };
  return std::min(tokens - quarter(tokens), rows - std::min(prompts, quarter(rows)));
}

void Scheduler::note_step_seconds(double seconds) {
  pace_.add(plan_.tokens, seconds);
  const bool mixed = num_decoding_ > 0 && plan_.tokens > num_decoding_;
  mixed_tokens_ = mixed ? plan_.tokens : 0;
  mixed_seconds_ = seconds;
}

// Tokens that prompts may have of this step. Where decodes take turns, all turns together are held within the gap, of
// which a fifth is left for what varies. A prompt's tokens grow dearer as it goes on, which the pace's means learn late
// and the last step shows at once.
std::int64_t Scheduler::prefill_budget() const {
  const std::int64_t room = options_.max_batch_tokens - plan_.tokens;
  if (options_.max_gap_seconds <= 0 || num_decoding_ == 0) return room;
  const std::int64_t turns = plan_.tokens == 0 ? 1 : (num_decoding_ + plan_.tokens - 1) / plan_.tokens;
  const double seconds = 0.8 * options_.max_gap_seconds / static_cast<double>(turns);
  std::int64_t within = pace_.tokens_within(seconds, options_.max_batch_tokens);
  if (mixed_tokens_ > 0 && mixed_seconds_ > 0) {
    const double growth = std::min(2.0, seconds / mixed_seconds_);
    within = std::min(within, static_cast<std::int64_t>(growth * static_cast<double>(mixed_tokens_)));
  }
  return std::min(room, std::max(within - plan_.tokens, options_.min_prefill_tokens));
}

void Scheduler::plan_decodes(std::int64_t most) {
  picked_.clear();
  for (const auto& sequence : running_)
    if (sequence->tokens_remaining() == 1) picked_.push_back(sequence.get());
  num_decoding_ = std::ssize(picked_);
  if (static_cast<std::int64_t>(picked_.size()) > most) {
    std::sort(picked_.begin(), picked_.end(), [](const Sequence* a, const Sequence* b) {
      return a->last_step != b->last_step ? a->last_step < b->last_step : before(a, b);
    });
    picked_.resize(static_cast<std::size_t>(most));
    std::sort(picked_.begin(), picked_.end(), before);
  }
  // By rank: whoever is preempted for one of these comes later in the list.
  for (Sequence* sequence : picked_)
    if (sequence->state == SequenceState::kRunning && room_for_next(*sequence)) append_chunk(*sequence, 1);
}

// Makes sure that the block of the next row is this sequence's alone. False: it was itself the last in rank and has
// been preempted.
bool Scheduler::room_for_next(Sequence& sequence) {
  const auto index = static_cast<std::size_t>(sequence.tokens_computed / kBlockTokens);
  const bool grow = index == sequence.blocks.size();
  while (sequence.state == SequenceState::kRunning) {
    if (!grow && !blocks_.is_shared(sequence.blocks[index])) return true;
    if (const auto block = blocks_.allocate()) {
      if (grow) {
        sequence.blocks.push_back(*block);
      } else {
        plan_.copies.push_back({.from = sequence.blocks[index], .to = *block});
        blocks_.release(sequence.blocks[index]);
        sequence.blocks[index] = *block;
      }
      return true;
    }
    BALTORO_CHECK(running_.size() > 1, "one sequence always fits: submit refuses those that would not");
    preempt_last();
  }
  return false;
}

void Scheduler::preempt_last() {
  std::unique_ptr<Sequence> sequence = std::move(running_.back());
  running_.pop_back();
  blocks_.release_all(sequence->blocks);
  sequence->tokens_computed = 0;
  sequence->blocks_cached = 0;
  sequence->state = SequenceState::kWaiting;
  sequence->owner->preempted = true;
  sequence->lined_up_step = step_;
  waiting_.insert(place_of(waiting_, *sequence), std::move(sequence));
  ++preemptions_;
}

// In line: a large prompt at its head is not overtaken for ever by small ones.
void Scheduler::admit() {
  while (!waiting_.empty()) {
    std::int64_t slots = options_.max_sequences;
    for (const auto& sequence : running_) slots -= slots_of(*sequence);
    Sequence& next = *waiting_.front();
    if (slots_of(next) > slots || !start(next)) {
      if (!make_room(next, slots)) return;
      if (!start(next)) return;
    }
    next.state = SequenceState::kRunning;
    next.admitted_step = step_;
    std::unique_ptr<Sequence> admitted = std::move(waiting_.front());
    waiting_.erase(waiting_.begin());
    running_.insert(place_of(running_, *admitted), std::move(admitted));
  }
}

// Preempts the last running sequences if they rank behind `sequence` and it can start in their place; else changes
// nothing. `slots`: those free now. Blocks that others share too are not counted on.
bool Scheduler::make_room(const Sequence& sequence, std::int64_t slots) {
  std::int64_t victims = 0, blocks = blocks_.num_available();
  const auto enough = [&] {
    return slots >= slots_of(sequence) && blocks >= blocks_for(sequence.length()) + num_running() - victims;
  };
  while (!enough()) {
    if (victims == num_running()) return false;
    const Sequence& victim = *running_[running_.size() - 1 - static_cast<std::size_t>(victims)];
    if (!(sequence.rank < victim.rank)) return false;
    slots += slots_of(victim);
    blocks += std::ranges::count_if(victim.blocks, [&](BlockId block) { return !blocks_.is_shared(block); });
    ++victims;
  }
  for (; victims > 0; --victims) preempt_last();
  return true;
}

// Takes the blocks of all tokens, leaving one for each running sequence, which may want it in a step soon.
bool Scheduler::start(Sequence& sequence) {
  const std::int64_t needed = blocks_for(sequence.length());
  const std::int64_t most = sequence.tokens_prompt + sequence.owner->max_tokens;
  sequence.tokens.reserve(static_cast<std::size_t>(most));
  sequence.blocks.reserve(static_cast<std::size_t>(blocks_for(most)));
  take_cached_blocks(sequence);
  const auto held = static_cast<std::int64_t>(sequence.blocks.size());
  const PartialMatch partial = find_partial(sequence);
  if (blocks_.num_available() < needed - held + num_running()) {
    blocks_.release_all(sequence.blocks);
    sequence.tokens_computed = sequence.blocks_cached = 0;
    return false;
  }
  for (std::int64_t i = held; i < needed; ++i) sequence.blocks.push_back(*blocks_.allocate());
  take_partial(sequence, partial);
  if (!sequence.owner->preempted) sequence.owner->tokens_cached = sequence.tokens_computed;
  return true;
}

// Moves on over blocks that others have computed, dropping a part of one that it has itself.
void Scheduler::take_cached_blocks(Sequence& sequence) {
  if (!options_.prefix_cache) return;
  const std::int64_t end = reuse_end(sequence);
  while ((sequence.blocks_cached + 1) * kBlockTokens <= end) {
    const auto index = static_cast<std::size_t>(sequence.blocks_cached);
    const BlockId parent = index == 0 ? kNoBlock : sequence.blocks[index - 1];
    const auto tokens = std::span(sequence.tokens).subspan(index * kBlockTokens, kBlockTokens);
    const auto block = blocks_.find_cached(parent, tokens, sequence.owner->request.cache_salt);
    if (!block) return;
    if (index < sequence.blocks.size()) {
      blocks_.release(sequence.blocks[index]);
      sequence.blocks[index] = *block;
    } else {
      sequence.blocks.push_back(*block);
    }
    sequence.tokens_computed = ++sequence.blocks_cached * kBlockTokens;
  }
}

// After the full blocks that are known: the block that goes along with the next tokens the furthest.
PartialMatch Scheduler::find_partial(const Sequence& sequence) const {
  const std::int64_t begin = sequence.blocks_cached * kBlockTokens;
  const std::int64_t count = std::min<std::int64_t>(kBlockTokens, reuse_end(sequence) - begin);
  if (count <= 0 || !options_.prefix_cache) return {};
  const BlockId parent = sequence.blocks_cached == 0 ? kNoBlock : sequence.blocks.back();
  const auto tokens =
      std::span(sequence.tokens).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
  return blocks_.closest(parent, tokens, sequence.owner->request.cache_salt);
}

// Copies the rows that agree into the sequence's own block and notes how the prompt's known part ends.
void Scheduler::take_partial(Sequence& sequence, const PartialMatch& match) {
  if (match.tokens > 0) {
    const BlockId own = sequence.blocks[static_cast<std::size_t>(sequence.blocks_cached)];
    if (own != match.block) plan_.copies.push_back({.from = match.block, .to = own});
    sequence.tokens_computed += match.tokens;
  }
  const bool whole = sequence.tokens_computed >= reuse_end(sequence);
  if (sequence.owner->preempted) return;
  sequence.owner->match = {.tokens_prompt = sequence.tokens_prompt,
                           .tokens_cached = sequence.tokens_computed,
                           .end = whole        ? PrefixEnd::kWhole
                                  : match.next ? PrefixEnd::kDiffers
                                               : PrefixEnd::kNew};
  if (whole || !match.next) return;
  sequence.owner->match.known = *match.next;
  sequence.owner->match.seen = sequence.tokens[static_cast<std::size_t>(sequence.tokens_computed)];
}

// What a sequence computed of its last block, for the prompt that goes on from there.
void Scheduler::keep_tail(const Sequence& sequence) {
  const auto index = static_cast<std::size_t>(sequence.blocks_cached);
  const std::int64_t rows = sequence.tokens_computed - sequence.blocks_cached * kBlockTokens;
  if (rows <= 0 || index >= sequence.blocks.size()) return;
  const BlockId parent = index == 0 ? kNoBlock : sequence.blocks[index - 1];
  const auto tokens = std::span(sequence.tokens).subspan(index * kBlockTokens, static_cast<std::size_t>(rows));
  blocks_.cache_tail(parent, tokens, sequence.blocks[index], sequence.owner->request.cache_salt);
}

void Scheduler::plan_prefills() {
  picked_.clear();
  grants_.clear();
  for (const auto& sequence : running_) {
    if (sequence->tokens_remaining() <= 1) continue;
    const std::int64_t before = sequence->tokens_computed;
    take_cached_blocks(*sequence);  // a neighbour with the same prompt may be ahead
    if (!sequence->owner->preempted) sequence->owner->tokens_cached += sequence->tokens_computed - before;
    picked_.push_back(sequence.get());
  }
  if (picked_.empty()) return;
  const std::int64_t budget = prefill_budget();
  const std::int64_t oldest_share = std::min((budget + 1) / 2, picked_[0]->tokens_remaining());
  std::int64_t left = budget - oldest_share;
  std::sort(picked_.begin() + 1, picked_.end(), [](const Sequence* a, const Sequence* b) {
    const auto key = [](const Sequence* s) { return std::pair(s->owner->request.priority, s->tokens_remaining()); };
    return key(a) != key(b) ? key(a) < key(b) : before(a, b);
  });
  grants_.push_back(oldest_share);
  for (std::size_t i = 1; i < picked_.size(); ++i) {
    grants_.push_back(std::min(left, picked_[i]->tokens_remaining()));
    left -= grants_.back();
  }
  grants_[0] = std::min(oldest_share + left, picked_[0]->tokens_remaining());
  for (std::size_t i = 0; i < picked_.size(); ++i) append_chunk(*picked_[i], grants_[i]);
}

// Adds up to `count` tokens, fewer where the step's logit rows run out.
void Scheduler::append_chunk(Sequence& sequence, std::int64_t count) {
  Chunk chunk{.sequence = &sequence,
              .begin = sequence.tokens_computed,
              .count = 0,
              .first_logit_row = plan_.logit_rows,
              .logit_rows = 0};
  for (; chunk.count < count; ++chunk.count) {
    if (!sequence.wants_logits(chunk.begin + chunk.count)) continue;
    if (plan_.logit_rows == options_.max_logit_rows) break;
    ++chunk.logit_rows;
    ++plan_.logit_rows;
  }
  if (chunk.count == 0) return;
  plan_.tokens += chunk.count;
  plan_.chunks.push_back(chunk);
}

void Scheduler::commit() {
  for (const Chunk& chunk : plan_.chunks) {
    chunk.sequence->tokens_computed += chunk.count;
    chunk.sequence->last_step = step_;
    cache_full_blocks(*chunk.sequence);
  }
}

void Scheduler::cache_full_blocks(Sequence& sequence) {
  while ((sequence.blocks_cached + 1) * kBlockTokens <= sequence.tokens_computed) {
    const auto index = static_cast<std::size_t>(sequence.blocks_cached++);
    const BlockId parent = index == 0 ? kNoBlock : sequence.blocks[index - 1];
    const auto tokens = std::span(sequence.tokens).subspan(index * kBlockTokens, kBlockTokens);
    sequence.blocks[index] = blocks_.cache(parent, tokens, sequence.blocks[index], sequence.owner->request.cache_salt);
    if (options_.observer != nullptr)
      options_.observer->on_full(blocks_, sequence.blocks[index], sequence, static_cast<std::int64_t>(index));
  }
}

Sequence& Scheduler::fork(const Sequence& leader, std::int32_t choice) {
  auto sequence = std::make_unique<Sequence>();
  sequence->owner = leader.owner;
  sequence->rank = leader.rank;
  sequence->rank.choice = choice;
  sequence->state = SequenceState::kRunning;
  sequence->tokens.reserve(leader.tokens.capacity());
  sequence->tokens = leader.tokens;
  sequence->tokens_prompt = leader.tokens_prompt;
  sequence->tokens_computed = leader.tokens_computed;
  sequence->blocks.reserve(leader.blocks.capacity());
  sequence->blocks = leader.blocks;
  sequence->blocks_cached = leader.blocks_cached;
  sequence->last_step = leader.last_step;
  sequence->admitted_step = leader.admitted_step;
  Sequence& forked = **running_.insert(place_of(running_, *sequence), std::move(sequence));
  for (BlockId block : forked.blocks) blocks_.acquire(block);
  return forked;
}

void Scheduler::finish(Sequence& sequence) {
  if (sequence.state == SequenceState::kFinished) return;
  keep_tail(sequence);
  if (options_.observer != nullptr) options_.observer->on_finish(sequence);
  blocks_.release_all(sequence.blocks);
  sequence.tokens_computed = sequence.blocks_cached = 0;
  sequence.state = SequenceState::kFinished;
}

void Scheduler::sweep() {
  const auto finished = [](const auto& sequence) { return sequence->state == SequenceState::kFinished; };
  std::erase_if(running_, finished);
  std::erase_if(waiting_, finished);
}

// Sequences in a list are ordered, and nobody was let in while one that ranks before it waited.
Status Scheduler::check_order() const {
  const auto ordered = [](const auto& list) {
    return std::ranges::is_sorted(list, [](const auto& a, const auto& b) { return a->rank < b->rank; });
  };
  if (!ordered(running_) || !ordered(waiting_)) return Error{Errc::kInternal, "[scheduler] the order is broken"};
  for (const auto& waits : waiting_)
    for (const auto& runs : running_)
      if (waits->rank < runs->rank && runs->admitted_step > waits->lined_up_step)
        return Error{Errc::kInternal, "[scheduler] a waiting sequence was overtaken"};
  return {};
}

Status Scheduler::check_integrity() const {
  BALTORO_TRY_STATUS(check_order());
  std::vector<std::span<const BlockId>> chains;
  std::int64_t slots = 0;
  const auto check = [&](const Sequence& sequence, SequenceState state) -> Status {
    if (sequence.state != state) return Error{Errc::kInternal, "[scheduler] a sequence is on the wrong list"};
    chains.emplace_back(sequence.blocks);
    if (state == SequenceState::kWaiting && (!sequence.blocks.empty() || sequence.tokens_computed != 0))
      return Error{Errc::kInternal, "[scheduler] a waiting sequence holds blocks"};
    if (sequence.tokens_computed > sequence.length() ||
        blocks_for(sequence.tokens_computed) > static_cast<std::int64_t>(sequence.blocks.size()))
      return Error{Errc::kInternal, "[scheduler] more rows are computed than there are tokens or blocks"};
    if (sequence.blocks_cached != sequence.tokens_computed / kBlockTokens)
      return Error{Errc::kInternal, "[scheduler] a full block is not in the prefix cache"};
    return {};
  };
  for (const auto& sequence : running_) {
    BALTORO_TRY_STATUS(check(*sequence, SequenceState::kRunning));
    slots += slots_of(*sequence);
  }
  for (const auto& sequence : waiting_) BALTORO_TRY_STATUS(check(*sequence, SequenceState::kWaiting));
  if (slots > options_.max_sequences) return Error{Errc::kInternal, "[scheduler] more sequences run than allowed"};
  return blocks_.check_integrity(chains);
}

}  // namespace baltoro::engine
