// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/prompt_outline.h"

#include <algorithm>

namespace baltoro::llm {

using text::ChatFamily;
using text::TokenId;

bool is_deepseek(ChatFamily family) {
  return family == ChatFamily::kDeepSeekV3 || family == ChatFamily::kDeepSeekR1 || family == ChatFamily::kDeepSeekV31;
}

OutlineReader::OutlineReader(ChatFamily family, const text::Tokenizer& tokenizer) : family_(family) {
  const auto id = [&](std::string_view name) { return tokenizer.special_id(name).value_or(-1); };
  if (is_deepseek(family)) {
    user_ = id("<｜User｜>");
    assistant_ = id("<｜Assistant｜>");
    end_ = id("<｜end▁of▁sentence｜>");
    call_ = id("<｜tool▁call▁begin｜>");
    output_begin_ = id("<｜tool▁output▁begin｜>");
    output_end_ = id("<｜tool▁output▁end｜>");
    outputs_end_ = id("<｜tool▁outputs▁end｜>");
    return;
  }
  system_ = id("<|im_system|>");
  user_ = id("<|im_user|>");
  assistant_ = id("<|im_assistant|>");
  middle_ = id("<|im_middle|>");
  end_ = id("<|im_end|>");
  call_ = id("<|tool_call_begin|>");
  tool_heading_ = tokenizer.encode("## Return of");
}

PromptOutline OutlineReader::read(std::span<const TokenId> tokens) const {
  return is_deepseek(family_) ? read_deepseek(tokens) : read_kimi(tokens);
}

// message := ROLE name <|im_middle|> body <|im_end|>
PromptOutline OutlineReader::read_kimi(std::span<const TokenId> tokens) const {
  PromptOutline outline;
  const auto is_role = [&](TokenId id) { return id == system_ || id == user_ || id == assistant_; };
  std::size_t i = 0;
  while (i < tokens.size()) {
    if (!is_role(tokens[i])) {
      ++i;
      continue;
    }
    const TokenId role = tokens[i++];
    while (i < tokens.size() && tokens[i] != middle_ && tokens[i] != end_ && !is_role(tokens[i])) ++i;
    if (i == tokens.size() || tokens[i] != middle_) continue;
    OutlinedMessage message{.speaker = Speaker::kSystem, .begin = ++i, .end = 0};
    for (; i < tokens.size() && tokens[i] != end_ && !is_role(tokens[i]); ++i) message.calls += tokens[i] == call_;
    message.end = i;
    const auto body = tokens.subspan(message.begin, message.end - message.begin);
    if (role == user_) message.speaker = Speaker::kUser;
    if (role == assistant_) message.speaker = Speaker::kAssistant;
    if (role == system_ && body.size() >= tool_heading_.size() &&
        std::equal(tool_heading_.begin(), tool_heading_.end(), body.begin()))
      message.speaker = Speaker::kTool;
    if (message.speaker != Speaker::kAssistant) message.calls = 0;
    if (role == assistant_ && i == tokens.size()) {
      outline.answer_begin = message.begin;
    } else {
      outline.messages.push_back(message);
    }
  }
  return outline;
}

// BOS system <｜User｜>text<｜Assistant｜>text<｜end▁of▁sentence｜>; after tool results the assistant goes on without
// its marker: behind <｜tool▁outputs▁end｜>, or in V3.1 behind the last result.
PromptOutline OutlineReader::read_deepseek(std::span<const TokenId> tokens) const {
  PromptOutline outline;
  std::optional<OutlinedMessage> open = OutlinedMessage{.speaker = Speaker::kSystem, .begin = 0, .end = 0};
  const auto close = [&](std::size_t end) {
    if (open && (end > open->begin || open->speaker == Speaker::kUser)) {
      open->end = end;
      if (open->speaker != Speaker::kAssistant) open->calls = 0;
      outline.messages.push_back(*open);
    }
    open.reset();
  };
  const auto begin = [&](Speaker speaker, std::size_t at) {
    close(at);
    open = OutlinedMessage{.speaker = speaker, .begin = at + 1, .end = 0};
  };
  const bool v31 = family_ == ChatFamily::kDeepSeekV31;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const TokenId id = tokens[i];
    if (id == user_) begin(Speaker::kUser, i);
    if (id == assistant_ || id == outputs_end_) begin(Speaker::kAssistant, i);
    if (id == end_) close(i);
    if (id == output_begin_) begin(Speaker::kTool, i);
    if (id == output_end_) {
      close(i);
      if (v31) begin(Speaker::kAssistant, i);
    }
    if (id == call_ && open) ++open->calls;
  }
  if (open && open->speaker == Speaker::kAssistant) {
    outline.answer_begin = open->begin;
  } else {
    close(tokens.size());
  }
  return outline;
}

}  // namespace baltoro::llm
