// SPDX-License-Identifier: Apache-2.0
// Any bytes as the body of a completion request: an error that can be sent, or requests within every limit.
#include <cstdint>
#include <string_view>

#include "baltoro/base/check.h"
#include "baltoro/server/field_reader.h"
#include "baltoro/server/openai_completions.h"
#include "baltoro/server/openai_errors.h"
#include "tests/fuzz/request_checks.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace baltoro;
  using namespace baltoro::server;
  const ApiLimits limits;
  const auto body = parse_body(fuzz_text(data, size), limits);
  const auto call = body.ok() ? parse_completion(*body, limits) : Result<CompletionCall>(body.error());
  if (!call.ok()) {
    check_request_error(call.error(), openai_error_response(call.error()));
    return 0;
  }
  BALTORO_CHECK(!call->requests.empty() && call->requests.size() <= limits.max_prompts, "prompts in their limit");
  for (const llm::CompletionRequest& request : call->requests) {
    BALTORO_CHECK(request.limits.n >= 1, "n in its range");
    BALTORO_CHECK(static_cast<std::int64_t>(call->requests.size()) * request.limits.n <= limits.max_choices,
                  "choices in their limit");
    BALTORO_CHECK(request.limits.max_tokens.has_value() && *request.limits.max_tokens >= (request.echo ? 0 : 1),
                  "max_tokens in its range");
    if (const auto* ids = std::get_if<1>(&request.prompt)) {
      for (const std::int32_t id : *ids) BALTORO_CHECK(id >= 0, "ids are not negative");
    }
  }
  return 0;
}
