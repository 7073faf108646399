// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/script_target.h"

#include <fmt/core.h>

#include <algorithm>

#include "baltoro/llm/prompt_outline.h"

namespace baltoro::llm {
namespace {

using text::ChatFamily;
using text::TokenId;

constexpr std::string_view kThinkBegin = "<think>", kThinkEnd = "</think>";

std::string arguments_of(const ScriptedCall& call) {
  return call.arguments.is_string() ? call.arguments.as_string() : json::dump(call.arguments);
}

void append_kimi_calls(const std::vector<ScriptedCall>& calls, std::int64_t calls_before, TokenText& out) {
  if (calls.empty()) return;
  out.control("<|tool_calls_section_begin|>");
  for (const ScriptedCall& call : calls) {
    out.control("<|tool_call_begin|>");
    out.text(call.id.empty() ? fmt::format("functions.{}:{}", call.name, calls_before) : call.id);
    ++calls_before;
    out.control("<|tool_call_argument_begin|>");
    out.text(arguments_of(call));
    out.control("<|tool_call_end|>");
  }
  out.control("<|tool_calls_section_end|>");
}

void append_deepseek_calls(const std::vector<ScriptedCall>& calls, bool v31, TokenText& out) {
  if (calls.empty()) return;
  out.control("<｜tool▁calls▁begin｜>");
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (i > 0 && !v31) out.text("\n");
    out.control("<｜tool▁call▁begin｜>");
    out.text(v31 ? std::string_view(calls[i].name) : "function");
    out.control("<｜tool▁sep｜>");
    out.text(v31 ? arguments_of(calls[i]) : fmt::format("{}\n```json\n{}\n```", calls[i].name, arguments_of(calls[i])));
    out.control("<｜tool▁call▁end｜>");
  }
  out.control("<｜tool▁calls▁end｜>");
}

bool family_thinks(ChatFamily family) { return family != ChatFamily::kK2Instruct && family != ChatFamily::kDeepSeekV3; }

}  // namespace

void TokenText::append(std::span<const TokenId> ids) {
  for (const TokenId id : ids) {
    ids_.push_back(id);
    begins_.push_back(bytes_.size());
    bytes_ += tokenizer_->token_bytes(id);
  }
}

void TokenText::text(std::string_view text) { append(tokenizer_->encode(text)); }
void TokenText::with_controls(std::string_view text) { append(tokenizer_->encode(text, text::ParseSpecial::kYes)); }
void TokenText::control(std::string_view name) {
  const auto id = tokenizer_->special_id(name);
  if (!id) return text(name);
  append({&*id, 1});
}

std::optional<TokenId> TokenText::next(std::string_view written) const {
  const std::size_t compared = std::min(written.size(), bytes_.size());
  if (written.substr(0, compared) != std::string_view(bytes_).substr(0, compared)) return std::nullopt;
  std::size_t at = written.size();
  if (at >= bytes_.size()) {
    if (!endless_ || bytes_.empty()) return std::nullopt;
    at %= bytes_.size();
  }
  const auto after = std::upper_bound(begins_.begin(), begins_.end(), at);
  const auto token = static_cast<std::size_t>(after - begins_.begin()) - 1;
  if (begins_[token] == at) return ids_[token];
  // In the middle of a token: another split of the same text was drawn.
  const std::size_t end = after == begins_.end() ? bytes_.size() : *after;
  const auto rest = tokenizer_->encode(std::string_view(bytes_).substr(at, end - at));
  if (rest.empty()) return std::nullopt;
  return rest.front();
}

ScriptTarget::ScriptTarget(const ScriptedAnswer& answer, ChatFamily family, const text::Tokenizer& tokenizer,
                           std::int64_t calls_before)
    : family_(family), thinking_(tokenizer), rest_(tokenizer) {
  thinking_.control(kThinkBegin);
  if (family == ChatFamily::kDeepSeekR1) thinking_.text("\n");
  thinking_.text(answer.thinking);
  thinking_.control(kThinkEnd);
  write_rest(answer, calls_before);
}

void ScriptTarget::write_rest(const ScriptedAnswer& answer, std::int64_t calls_before) {
  if (!answer.raw.empty()) return rest_.with_controls(answer.raw);
  rest_.text(answer.content);
  if (answer.endless) return rest_.make_endless();
  if (is_deepseek(family_)) {
    append_deepseek_calls(answer.calls, family_ == ChatFamily::kDeepSeekV31, rest_);
    rest_.control("<｜end▁of▁sentence｜>");
  } else {
    append_kimi_calls(answer.calls, calls_before, rest_);
    rest_.control("<|im_end|>");
  }
}

// Kimi's K2 Thinking opens its thinking itself; for all others the prompt does.
bool ScriptTarget::may_think(ChatFamily family, std::string_view written) {
  if (family == ChatFamily::kK2Thinking) return true;
  if (!family_thinks(family) || !written.starts_with(kThinkBegin)) return false;
  return !written.substr(kThinkBegin.size()).starts_with(kThinkEnd);
}

std::optional<TokenId> ScriptTarget::next(std::string_view written) const {
  if (const std::size_t end = written.find(kThinkEnd); end != std::string_view::npos && family_thinks(family_))
    return rest_.next(written.substr(end + kThinkEnd.size()));
  return may_think(family_, written) ? thinking_.next(written) : rest_.next(written);
}

}  // namespace baltoro::llm
