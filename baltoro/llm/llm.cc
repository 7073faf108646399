// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/llm.h"

namespace baltoro::llm {

const char* finish_name(Finish finish) {
  switch (finish) {
    case Finish::kStop:
      return "stop";
    case Finish::kLength:
      return "length";
    case Finish::kToolCalls:
      return "tool_calls";
    case Finish::kCancelled:
      return "cancelled";
    case Finish::kError:
      return "error";
    case Finish::kRepetition:
      return "repetition";
  }
  return "error";
}

Result<std::string> Backend::detokenize(const std::vector<std::int32_t>&) {
  return Error{Errc::kUnsupported, "this model does not tell its tokens' texts"};
}

}  // namespace baltoro::llm
