// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/answer_stream.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "baltoro/base/json.h"

namespace baltoro::llm {
namespace {

constexpr std::size_t kPromptLogprobsPerEvent = 64;

Finish finish_of(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kLength:
      return Finish::kLength;
    case engine::FinishReason::kCancelled:
      return Finish::kCancelled;
    case engine::FinishReason::kError:
      return Finish::kError;
    case engine::FinishReason::kStop:
    case engine::FinishReason::kNone:
      break;
  }
  return Finish::kStop;
}

// Adds what an event says to the message that it is part of.
void note(text::Message& said, const text::ParsedEvent& event) {
  if (const auto* content = std::get_if<text::ParsedContent>(&event)) {
    said.content += content->text;
  } else if (const auto* reasoning = std::get_if<text::ParsedReasoning>(&event)) {
    said.reasoning += reasoning->text;
  } else if (const auto* call = std::get_if<text::ParsedCallBegin>(&event)) {
    said.tool_calls.push_back({.id = {}, .name = call->name, .arguments = {}});
  } else if (const auto* arguments = std::get_if<text::ParsedCallArguments>(&event)) {
    said.tool_calls.back().arguments += arguments->text;
  }
}

}  // namespace

AnswerStream::AnswerStream(AnswerStreamOptions options) : options_(std::move(options)) {
  const text::Conversation none;
  const text::Conversation& conversation = options_.conversation == nullptr ? none : *options_.conversation;
  const auto history = CallCounter::count(conversation);
  options_.conversation = nullptr;
  for (std::int32_t i = 0; i < options_.n; ++i) {
    choices_.push_back(
        {.parser = options_.make_parser ? options_.make_parser() : nullptr,
         .detokenizer = options_.make_parser ? nullptr : std::make_unique<text::Detokenizer>(options_.tokenizer),
         .stop = StopStrings(options_.stop),
         .tool_ids = text::ToolIdMap(conversation),
         .usage = {.tokens_prompt = options_.tokens_prompt},
         .calls = CallCounter(history),
         .circles = options_.stop_repetition ? std::make_unique<RepetitionWatch>() : nullptr});
  }
  options_.make_parser = nullptr;  // what it refers to may go
}

template <typename Body>
void AnswerStream::send(std::int32_t choice, Body body) {
  options_.sink(Event{.choice = choice, .body = std::move(body)});
}

void AnswerStream::on_start(const engine::PrefixMatch& match) {
  tokens_cached_ = match.tokens_cached;
  send(0, PrefillProgress{match.tokens_cached, match.tokens_prompt, tokens_cached_});
  if (!options_.prefix_log) return;
  std::string line = fmt::format("prefix: {} of {} tokens cached, ", match.tokens_cached, match.tokens_prompt);
  const auto text_of = [&](std::int32_t token) {
    return json::dump(json::Value(options_.tokenizer->token_bytes(token)));  // escaped, bytes that are no text replaced
  };
  switch (match.end) {
    case engine::PrefixEnd::kWhole:
      line += "all there is";
      break;
    case engine::PrefixEnd::kNew:
      line += "nothing is known beyond";
      break;
    case engine::PrefixEnd::kDiffers:
      line += fmt::format("then {} {} is known and {} {} seen", match.known, text_of(match.known), match.seen,
                          text_of(match.seen));
      break;
  }
  options_.prefix_log(line);
}

engine::TokenSink::Next AnswerStream::on_token(const engine::TokenEvent& event) {
  Choice& choice = choices_[static_cast<std::size_t>(event.choice)];
  begin(event.choice);
  choice.usage.tokens_cached = event.tokens_cached;
  if (event.token) {
    ++choice.usage.tokens_output;
    if (event.token != event.stop_token) {
      if (options_.logprobs) {
        LogprobDelta delta;
        delta.tokens.push_back(logprob_of({.token = *event.token, .logprob = event.logprob}, event.top));
        send(event.choice, std::move(delta));
      }
      take_token(event.choice, *event.token);
      watch_circles(choice, *event.token);
    }
  }
  if (event.finish == engine::FinishReason::kNone && !choice.cut) return Next::kContinue;
  finish(event.choice, event);
  return Next::kStop;
}

// What comes before a choice's first token: the echoed prompt.
void AnswerStream::begin(std::int32_t choice) {
  Choice& state = choices_[static_cast<std::size_t>(choice)];
  if (std::exchange(state.begun, true)) return;
  if (!options_.echo.empty()) send(choice, ContentDelta{options_.echo});
  if (!options_.echo_first_token) return;
  LogprobDelta delta{.tokens = {}, .prompt = true};
  const float none = std::numeric_limits<float>::quiet_NaN();
  delta.tokens.push_back(logprob_of({.token = *options_.echo_first_token, .logprob = none}, {}));
  send(choice, std::move(delta));
}

void AnswerStream::take_token(std::int32_t choice, std::int32_t token) {
  Choice& state = choices_[static_cast<std::size_t>(choice)];
  if (state.parser == nullptr) return take_text(choice, state.detokenizer->push(token));
  const bool reasoning = state.parser->in_reasoning();
  parsed_.clear();
  state.parser->push(token, options_.tokenizer->token_bytes(token), options_.tokenizer->is_special(token), parsed_);
  state.usage.tokens_reasoning += reasoning || state.parser->in_reasoning();  // the markers count as reasoning
  if (options_.on_turn) state.sampled.tokens.push_back(token);
  take_parsed(choice);
}

// The arguments of a call may well repeat: a file can.
void AnswerStream::watch_circles(Choice& state, std::int32_t token) {
  if (state.circles == nullptr || state.cut) return;
  if (state.parser != nullptr && state.parser->saw_tool_calls()) return;
  state.cut = state.looped = state.circles->push(token);
}

void AnswerStream::take_parsed(std::int32_t choice) {
  Choice& state = choices_[static_cast<std::size_t>(choice)];
  for (text::ParsedEvent& event : parsed_) {
    if (state.cut) return;
    if (options_.on_turn) note(state.said, event);
    if (auto* content = std::get_if<text::ParsedContent>(&event)) {
      take_text(choice, content->text);
      continue;
    }
    flush_text(choice);  // a stop string does not reach over a call or a thought
    if (auto* reasoning = std::get_if<text::ParsedReasoning>(&event)) {
      send(choice, ReasoningDelta{std::move(reasoning->text)});
    } else if (auto* call = std::get_if<text::ParsedCallBegin>(&event)) {
      std::string id = state.tool_ids.assign(call->id, call->name);
      state.renamed |= !call->id.empty() && call->id != id;
      if (options_.on_turn && !call->id.empty()) state.sampled.call_ids.push_back(id);
      state.calls.begin(call->name);
      send(choice, ToolCallBegin{.index = call->index, .id = std::move(id), .name = std::move(call->name)});
    } else if (auto* arguments = std::get_if<text::ParsedCallArguments>(&event)) {
      state.calls.arguments(arguments->text);
      send(choice, ToolCallArguments{.index = arguments->index, .text = std::move(arguments->text)});
    } else if (const auto* end = std::get_if<text::ParsedCallEnd>(&event)) {
      send(choice, ToolCallEnd{.index = end->index});
      state.looped = state.calls.end() > options_.max_identical_calls && options_.max_identical_calls > 0;
      state.cut = options_.one_call_only || state.looped;
    }
  }
}

void AnswerStream::take_text(std::int32_t choice, std::string_view text) {
  Choice& state = choices_[static_cast<std::size_t>(choice)];
  std::string certain;
  state.cut = state.stop.push(text, certain);
  if (!certain.empty()) send(choice, ContentDelta{std::move(certain)});
}

void AnswerStream::flush_text(std::int32_t choice) {
  std::string rest;
  choices_[static_cast<std::size_t>(choice)].stop.flush(rest);
  if (!rest.empty()) send(choice, ContentDelta{std::move(rest)});
}

void AnswerStream::finish(std::int32_t choice, const engine::TokenEvent& event) {
  Choice& state = choices_[static_cast<std::size_t>(choice)];
  if (!state.cut) {
    parsed_.clear();
    if (state.parser != nullptr) {
      state.parser->finish(parsed_);
      take_parsed(choice);
    } else {
      take_text(choice, state.detokenizer->finish());
    }
  }
  if (!state.cut) flush_text(choice);
  if (options_.on_turn) report_turn(state, event);
  state.usage.identical_calls = state.calls.most();
  Finished finished{.reason = finish_of(event.finish),
                    .stop_string = {},
                    .usage = state.usage,
                    .error = event.error,
                    .queue_seconds = event.queue_seconds};
  const bool called = state.parser != nullptr && state.parser->saw_tool_calls();
  if (state.cut && finished.reason != Finish::kError) {
    finished.reason = Finish::kStop;
    finished.stop_string = state.stop.matched();
  }
  if (state.looped && finished.reason == Finish::kStop) {
    finished.reason = Finish::kRepetition;
    finished.stop_string.reset();
  }
  if (finished.reason == Finish::kStop && called && !finished.stop_string) finished.reason = Finish::kToolCalls;
  send(choice, std::move(finished));
}

// An answer that a stop string cut, or whose thinking has no end, is not what its history will show.
void AnswerStream::report_turn(Choice& choice, const engine::TokenEvent& event) {
  const bool ended = event.finish == engine::FinishReason::kStop || event.finish == engine::FinishReason::kLength;
  const bool cut_by_call = choice.cut && !choice.stop.matched();
  if (!(choice.cut ? cut_by_call : ended) || !choice.parser->clean() || choice.renamed) return;
  if ((choice.parser->in_reasoning() || choice.looped) && !choice.parser->saw_tool_calls()) return;
  choice.sampled.reasons = choice.usage.tokens_reasoning > 0;
  options_.on_turn(std::move(choice.said), std::move(choice.sampled), choice.cut);
}

void AnswerStream::on_prefill(std::int64_t tokens_done, std::int64_t tokens_total) {
  send_prompt_logprobs();
  send(0, PrefillProgress{.tokens_done = tokens_done, .tokens_total = tokens_total, .tokens_cached = tokens_cached_});
}

void AnswerStream::on_prompt_logprob(std::int64_t position, engine::TokenLogprob token,
                                     std::span<const engine::TokenLogprob> top) {
  prompt_logprobs_.push_back(logprob_of(token, top));
  const bool last = position == options_.tokens_prompt - 1;
  if (last || prompt_logprobs_.size() >= kPromptLogprobsPerEvent) send_prompt_logprobs();
}

void AnswerStream::send_prompt_logprobs() {
  if (prompt_logprobs_.empty()) return;
  for (std::int32_t choice = 0; choice < options_.n; ++choice) {
    begin(choice);
    send(choice, LogprobDelta{.tokens = prompt_logprobs_, .prompt = true});
  }
  prompt_logprobs_.clear();
}

Logprob AnswerStream::logprob_of(engine::TokenLogprob token, std::span<const engine::TokenLogprob> top) const {
  Logprob result{.bytes = std::string(options_.tokenizer->token_bytes(token.token)),
                 .token = token.token,
                 .logprob = token.logprob,
                 .top = {}};
  for (const engine::TokenLogprob& other : top)
    result.top.emplace_back(options_.tokenizer->token_bytes(other.token), other.logprob);
  return result;
}

}  // namespace baltoro::llm
