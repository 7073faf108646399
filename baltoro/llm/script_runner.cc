// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/script_runner.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "baltoro/engine/random.h"

namespace baltoro::llm {
namespace {

using text::TokenId;

constexpr std::size_t kMaxTargets = 1024;
constexpr std::size_t kMaxSpelledBytes = 32;  // of a token whose beginnings are offered too

Error broken(std::string message) { return {Errc::kInternal, "[script] " + std::move(message)}; }

std::uint64_t extended(std::uint64_t hash, TokenId token) {
  return engine::mix64(hash ^ static_cast<std::uint32_t>(token));
}

std::uint64_t hash_of(std::span<const TokenId> tokens) {
  std::uint64_t hash = 1;
  for (const TokenId token : tokens) hash = extended(hash, token);
  return hash;
}

}  // namespace

ScriptRunner::ScriptRunner(ScriptRunnerOptions options, TokenScript script, text::ChatFamily family,
                           std::shared_ptr<const text::Tokenizer> tokenizer, std::vector<TokenId> stop_token_ids)
    : options_(options),
      script_(std::move(script)),
      family_(family),
      tokenizer_(std::move(tokenizer)),
      outlines_(family, *tokenizer_),
      stop_token_ids_(std::move(stop_token_ids)),
      noise_(static_cast<std::size_t>(std::max<std::int64_t>(options.vocab_size, tokenizer_->vocab_size()))),
      blocks_(static_cast<std::size_t>(options.num_blocks)) {
  for (std::size_t i = 0; i < noise_.size(); ++i)
    noise_[i] = static_cast<float>(engine::uniform_draw(0, 0, static_cast<std::int64_t>(i)) * 12 - 6);
}

Status ScriptRunner::check_shape(const model::Batch& batch, std::span<float> logits) const {
  const auto rows = static_cast<std::int64_t>(batch.tokens.size());
  if (rows == 0 || rows > options_.max_batch_tokens) return broken(fmt::format("a batch of {} tokens", rows));
  if (static_cast<std::int64_t>(batch.logit_rows.size()) > options_.max_logit_rows ||
      logits.size() != batch.logit_rows.size() * noise_.size())
    return broken(fmt::format("{} logit rows, a buffer of {}", batch.logit_rows.size(), logits.size()));
  for (const auto table : batch.block_tables) {
    for (const model::BlockId id : table) {
      if (static_cast<std::int64_t>(id) < 0 || static_cast<std::int64_t>(id) >= options_.num_blocks)
        return broken(fmt::format("a table names block {} of {}", static_cast<std::int64_t>(id), options_.num_blocks));
    }
  }
  return {};
}

Status ScriptRunner::forward(const model::Batch& batch, std::span<float> logits) {
  BALTORO_TRY_STATUS(check_shape(batch, logits));
  BALTORO_TRY_STATUS(wait(batch));
  std::size_t next_row = 0;
  for (std::size_t i = 0; i < batch.tokens.size(); ++i) {
    const auto table = batch.block_tables[static_cast<std::size_t>(batch.sequences[i])];
    const auto position = static_cast<std::size_t>(batch.positions[i]);
    if (position / model::kBlockTokens >= table.size())
      return broken(fmt::format("position {} has no block", position));
    Block& block = blocks_[static_cast<std::size_t>(table[position / model::kBlockTokens])];
    block[position % model::kBlockTokens] = {batch.tokens[i], batch.positions[i]};
    if (next_row == batch.logit_rows.size() || batch.logit_rows[next_row] != static_cast<std::int32_t>(i)) continue;
    BALTORO_TRY_STATUS(read_back(table, batch.positions[i]));
    fill_row(logits.subspan(next_row++ * noise_.size(), noise_.size()));
  }
  if (next_row != batch.logit_rows.size()) return broken("logit rows are not ascending");
  return {};
}

void ScriptRunner::copy_block(model::BlockId from, model::BlockId to) {
  blocks_[static_cast<std::size_t>(to)] = blocks_[static_cast<std::size_t>(from)];
}

std::span<std::byte> ScriptRunner::block_memory(model::BlockId block) {
  return std::as_writable_bytes(std::span(blocks_[static_cast<std::size_t>(block)]));
}

Status ScriptRunner::read_back(std::span<const model::BlockId> table, std::int64_t last) {
  prefix_.clear();
  for (std::int64_t position = 0; position <= last; ++position) {
    const auto at = static_cast<std::size_t>(position);
    const Row& row = blocks_[static_cast<std::size_t>(table[at / model::kBlockTokens])][at % model::kBlockTokens];
    if (row.position != position) return broken(fmt::format("position {} needed, its row holds {}", at, row.position));
    prefix_.push_back(row.token);
  }
  before_last_ = hash_of({prefix_.data(), prefix_.size() - 1});
  hash_ = extended(before_last_, prefix_.back());
  return {};
}

void ScriptRunner::fill_row(std::span<float> row) {
  const auto shift = static_cast<std::ptrdiff_t>(hash_ % noise_.size());
  std::rotate_copy(noise_.begin(), noise_.begin() + shift, noise_.end(), row.begin());
  const auto set = [&](TokenId id, float logit) {
    if (id >= 0 && static_cast<std::size_t>(id) < row.size()) row[static_cast<std::size_t>(id)] = logit;
  };
  const auto chosen = next_token();
  if (!chosen) {
    for (const TokenId id : stop_token_ids_) set(id, 20);
    return;
  }
  const std::string_view bytes = tokenizer_->token_bytes(*chosen);
  if (!tokenizer_->is_special(*chosen)) {
    for (std::size_t length = 1; length < std::min(bytes.size(), kMaxSpelledBytes); ++length) {
      const auto ids = tokenizer_->encode(bytes.substr(0, length));
      if (ids.size() == 1 && tokenizer_->token_bytes(ids[0]) == bytes.substr(0, length))
        set(ids[0], 20 + static_cast<float>(length));
    }
  }
  set(*chosen, kChosenLogit);
}

std::optional<TokenId> ScriptRunner::next_token() {
  const bool goes_on = open_.target != nullptr && open_.hash == before_last_ && !tokenizer_->is_special(prefix_.back());
  if (goes_on) {
    open_.written += tokenizer_->token_bytes(prefix_.back());
  } else {
    const PromptOutline outline = outlines_.read(prefix_);
    if (!outline.answer_begin) return next_behind_text();
    open_.written = decode(*outline.answer_begin, prefix_.size());
    open_.target = target_of(outline, open_.written);
  }
  open_.hash = hash_;
  return open_.target->next(open_.written);
}

// Prompts without chat markup: the first rule with an `after` that the text holds.
std::optional<TokenId> ScriptRunner::next_behind_text() const {
  const std::string text = decode(0, prefix_.size());
  for (const ScriptedRule& rule : script_.rules) {
    if (!rule.when.after) continue;
    const std::size_t found = text.rfind(*rule.when.after);
    if (found == std::string::npos) continue;
    const ScriptTarget target(rule.answer, family_, *tokenizer_, 0);
    return target.next_plain(std::string_view(text).substr(found + rule.when.after->size()));
  }
  return std::nullopt;
}

std::shared_ptr<const ScriptTarget> ScriptRunner::target_of(const PromptOutline& outline, std::string_view written) {
  const bool may_think = ScriptTarget::may_think(family_, written);
  const std::uint64_t key = engine::mix64(hash_of({prefix_.data(), *outline.answer_begin}) + (may_think ? 1 : 0));
  if (const auto known = targets_.find(key); known != targets_.end()) return known->second;
  if (targets_.size() >= kMaxTargets) targets_.clear();
  std::int64_t calls = 0;
  for (const OutlinedMessage& message : outline.messages) calls += message.calls;
  const ScriptedAnswer answer = choose_answer(script_, view_of(outline, may_think));
  return targets_.emplace(key, std::make_shared<ScriptTarget>(answer, family_, *tokenizer_, calls)).first->second;
}

PromptView ScriptRunner::view_of(const PromptOutline& outline, bool may_think) const {
  PromptView view{.messages = {}, .may_think = may_think};
  for (const OutlinedMessage& message : outline.messages) {
    view.messages.push_back(
        {.speaker = message.speaker, .text = [this, message] { return text_of(message); }, .calls = message.calls});
  }
  return view;
}

// Without the line that heads a Kimi tool result.
std::string ScriptRunner::text_of(const OutlinedMessage& message) const {
  std::string text = decode(message.begin, message.end);
  if (message.speaker == Speaker::kTool && !is_deepseek(family_)) text.erase(0, text.find('\n') + 1);
  return text;
}

std::string ScriptRunner::decode(std::size_t begin, std::size_t end) const {
  return tokenizer_->decode(std::span(prefix_).subspan(begin, end - begin));
}

// Takes the time that the script gives a step.
Status ScriptRunner::wait(const model::Batch& batch) const {
  using Clock = std::chrono::steady_clock;
  const double prompt_tokens = static_cast<double>(batch.tokens.size() - batch.logit_rows.size());
  const double seconds = script_.step_seconds + script_.prompt_token_seconds * prompt_tokens;
  if (seconds <= 0) return {};
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  for (auto now = Clock::now(); now < end; now = Clock::now()) {
    if (interrupted_) return Error{Errc::kCancelled, "[script] interrupted"};
    std::this_thread::sleep_for(std::min<Clock::duration>(end - now, std::chrono::milliseconds(5)));
  }
  return {};
}

}  // namespace baltoro::llm
