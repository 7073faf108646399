// SPDX-License-Identifier: Apache-2.0
// Schemas as JSON values: references and conjunctions. Inside text/ only.
#pragma once

#include <optional>
#include <string_view>

#include "baltoro/base/json.h"

namespace baltoro::text {

// What a reference within the document ("#", "#/$defs/X", ...) points at, or nullptr. O(document).
const json::Value* resolve_reference(const json::Value& document, std::string_view reference);

// A schema of what satisfies both. `exact` turns false where that could not be said and something of `b` was dropped.
json::Value merge_schemas(json::Value a, const json::Value& b, bool& exact);

// Whether the keyword constrains nothing.
bool is_annotation(std::string_view keyword);
// Without annotations and definitions: what must be merged into each option beside it.
json::Value constraints_of(const json::Value& schema);

// Whether no value can satisfy both: other types, other constants, or a required member that tells them apart.
bool exclude_each_other(const json::Value& document, const json::Value& a, const json::Value& b, int depth = 0);

}  // namespace baltoro::text
