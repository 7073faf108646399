// SPDX-License-Identifier: Apache-2.0
// A model for tests: the logits of a position are a hash of all token ids up to it, read back through the KV blocks. A
// wrong block table, a missing copy or a stale cached block gives wrong tokens.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "baltoro/engine/model_runner.h"
#include "baltoro/engine/prefix_cache.h"
#include "baltoro/engine/random.h"

namespace baltoro::engine {

struct PrefixRunnerOptions {
  std::int64_t vocab_size = 40, max_context_tokens = 4096, num_blocks = 64, max_batch_tokens = 128, max_logit_rows = 8;
};

// What a test watches from outside while the engine owns the runner.
struct PrefixRunnerLog {
  std::vector<std::string> errors;  // breaches of the batch's contract
  std::int64_t forwards = 0, rows = 0, copies = 0;
};

class PrefixRunner final : public ModelRunner {
 public:
  PrefixRunner(PrefixRunnerOptions options, PrefixRunnerLog* log)
      : options_(options), log_(log), slots_(static_cast<std::size_t>(options.num_blocks)) {}

  // logits of the token after `prefix`, in [-6, 6).
  static std::vector<float> logits_after(std::span<const TokenId> prefix, std::int64_t vocab_size) {
    std::uint64_t hash = 1;
    for (TokenId token : prefix) hash = mix64(hash ^ static_cast<std::uint32_t>(token));
    std::vector<float> logits(static_cast<std::size_t>(vocab_size));
    for (std::size_t id = 0; id < logits.size(); ++id)
      logits[id] = static_cast<float>(uniform_draw(hash, 0, static_cast<std::int64_t>(id)) * 12 - 6);
    return logits;
  }

  std::int64_t vocab_size() const override { return options_.vocab_size; }
  std::int64_t max_context_tokens() const override { return options_.max_context_tokens; }
  std::int64_t num_blocks() const override { return options_.num_blocks; }
  std::int64_t max_batch_tokens() const override { return options_.max_batch_tokens; }
  std::int64_t max_logit_rows() const override { return options_.max_logit_rows; }

  Status forward(const model::Batch& batch, std::span<float> logits) override {
    ++log_->forwards;
    log_->rows += static_cast<std::int64_t>(batch.tokens.size());
    check_shape(batch, logits);
    std::set<std::pair<BlockId, std::size_t>> written;
    std::size_t next_row = 0;
    for (std::size_t i = 0; i < batch.tokens.size(); ++i) {
      const auto table = batch.block_tables[static_cast<std::size_t>(batch.sequences[i])];
      const auto position = static_cast<std::size_t>(batch.positions[i]);
      if (position / kBlockTokens >= table.size()) {
        fail("a position has no block");
        return {};
      }
      const BlockId block = table[position / kBlockTokens];
      if (!written.emplace(block, position % kBlockTokens).second) fail("two tokens write one row");
      slots_[index_of(block)][position % kBlockTokens] = {batch.tokens[i], batch.positions[i]};
      if (next_row == batch.logit_rows.size() || batch.logit_rows[next_row] != static_cast<std::int32_t>(i)) continue;
      const auto row = logits_after(read_back(table, position), options_.vocab_size);
      std::copy(row.begin(), row.end(), logits.begin() + static_cast<std::ptrdiff_t>(next_row++ * row.size()));
    }
    if (next_row != batch.logit_rows.size()) fail("logit rows are not ascending");
    return {};
  }

  void copy_block(BlockId from, BlockId to) override {
    ++log_->copies;
    slots_[index_of(to)] = slots_[index_of(from)];
  }
  std::span<std::byte> block_memory(BlockId block) override {
    return std::as_writable_bytes(std::span(slots_[index_of(block)]));
  }

 private:
  struct Slot {
    TokenId token = -1;
    std::int32_t position = -1;
  };

  void fail(const char* what) { log_->errors.emplace_back(what); }

  void check_shape(const model::Batch& batch, std::span<float> logits) {
    if (batch.tokens.empty() || static_cast<std::int64_t>(batch.tokens.size()) > options_.max_batch_tokens)
      fail("a batch of the wrong size");
    if (static_cast<std::int64_t>(batch.logit_rows.size()) > options_.max_logit_rows) fail("too many logit rows");
    if (logits.size() != batch.logit_rows.size() * static_cast<std::size_t>(options_.vocab_size))
      fail("a logits buffer of the wrong size");
  }

  std::vector<TokenId> read_back(std::span<const BlockId> table, std::size_t last) {
    std::vector<TokenId> prefix;
    for (std::size_t position = 0; position <= last; ++position) {
      const Slot& slot = slots_[index_of(table[position / kBlockTokens])][position % kBlockTokens];
      if (slot.position != static_cast<std::int32_t>(position)) fail("a row holds another position");
      prefix.push_back(slot.token);
    }
    return prefix;
  }

  PrefixRunnerOptions options_;
  PrefixRunnerLog* log_;
  std::vector<std::array<Slot, kBlockTokens>> slots_;
};

}  // namespace baltoro::engine
