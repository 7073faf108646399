// SPDX-License-Identifier: Apache-2.0
// What a request is held against before it is rendered. Inside llm/ only.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "baltoro/base/result.h"
#include "baltoro/llm/llm.h"

namespace baltoro::llm {

inline constexpr std::int32_t kMaxChoices = 16;
inline constexpr std::size_t kMaxStopStrings = 16;
inline constexpr std::size_t kMaxStopStringBytes = 4096;

// kInvalidArgument for a field of a request or an option.
Error invalid(std::string_view field, std::string message);

// kPromptTooLong: `tokens` leave no room for an answer. Worded as agents look for it before they shorten a
// conversation.
Error prompt_too_long(std::string_view field, std::int64_t tokens, std::int64_t context_tokens);

// kInvalidArgument names the field: temperature 0..2, top_p (0, 1], n 1..16, at most 16 stop strings of 1..4096 bytes,
// top_logprobs 0..20, max_tokens at least `min_tokens`. The engine checks the rest.
Status check_limits(const Sampling& sampling, const Limits& limits, std::int64_t min_tokens);
// Also: at least one message; a thinking_budget that is no less than 0.
Status check_chat(const ChatRequest& request);

}  // namespace baltoro::llm
