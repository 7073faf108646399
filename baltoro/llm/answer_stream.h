// SPDX-License-Identifier: Apache-2.0
// From the engine's tokens to a client's events. Inside llm/ only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "baltoro/engine/request.h"
#include "baltoro/llm/call_counter.h"
#include "baltoro/llm/llm.h"
#include "baltoro/llm/repetition_watch.h"
#include "baltoro/llm/stop_strings.h"
#include "baltoro/text/chat_format.h"
#include "baltoro/text/tokenizer.h"
#include "baltoro/text/tool_ids.h"

namespace baltoro::llm {

struct AnswerStreamOptions {
  std::shared_ptr<const text::Tokenizer> tokenizer;
  EventSink sink;
  std::int32_t n = 1;
  std::int64_t tokens_prompt = 0;
  std::vector<std::string> stop = {};
  bool logprobs = false;
  // Chat: how an answer is read; null for a completion, whose tokens are text.
  std::function<std::unique_ptr<text::OutputParser>()> make_parser = {};
  const text::Conversation* conversation = nullptr;  // chat: names the tool ids in use; read at construction only
  bool one_call_only = false;
  // Chat: told of each answer that ended by itself, was read without loss and reached the client whole. The tokens
  // lack the end of the turn; `cut`: after a call, so that its section is still open. On the engine thread.
  std::function<void(text::Message said, text::SampledTurn turn, bool cut)> on_turn = {};
  // Told what the prefix cache had of the prompt, and why not more: token ids and their text. Null: nobody.
  std::function<void(std::string_view)> prefix_log = {};
  std::int32_t max_identical_calls = 0;  // see Handling
  bool stop_repetition = false;
  // Completion with echo: the prompt as text, and its first token where its log-probabilities are wanted too.
  std::string echo = {};
  std::optional<std::int32_t> echo_first_token = {};
};

// One request's answers. Lives on the engine thread.
class AnswerStream final : public engine::TokenSink {
 public:
  explicit AnswerStream(AnswerStreamOptions options);
  void on_start(const engine::PrefixMatch& match) override;
  Next on_token(const engine::TokenEvent& event) override;
  void on_prefill(std::int64_t tokens_done, std::int64_t tokens_total) override;
  void on_prompt_logprob(std::int64_t position, engine::TokenLogprob token,
                         std::span<const engine::TokenLogprob> top) override;

 private:
  struct Choice {
    std::unique_ptr<text::OutputParser> parser;      // chat
    std::unique_ptr<text::Detokenizer> detokenizer;  // completion
    StopStrings stop;
    text::ToolIdMap tool_ids;
    Usage usage;
    CallCounter calls;
    std::unique_ptr<RepetitionWatch> circles = {};    // null: nobody asked
    bool begun = false, cut = false, looped = false;  // cut: a stop string, the one allowed call or a loop ended it
    text::Message said = {};                          // with on_turn: what went out
    text::SampledTurn sampled = {};
    bool renamed = false;  // a call's id is not the one that the model wrote
  };

  void begin(std::int32_t choice);
  void take_token(std::int32_t choice, std::int32_t token);
  void take_parsed(std::int32_t choice);
  void take_text(std::int32_t choice, std::string_view text);
  void watch_circles(Choice& state, std::int32_t token);
  void flush_text(std::int32_t choice);
  void finish(std::int32_t choice, const engine::TokenEvent& event);
  void report_turn(Choice& choice, const engine::TokenEvent& event);
  Logprob logprob_of(engine::TokenLogprob token, std::span<const engine::TokenLogprob> top) const;
  void send_prompt_logprobs();
  template <typename Body>
  void send(std::int32_t choice, Body body);

  AnswerStreamOptions options_;
  std::vector<Choice> choices_;
  std::vector<text::ParsedEvent> parsed_;
  std::vector<Logprob> prompt_logprobs_;  // not yet sent
  std::int64_t tokens_cached_ = 0;        // of the prompt
};

}  // namespace baltoro::llm
