// SPDX-License-Identifier: Apache-2.0
// What a local backend keeps of earlier work for the prompts to come. Inside llm/ only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "baltoro/engine/engine.h"
#include "baltoro/engine/kv_store.h"
#include "baltoro/llm/local.h"
#include "baltoro/llm/turn_log.h"
#include "baltoro/llm/turn_store.h"

namespace baltoro::llm {

// A rendered conversation, and what answers to it are kept under.
struct RenderedPrompt {
  std::vector<std::int32_t> ids;
  Sha256Digest digest{};
  // Of an answer that the prompt begins (a partial message): its text and tokens so far, which come behind `digest`.
  text::Message begun = {};
  std::vector<std::int32_t> begun_ids = {};
};

// Zero for the scope that all share; else a digest that no two scopes have in common.
engine::CacheSalt salt_of(const CacheScope& scope);

// Answers as they were sampled, in memory and with LocalOptions::kv_dir in its file; and the KV's place on disk. Any
// thread after open().
class PromptMemory {
 public:
  // With kv_dir `identity` names what the KV's bits depend on but the tokens, and `kv_bytes` are a block's. The errors
  // of KvDirectory, KvStore and TurnLog.
  static Result<std::unique_ptr<PromptMemory>> open(const LocalOptions& options, const Sha256Digest& identity,
                                                    std::size_t kv_bytes);

  // For the engine, once; null where KV stays in memory.
  std::unique_ptr<engine::KvStore> take_store() { return std::move(store_); }

  // The conversation with its answers as they were sampled, where that is known.
  Result<RenderedPrompt> render(const text::ChatFormat& format, const ChatRequest& request,
                                text::RenderOptions options) const;
  // For AnswerStreamOptions::on_turn of an answer to that prompt; null where none are kept.
  std::function<void(text::Message, text::SampledTurn, bool)> keeper(std::shared_ptr<const text::ChatFormat> format,
                                                                     const RenderedPrompt& prompt) const;
  void add_metrics(BackendMetrics& metrics) const;

 private:
  void find_begun(const text::ChatFormat& format, const ChatRequest& request, text::RenderOptions options,
                  RenderedPrompt& prompt) const;
  std::string tenant_of(const ChatRequest& request) const;
  Status open_disk(const LocalOptions& options, const Sha256Digest& identity, std::size_t kv_bytes);

  std::shared_ptr<TurnStore> turns_;                // null: none are kept
  std::shared_ptr<TurnLog> log_;                    // null: in memory only
  std::string model_;                               // with kv_dir: names model and arithmetic
  std::unique_ptr<engine::KvStore> store_;          // until the engine has it
  std::unique_ptr<engine::KvDirectory> directory_;  // held for its lock where no KV is to be kept
};

}  // namespace baltoro::llm
