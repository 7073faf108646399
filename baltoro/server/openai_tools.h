// SPDX-License-Identifier: Apache-2.0
// Tools and the choice among them, as Chat Completions and Responses write them.
#pragma once

#include <vector>

#include "baltoro/base/json.h"
#include "baltoro/llm/llm.h"
#include "baltoro/server/api_limits.h"
#include "baltoro/server/field_reader.h"

namespace baltoro::server {

// Where a function's fields are: {"type":"function","function":{"name":...}} in Chat Completions,
// {"type":"function","name":...} in Responses.
enum class ToolShape : std::uint8_t { kNested, kFlat };

// The member `tools`. Names are [A-Za-z0-9_.-]{1,256} and unique. Nested: functions, and Moonshot's builtin_function,
// whose names begin with '$'; declarations are kept as they came. Flat: functions, brought into the nested form;
// tools of other types are left out, as they run on other servers. Errors stay in `reader`.
std::vector<text::Tool> read_tools(FieldReader& reader, ToolShape shape, const ApiLimits& limits);

// The member `tool_choice` for the tools that `request` holds: auto, none, required, a function, or allowed_tools.
void read_tool_choice(FieldReader& reader, ToolShape shape, llm::ChatRequest& request);

}  // namespace baltoro::server
