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

}  // namespace baltoro::llm
