// SPDX-License-Identifier: Apache-2.0
// Validates values against schemas the plain way, for tests: what the grammar is held against.
#pragma once

#include <algorithm>
#include <string>

#include "baltoro/base/json.h"
#include "baltoro/text/schema_merge.h"

namespace baltoro::text {

inline bool satisfies(const json::Value& document, const json::Value& schema, const json::Value& value) {
  using json::Value;
  if (schema.is_bool()) return schema.as_bool();
  const auto all = [&](const char* key, auto ok) {
    const Value* found = schema.find(key);
    return found == nullptr || ok(*found);
  };
  const auto is = [&](const std::string& type) {
    return type == "object"    ? value.is_object()
           : type == "array"   ? value.is_array()
           : type == "string"  ? value.is_string()
           : type == "number"  ? value.is_number()
           : type == "integer" ? value.is_integer()
           : type == "boolean" ? value.is_bool()
                               : value.is_null();
  };
  if (!all("$ref",
           [&](const Value& ref) { return satisfies(document, *resolve_reference(document, ref.as_string()), value); }))
    return false;
  if (!all("type", [&](const Value& type) {
        if (type.is_string()) return is(type.as_string());
        return std::any_of(type.as_array().begin(), type.as_array().end(),
                           [&](const Value& t) { return is(t.as_string()); });
      }))
    return false;
  const auto one_of = [&](const Value& list) {
    return std::any_of(list.as_array().begin(), list.as_array().end(),
                       [&](const Value& s) { return satisfies(document, s, value); });
  };
  if (!all("anyOf", one_of) || !all("oneOf", one_of)) return false;
  if (!all("allOf", [&](const Value& list) {
        return std::all_of(list.as_array().begin(), list.as_array().end(),
                           [&](const Value& s) { return satisfies(document, s, value); });
      }))
    return false;
  if (!all("enum",
           [&](const Value& list) {
             return std::find(list.as_array().begin(), list.as_array().end(), value) != list.as_array().end();
           }) ||
      !all("const", [&](const Value& c) { return c == value; }))
    return false;
  if (value.is_number()) {
    const double v = value.as_double();
    return all("minimum", [&](const Value& b) { return v >= b.as_double(); }) &&
           all("maximum", [&](const Value& b) { return v <= b.as_double(); }) &&
           all("exclusiveMinimum", [&](const Value& b) { return v > b.as_double(); }) &&
           all("exclusiveMaximum", [&](const Value& b) { return v < b.as_double(); });
  }
  if (value.is_string()) {
    const std::string& text = value.as_string();
    const auto length =
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
    return all("minLength", [&](const Value& b) { return static_cast<double>(length) >= b.as_double(); }) &&
           all("maxLength", [&](const Value& b) { return static_cast<double>(length) <= b.as_double(); });
  }
  if (value.is_array()) {
    const auto& items = value.as_array();
    const Value* first = schema.find("prefixItems");
    const std::size_t prefix = first == nullptr ? 0 : first->as_array().size();
    for (std::size_t i = 0; i < items.size(); ++i) {
      const Value* rule = i < prefix ? &first->as_array()[i] : schema.find("items");
      if (rule != nullptr && !satisfies(document, *rule, items[i])) return false;
    }
    return all("minItems", [&](const Value& b) { return static_cast<double>(items.size()) >= b.as_double(); }) &&
           all("maxItems", [&](const Value& b) { return static_cast<double>(items.size()) <= b.as_double(); });
  }
  if (!value.is_object()) return true;
  const Value* properties = schema.find("properties");
  const Value* additional = schema.find("additionalProperties");
  for (const auto& [name, member] : value.as_object()) {
    const Value* rule = properties == nullptr ? nullptr : properties->find(name);
    if (rule == nullptr) rule = additional;
    if (rule != nullptr && !satisfies(document, *rule, member)) return false;
  }
  return all("required", [&](const Value& names) {
    return std::all_of(names.as_array().begin(), names.as_array().end(),
                       [&](const Value& name) { return value.find(name.as_string()) != nullptr; });
  });
}

}  // namespace baltoro::text
