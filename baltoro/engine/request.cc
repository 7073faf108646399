// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/request.h"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>

namespace baltoro::engine {
namespace {

Error invalid(std::string_view field, std::string message) {
  return {.code = Errc::kInvalidArgument, .message = "[engine] " + std::move(message), .field = std::string(field)};
}

// Also refuses NaN, which no comparison holds for.
Status check_range(std::string_view field, double value, double low, double high) {
  if (value >= low && value <= high) return {};
  return invalid(field, fmt::format("{} in {} to {} needed, got {}", field, low, high, value));
}

Status check_ids(std::string_view field, std::span<const TokenId> ids, std::int64_t vocab_size) {
  const auto bad = std::find_if(ids.begin(), ids.end(), [&](TokenId id) { return id < 0 || id >= vocab_size; });
  if (bad == ids.end()) return {};
  return invalid(
      field, fmt::format("{} in 0 to {} needed, got {} at index {}", field, vocab_size - 1, *bad, bad - ids.begin()));
}

Status check_sampling(const SamplingParams& params, std::int64_t vocab_size) {
  BALTORO_TRY_STATUS(check_range("temperature", params.temperature, 0, 100));
  BALTORO_TRY_STATUS(check_range("top_k", params.top_k, 0, 0x7fffffff));
  BALTORO_TRY_STATUS(check_range("top_p", params.top_p, 0, 1));
  if (params.top_p == 0) return invalid("top_p", "top_p over 0 needed, got 0");
  BALTORO_TRY_STATUS(check_range("min_p", params.min_p, 0, 1));
  BALTORO_TRY_STATUS(check_range("presence_penalty", params.presence_penalty, -2, 2));
  BALTORO_TRY_STATUS(check_range("frequency_penalty", params.frequency_penalty, -2, 2));
  BALTORO_TRY_STATUS(check_range("repetition_penalty", params.repetition_penalty, 0.01, 100));
  if (static_cast<std::int64_t>(params.logit_bias.size()) > vocab_size)
    return invalid("logit_bias",
                   fmt::format("at most {} entries needed, got {}", vocab_size, params.logit_bias.size()));
  for (const auto& [id, bias] : params.logit_bias) {
    BALTORO_TRY_STATUS(check_ids("logit_bias", {&id, 1}, vocab_size));
    BALTORO_TRY_STATUS(check_range("logit_bias", bias, -100, 100));
  }
  return {};
}

}  // namespace

Status check_request(const Request& request, const RequestLimits& limits) {
  const auto tokens_prompt = static_cast<std::int64_t>(request.prompt.size());
  if (request.sink == nullptr) return invalid("sink", "a sink for the events needed");
  if (request.prompt.empty()) return invalid("prompt", "a prompt of at least one token needed, got none");
  if (request.max_tokens < 0)
    return invalid("max_tokens", fmt::format("max_tokens of 0 or more needed, got {}", request.max_tokens));
  if (tokens_prompt + 1 > limits.max_context_tokens)
    return invalid("prompt", fmt::format("a prompt of at most {} tokens needed (context {} less one to answer), got {}",
                                         limits.max_context_tokens - 1, limits.max_context_tokens, tokens_prompt));
  BALTORO_TRY_STATUS(check_ids("prompt", request.prompt, limits.vocab_size));
  BALTORO_TRY_STATUS(check_ids("stop_token_ids", request.stop_token_ids, limits.vocab_size));
  BALTORO_TRY_STATUS(check_range("priority", request.priority, -1000, 1000));
  BALTORO_TRY_STATUS(check_range("timeout", request.timeout_seconds, 0, 1e9));
  BALTORO_TRY_STATUS(check_range("n", request.n, 1, static_cast<double>(limits.max_choices)));
  BALTORO_TRY_STATUS(check_range("top_logprobs", request.top_logprobs, 0, 20));
  BALTORO_TRY_STATUS(check_sampling(request.sampling, limits.vocab_size));
  // The last sampled token never gets a row.
  const std::int64_t output = std::min(request.max_tokens, limits.max_context_tokens - tokens_prompt);
  const std::int64_t rows = tokens_prompt + std::max<std::int64_t>(0, output - 1);
  if (rows > limits.kv_tokens)
    return Error{
        .code = Errc::kResourceExhausted,
        .message = fmt::format("[engine] KV of {} tokens needed for a prompt of {} and {} more, the cache holds {}",
                               rows, tokens_prompt, output, limits.kv_tokens),
        .field = "max_tokens"};
  return {};
}

}  // namespace baltoro::engine
