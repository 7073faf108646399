// SPDX-License-Identifier: Apache-2.0
// A model without weights that writes what a script says: a test backend. Only the model is replaced: sampler, masks,
// prefix cache, scheduler, parser and streams are the real ones and work on its logits.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "baltoro/engine/model_runner.h"
#include "baltoro/llm/prompt_outline.h"
#include "baltoro/llm/script_target.h"
#include "baltoro/llm/token_script.h"

namespace baltoro::llm {

struct ScriptRunnerOptions {
  std::int64_t vocab_size = 0;  // at least the tokenizer's, which 0 stands for
  std::int64_t max_context_tokens = 262'144, num_blocks = 4096, max_batch_tokens = 512, max_logit_rows = 64;
};

// Logits [V] of the token after a prefix, a pure function of the prefix's tokens:
//   kChosenLogit  the next token of the script's answer to this prompt
//   20 + bytes    tokens that spell the beginning of that token, for masks that forbid it
//   20            the family's stop tokens where the script has no answer (left)
//   [-6, 6)       all others, drawn from a hash of the prefix
// The prefix is read back through the block tables from a KV store of 64-token blocks that holds (token, position): a
// wrong table, a missing copy or a stale row is kInternal, or changes the hash and with it every logit.
class ScriptRunner final : public engine::ModelRunner {
 public:
  static constexpr float kChosenLogit = 60;

  ScriptRunner(ScriptRunnerOptions options, TokenScript script, text::ChatFamily family,
               std::shared_ptr<const text::Tokenizer> tokenizer, std::vector<text::TokenId> stop_token_ids);

  std::int64_t vocab_size() const override { return static_cast<std::int64_t>(noise_.size()); }
  std::int64_t max_context_tokens() const override { return options_.max_context_tokens; }
  std::int64_t num_blocks() const override { return options_.num_blocks; }
  std::int64_t max_batch_tokens() const override { return options_.max_batch_tokens; }
  std::int64_t max_logit_rows() const override { return options_.max_logit_rows; }
  Status forward(const model::Batch& batch, std::span<float> logits) override;
  void copy_block(model::BlockId from, model::BlockId to) override;
  std::span<std::byte> block_memory(model::BlockId block) override;
  void interrupt(bool on) override { interrupted_ = on; }

  struct Row {
    std::int32_t token = -1, position = -1;
  };
  using Block = std::array<Row, model::kBlockTokens>;

 private:
  Status check_shape(const model::Batch& batch, std::span<float> logits) const;
  Status read_back(std::span<const model::BlockId> table, std::int64_t last);  // into prefix_
  void fill_row(std::span<float> row);
  std::optional<text::TokenId> next_token();
  std::optional<text::TokenId> next_behind_text() const;
  std::shared_ptr<const ScriptTarget> target_of(const PromptOutline& outline, std::string_view written);
  PromptView view_of(const PromptOutline& outline, bool may_think) const;
  std::string text_of(const OutlinedMessage& message) const;
  std::string decode(std::size_t begin, std::size_t end) const;
  Status wait(const model::Batch& batch) const;

  ScriptRunnerOptions options_;
  TokenScript script_;
  text::ChatFamily family_;
  std::shared_ptr<const text::Tokenizer> tokenizer_;
  OutlineReader outlines_;
  std::vector<text::TokenId> stop_token_ids_;
  std::vector<float> noise_;  // [V]
  std::vector<Block> blocks_;
  std::vector<text::TokenId> prefix_;
  std::uint64_t hash_ = 0, before_last_ = 0;  // of prefix_, and of it without its last token
  std::unordered_map<std::uint64_t, std::shared_ptr<const ScriptTarget>> targets_;  // by prompt
  // The answer of the row before: where the next row adds one token to it, its text need not be read anew.
  struct OpenAnswer {
    std::uint64_t hash = 0;
    std::string written;
    std::shared_ptr<const ScriptTarget> target;
  } open_;
  std::atomic<bool> interrupted_ = false;
};

}  // namespace baltoro::llm
