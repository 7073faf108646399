// SPDX-License-Identifier: Apache-2.0
// From a request to the rules that its answer is decoded under. Inside llm/ only.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/engine/request.h"
#include "baltoro/llm/llm.h"
#include "baltoro/text/answer_grammar.h"
#include "baltoro/text/chat_format.h"

namespace baltoro::llm {

struct GrammarStats {
  std::atomic<std::int64_t> compiled = 0, cache_hits = 0, compile_ns = 0;
};

// Compiles schemas, builds their masks ahead, keeps the compiled ones (least recently used go first, bounded in bytes).
// Any thread: all of that happens on the caller's, never on the engine's.
class AnswerRulesMaker {
 public:
  // A vocabulary without all single bytes cannot be constrained: rules() then says so where a request needs it.
  explicit AnswerRulesMaker(std::shared_ptr<const text::Tokenizer> tokenizer);

  // Null: nothing constrains this answer. kInvalidArgument names the field: a strict schema that cannot be enforced
  // ("tools[1].function.parameters"), tools missing for tool_choice, a partial message beside JSON. kUnsupported: the
  // vocabulary lacks what is needed. `eos`: the checkpoint's stop tokens.
  Result<std::shared_ptr<const text::AnswerRules>> rules(const ChatRequest& request, const text::ChatFormat& format,
                                                         const text::RenderOptions& render,
                                                         const std::vector<std::int32_t>& eos);
  const GrammarStats& stats() const { return stats_; }

 private:
  struct Kept {
    std::string key;
    std::shared_ptr<const text::SchemaGraph> graph;
    std::size_t bytes;
  };
  // `warm_seconds`: that building masks ahead may take; what it took is taken off.
  Result<std::shared_ptr<const text::SchemaGraph>> graph(const json::Value& schema, text::SchemaMode mode,
                                                         bool root_object, double& warm_seconds);
  Status add_tools(const ChatRequest& request, text::AnswerRules& rules, double& warm_seconds);

  std::shared_ptr<text::GrammarVocabulary> vocabulary_;  // null: see error_
  Error error_;
  GrammarStats stats_;
  std::mutex mutex_;
  std::list<Kept> kept_;  // the most recently used first
  std::unordered_map<std::string, std::list<Kept>::iterator> places_;
  std::size_t kept_bytes_ = 0;
};

// One mask for each of n choices, made on the caller's thread; each can be taken once.
std::function<std::unique_ptr<engine::TokenMask>(std::int32_t)> answer_masks(
    const std::shared_ptr<const text::AnswerRules>& rules, std::int32_t n);

}  // namespace baltoro::llm
