// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "baltoro/llm/llm.h"
#include "baltoro/model/math.h"
#include "baltoro/text/chat_format.h"

namespace baltoro::llm {

// Which checkpoint, and how much of the machine.
struct LocalOptions {
  std::string dir = {};       // the released folder
  std::string model_id = {};  // empty: the folder's name
  model::Math math = model::Math::kExact;
  model::DenseWeights dense = model::DenseWeights::kReleased;
  model::LatentNormEps latent_norm_eps = model::LatentNormEps::kConfig;
  int threads = 0;                      // 0: one per CPU
  std::vector<int> cpus = {};           // CPUs to run on, ascending; empty: those of the affinity mask
  std::int64_t context_tokens = 0;      // of one conversation; 0: the model's
  std::int64_t max_sequences = 32;      // choices that run at once
  std::int64_t max_batch_tokens = 512;  // tokens a step may hold
  std::int64_t max_queue = 1024;        // requests that wait; beyond: kOverloaded
  std::int64_t max_queue_tokens = 0;    // prompt tokens of those; 0: no bound
  double max_gap_seconds = 1;           // to which a step with running answers may be stretched by prompts; 0: no bound
  double priority_seconds = 10;         // of waiting that a step of priority is worth
  // Positions the KV cache holds, all conversations and what is kept of earlier ones together. 0: as many as
  // max_sequences full contexts, or half of the memory that weights leave free if that is less, but one whole context.
  std::int64_t kv_tokens = 0;
  // KV and sampled answers of earlier work on disk: full blocks are written there as they fill and come back for
  // prompts that start the same, also after a restart. Empty: in memory only. One process a directory.
  std::string kv_dir = {};
  std::int64_t kv_disk_bytes = std::int64_t{16} << 30;  // of all pages in it
  // Told what an operator should know, a line at a time, from any thread. Null: nobody. Must not block.
  std::function<void(std::string_view)> log = {};
  // Told for each request, on the engine thread, what the prefix cache had of its prompt and the token where that ends,
  // with the token's text. Null: nobody. Must not block.
  std::function<void(std::string_view)> prefix_log = {};
  std::optional<text::ChatFamily> family = {};  // absent: guessed from the folder
  bool force_memory = false;                    // open although the plan says that it does not fit
  // Answers that are kept as they were sampled, for the prompts that send them back: bytes in memory; 0: none are.
  std::int64_t kept_turn_bytes = std::int64_t{64} << 20;
  bool prefix_cache = true;            // false: every prompt is computed whole
  bool keep_volatile_headers = false;  // accounting lines in front of system prompts go to the model too
  // 0: weights are mapped. Else the process keeps within this many bytes: experts are read from disk as they are
  // needed, into what the rest leaves of it.
  std::int64_t memory_bytes = 0;
  // A test backend: no weights are opened, the tokens come from this script (script_runner.h). Contexts of up to 2^20
  // tokens (0: 262144) and 2^20 positions of KV unless said otherwise.
  std::string script_path = {};
};

// Answers from a checkpoint on this machine: chat format and tokenizer around the engine.
//
// Chat: the conversation is rendered by the family's format; the answer is parsed into content, reasoning and tool
// calls as it comes, every delta whole code points. Stop strings are matched on content alone, across deltas: what may
// become one is held back, and the one that ends the choice is not sent. Log-probabilities come with every sampled
// token but the stop token, before the text it belongs to. usage.tokens_output counts every sampled token, the stop
// token too. Every answer is decoded under rules (text/answer_grammar.h): control tokens come only where the family's
// form has them, calls are of declared tools with arguments of their schema, content is JSON where the request says so,
// and reasoning ends at its budget. tool_choice and allowed_tools change what can be written, never the prompt: with
// none no call can begin; required and named begin with the call, after reasoning; parallel_tool_calls false ends the
// answer after its first call. kInvalidArgument also for a strict schema that cannot be enforced and for max_tokens
// that the shortest such answer may not fit. Completion: the prompt as given, special strings as text (ids may be
// control tokens), without a chat format but with DeepSeek's BOS in front of text. With echo and logprobs the prompt's
// own come first; the first token's is NaN. An empty answer (max_tokens 0) is allowed with echo only.
class LocalBackend final : public Backend {
 public:
  // Opens weights, tokenizer and chat format and sets KV and scratch aside. The errors of open_weights, load_tokenizer
  // and parse_config; kResourceExhausted with the plan's numbers where memory is short; kInvalidArgument for options
  // out of range. A folder whose vocabulary lacks chat tokens opens too: then chat() says so.
  static Result<std::unique_ptr<LocalBackend>> open(LocalOptions options);
  ~LocalBackend() override;

  Result<std::unique_ptr<Ticket>> chat(ChatRequest request, EventSink sink) override;
  Result<std::unique_ptr<Ticket>> complete(CompletionRequest request, EventSink sink) override;
  Result<std::vector<std::int32_t>> tokenize(const std::string& text, bool parse_special) override;
  Result<std::string> detokenize(const std::vector<std::int32_t>& ids) override;
  Result<std::int64_t> count_tokens(const ChatRequest& request) override;
  ModelInfo model() const override;
  // The engine's counters (..._total) and gauges; with memory_bytes also those of the experts read from disk, where
  // expert_read_bytes_total / expert_read_seconds_total is the disk's rate.
  BackendMetrics metrics() const override;
  std::vector<BackendHistogram> histograms() const override;
  double busy_seconds() const override;
  void drain(double deadline_seconds) override;

 private:
  struct Impl;
  explicit LocalBackend(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace baltoro::llm
