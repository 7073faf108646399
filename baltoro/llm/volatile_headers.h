// SPDX-License-Identifier: Apache-2.0
// Lines that clients put in front of a system prompt for a provider's accounting. They change with every request, mean
// nothing to a model, and would make every prompt a new one. Inside llm/ only.
#pragma once

#include <string_view>

#include "baltoro/text/message.h"

namespace baltoro::llm {

// `content` of a system message without such lines at its start. The list:
//   x-anthropic-billing-header: ...   Claude Code since 2.1 (version, entry point and a digest of the request)
std::string_view without_volatile_headers(std::string_view content);

// Takes them from the start of all system messages; a message that held nothing else goes. True: some were there.
bool strip_volatile_headers(text::Conversation& conversation);

}  // namespace baltoro::llm
