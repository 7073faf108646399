// SPDX-License-Identifier: Apache-2.0
// What OpenAI's chat and text completions have in common.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "baltoro/base/json.h"
#include "baltoro/llm/llm.h"
#include "baltoro/server/api_limits.h"
#include "baltoro/server/field_reader.h"

namespace baltoro::server {

// temperature, top_p, presence_penalty, frequency_penalty, seed, logit_bias and the usual extensions top_k, min_p and
// repetition_penalty. Errors stay in `reader`.
llm::Sampling read_sampling(FieldReader& reader, const ApiLimits& limits);

// n, stop and the extensions stop_token_ids, ignore_eos.
llm::Limits read_limits(FieldReader& reader, const ApiLimits& limits);

struct StreamChoice {
  bool stream = false;
  bool include_usage = false;
};
// stream, stream_options.
StreamChoice read_stream(FieldReader& reader);

// The name of the model asked for; "" when absent.
std::string read_model(FieldReader& reader);

// OpenAI's usage object with Moonshot's cached_tokens, and identical_tool_calls where a call came more than once.
json::Value usage_json(const llm::Usage& usage);

// The sum over choices: prompts count once per prompt, i.e. for the choices that are multiples of `n`.
void add_usage(llm::Usage& total, const llm::Usage& choice_usage, std::int32_t choice, std::int32_t n);

// A token's text for JSON: its bytes, malformed parts as U+FFFD.
std::string token_text(const std::string& bytes);

// A finite number for JSON: -infinity becomes -9999, as OpenAI does; NaN becomes null.
json::Value logprob_json(float logprob);

// Tokens with their log-probabilities, bytes and best alternatives, as Chat Completions and Responses write them.
json::Array tokens_json(const std::vector<llm::Logprob>& tokens);

}  // namespace baltoro::server
