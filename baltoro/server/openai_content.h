// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "baltoro/server/api_limits.h"
#include "baltoro/server/field_reader.h"
#include "baltoro/server/unread_parts.h"

namespace baltoro::server {

// A member that is text or an array of parts with text: type text, input_text, output_text or reasoning_text with
// `text`, refusal with `refusal`. The parts' texts are joined. Nothing when absent or wrong (the error is in `reader`).
std::optional<std::string> read_text(FieldReader& reader, std::string_view key, const ApiLimits& limits, Unread unread);

}  // namespace baltoro::server
