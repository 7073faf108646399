// SPDX-License-Identifier: Apache-2.0
// How clients of OpenAI's APIs ask for more or less thinking.
#pragma once

#include <string>
#include <string_view>

#include "baltoro/llm/llm.h"
#include "baltoro/server/field_reader.h"

namespace baltoro::server {

// A member that is an effort: none, minimal, low, medium, high, xhigh or max. These models know thinking and none, so
// "none" switches it off and the others leave the family's default. Returns the word, "" when absent.
std::string read_effort(FieldReader& reader, std::string_view key, llm::ChatRequest& request);

// Chat's ways, the later named wins: OpenAI's reasoning_effort; the open engines' chat_template_kwargs{thinking,
// enable_thinking, preserve_thinking, thinking_effort, thinking_budget}; vLLM's thinking_token_budget and Qwen's
// thinking_budget; Moonshot's thinking{type, keep, effort, budget_tokens}. Reads `request`'s messages: what
// thinking.keep gives up is taken from them.
void read_thinking(FieldReader& reader, llm::ChatRequest& request);

}  // namespace baltoro::server
