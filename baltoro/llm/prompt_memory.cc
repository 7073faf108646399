// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/prompt_memory.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "baltoro/base/file.h"

namespace baltoro::llm {
namespace {

// A scope as one string; no two scopes give the same.
std::string name_of(const CacheScope& scope) {
  if (scope.tenant.empty() && scope.salt.empty()) return {};
  return fmt::format("{}:{}{}", scope.tenant.size(), scope.tenant, scope.salt);
}

}  // namespace

engine::CacheSalt salt_of(const CacheScope& scope) {
  const std::string name = name_of(scope);
  engine::CacheSalt salt;
  if (name.empty()) return salt;
  const Sha256Digest digest = sha256(std::as_bytes(std::span(name)));
  std::memcpy(&salt.high, digest.data(), sizeof salt.high);
  std::memcpy(&salt.low, digest.data() + sizeof salt.high, sizeof salt.low);
  return salt;
}

Result<std::unique_ptr<PromptMemory>> PromptMemory::open(const LocalOptions& options, const Sha256Digest& identity,
                                                         std::size_t kv_bytes) {
  auto memory = std::make_unique<PromptMemory>();
  if (options.kept_turn_bytes > 0)
    memory->turns_ =
        std::make_shared<TurnStore>(TurnStoreLimits{.bytes = static_cast<std::size_t>(options.kept_turn_bytes)});
  if (!options.kv_dir.empty()) BALTORO_TRY_STATUS(memory->open_disk(options, identity, kv_bytes));
  return memory;
}

Status PromptMemory::open_disk(const LocalOptions& options, const Sha256Digest& identity, std::size_t kv_bytes) {
  model_ = to_hex(identity);
  BALTORO_TRY(directory_, engine::KvDirectory::open({.dir = options.kv_dir,
                                                     .max_bytes = options.kv_disk_bytes,
                                                     .fingerprint = identity,
                                                     .kv_bytes = kv_bytes,
                                                     .log = options.log}));
  if (turns_ != nullptr) {
    BALTORO_TRY(log_, TurnLog::open(join_path(options.kv_dir, "turns"), turns_));
  }
  if (options.prefix_cache) {
    BALTORO_TRY(store_, engine::KvStore::start(std::move(directory_), kv_bytes));
  }
  return {};
}

Result<RenderedPrompt> PromptMemory::render(const text::ChatFormat& format, const ChatRequest& request,
                                            text::RenderOptions options) const {
  RenderedPrompt prompt;
  TurnLookup lookup(turns_, tenant_of(request));
  if (turns_ != nullptr) options.sampled = &lookup;
  BALTORO_TRY(prompt.ids, format.render(request.conversation, options));
  if (turns_ == nullptr) return prompt;
  prompt.digest = lookup.prompt_digest(prompt.ids);
  if (request.conversation.messages.back().partial) find_begun(format, request, options, prompt);
  return prompt;
}

// A history will show the whole answer, so it is kept under the prompt without its beginning, where the family's
// template goes on from there.
void PromptMemory::find_begun(const text::ChatFormat& format, const ChatRequest& request, text::RenderOptions options,
                              RenderedPrompt& prompt) const {
  text::Conversation front = request.conversation;
  text::Message begun = std::move(front.messages.back());
  front.messages.pop_back();
  TurnLookup lookup(turns_, tenant_of(request));
  options.sampled = &lookup;
  const auto ids = format.render(front, options);
  if (!ids.ok() || ids->size() > prompt.ids.size()) return;
  const auto [end, rest] = std::mismatch(ids->begin(), ids->end(), prompt.ids.begin());
  if (end != ids->end()) return;
  prompt.digest = lookup.prompt_digest(*ids);
  prompt.begun = std::move(begun);
  prompt.begun_ids.assign(rest, prompt.ids.end());
}

std::string PromptMemory::tenant_of(const ChatRequest& request) const { return model_ + name_of(request.cache_scope); }

std::function<void(text::Message, text::SampledTurn, bool)> PromptMemory::keeper(
    std::shared_ptr<const text::ChatFormat> format, const RenderedPrompt& prompt) const {
  if (turns_ == nullptr) return nullptr;
  return [store = turns_, log = log_, format = std::move(format), digest = prompt.digest, begun = prompt.begun,
          begun_ids = prompt.begun_ids](text::Message said, text::SampledTurn turn, bool cut) {
    const auto end = format->end_of_turn(cut);
    turn.tokens.insert(turn.tokens.begin(), begun_ids.begin(), begun_ids.end());
    turn.tokens.insert(turn.tokens.end(), end.begin(), end.end());
    turn.reasons |= !begun.reasoning.empty();
    said.content.insert(0, begun.content);
    said.reasoning.insert(0, begun.reasoning);
    KeptTurn kept{.prompt = digest,
                  .visible = visible_digest(said),
                  .reasoning = reasoning_digest(said.reasoning),
                  .turn = std::move(turn)};
    if (log == nullptr) return store->keep(std::move(kept));
    store->keep(kept);
    log->append(kept);
  };
}

void PromptMemory::add_metrics(BackendMetrics& metrics) const {
  const auto add = [&](const char* name, auto value) { metrics.emplace_back(name, static_cast<double>(value)); };
  if (turns_ == nullptr) return;
  const TurnStoreStats turns = turns_->stats();
  add("kept_turns", turns.turns);
  add("kept_turn_bytes", turns.bytes);
  add("kept_turns_found_total", turns.found);
  add("kept_turns_missed_total", turns.missed);
  add("kept_turns_dropped_total", turns.dropped);
  if (log_ == nullptr) return;
  add("kept_turn_file_bytes", log_->stats().bytes);
  add("kept_turn_file_errors_total", log_->stats().write_errors);
}

}  // namespace baltoro::llm
