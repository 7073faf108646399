// SPDX-License-Identifier: Apache-2.0
// A backend that plays answers written beforehand: what tests of everything above the llm seam talk to.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/llm/llm.h"

namespace baltoro::llm {

// One event of a choice, and how long to wait before it.
struct ScriptedStep {
  double pause_seconds = 0;
  decltype(Event::body) body;
};

// The events of one choice, in order. Without a Finished at its end it ends with kStop (kToolCalls if it called any).
using Script = std::vector<ScriptedStep>;

// `text` cut behind each space into content (or reasoning) deltas, each after the pause.
Script script_content(std::string_view text, double pause_seconds = 0);
Script script_reasoning(std::string_view text, double pause_seconds = 0);
// A whole tool call, its arguments in pieces of four bytes.
Script script_tool_call(std::int32_t index, std::string id, std::string name, std::string_view arguments);
void append(Script& script, Script more);

struct ScriptedOptions {
  ModelInfo model = {.id = "scripted", .family = "scripted", .max_context_tokens = 4096, .created_unix_s = 1};
  // What to answer: one script per choice (the last repeats for further choices), or the request's error.
  std::function<Result<std::vector<Script>>(const ChatRequest&)> chat = {};
  std::function<Result<std::vector<Script>>(const CompletionRequest&)> complete = {};
  std::int64_t max_running = 1024;  // beyond: kOverloaded
};

// Plays scripts on one thread, choices side by side. Each text event counts as a token: max_tokens cuts with kLength,
// usage counts them; a prompt has a token per byte. Cancelling ends a request before its next event.
class ScriptedBackend final : public Backend {
 public:
  explicit ScriptedBackend(ScriptedOptions options);
  ~ScriptedBackend() override;

  Result<std::unique_ptr<Ticket>> chat(ChatRequest request, EventSink sink) override;
  Result<std::unique_ptr<Ticket>> complete(CompletionRequest request, EventSink sink) override;
  Result<std::vector<std::int32_t>> tokenize(const std::string& text, bool parse_special) override;
  Result<std::string> detokenize(const std::vector<std::int32_t>& ids) override;
  Result<std::int64_t> count_tokens(const ChatRequest& request) override;
  ModelInfo model() const override;
  // requests_running; requests_finished_total, requests_cancelled_total.
  BackendMetrics metrics() const override;
  void drain(double deadline_seconds) override;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // tickets may outlive the backend
};

}  // namespace baltoro::llm
