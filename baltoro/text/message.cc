// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/message.h"

namespace baltoro::text {

const char* role_name(Role role) {
  switch (role) {
    case Role::kSystem:
      return "system";
    case Role::kUser:
      return "user";
    case Role::kAssistant:
      return "assistant";
    case Role::kTool:
      return "tool";
  }
  return "user";
}

}  // namespace baltoro::text
