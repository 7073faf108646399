// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/request_checks.h"

#include <fmt/core.h>

#include <string_view>
#include <utility>

#include "baltoro/base/utf8.h"

namespace baltoro::llm {
namespace {

Status check_stop(const std::vector<std::string>& stop) {
  if (stop.size() > kMaxStopStrings)
    return invalid("stop", fmt::format("at most {} stop strings needed, got {}", kMaxStopStrings, stop.size()));
  for (const std::string& string : stop) {
    if (string.empty() || string.size() > kMaxStopStringBytes)
      return invalid("stop", fmt::format("stop strings of 1 to {} bytes needed, got one of {}", kMaxStopStringBytes,
                                         string.size()));
    if (!utf8_valid(string)) return invalid("stop", "stop strings in UTF-8 needed, got other bytes");
  }
  return {};
}

}  // namespace

Error invalid(std::string_view field, std::string message) {
  return {.code = Errc::kInvalidArgument, .message = "[llm] " + std::move(message), .field = std::string(field)};
}

Error prompt_too_long(std::string_view field, std::int64_t tokens, std::int64_t context_tokens) {
  return {
      .code = Errc::kPromptTooLong,
      .message = fmt::format("[llm] prompt is too long: {} tokens > {} maximum; this model's maximum context length "
                             "is {} tokens, one of them for the answer",
                             tokens, context_tokens - 1, context_tokens),
      .field = std::string(field)};
}

Status check_limits(const Sampling& sampling, const Limits& limits, std::int64_t min_tokens) {
  const auto outside = [](std::optional<float> value, float low, float high) {
    return value && !(*value >= low && *value <= high);
  };
  if (outside(sampling.temperature, 0, 2))
    return invalid("temperature", fmt::format("temperature in 0 to 2 needed, got {}", *sampling.temperature));
  if (outside(sampling.top_p, 0, 1) || sampling.top_p == 0.0f)
    return invalid("top_p", fmt::format("top_p over 0 and up to 1 needed, got {}", *sampling.top_p));
  if (limits.n < 1 || limits.n > kMaxChoices)
    return invalid("n", fmt::format("n in 1 to {} needed, got {}", kMaxChoices, limits.n));
  if (limits.max_tokens && *limits.max_tokens < min_tokens)
    return invalid("max_tokens",
                   fmt::format("max_tokens of {} or more needed, got {}", min_tokens, *limits.max_tokens));
  if (limits.top_logprobs < 0 || limits.top_logprobs > 20)
    return invalid("top_logprobs", fmt::format("top_logprobs in 0 to 20 needed, got {}", limits.top_logprobs));
  return check_stop(limits.stop);
}

Status check_chat(const ChatRequest& request) {
  BALTORO_TRY_STATUS(check_limits(request.sampling, request.limits, 1));
  if (request.conversation.messages.empty()) return invalid("messages", "at least one message needed, got none");
  if (request.thinking_budget && *request.thinking_budget < 0)
    return invalid("thinking", fmt::format("a budget of 0 or more tokens needed, got {}", *request.thinking_budget));
  return {};
}

}  // namespace baltoro::llm
