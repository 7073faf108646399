// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/schema_leaves.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "baltoro/text/number_dfa.h"
#include "baltoro/text/pattern_dfa.h"
#include "baltoro/text/string_formats.h"

namespace baltoro::text {
namespace {

using json::Array;
using json::Value;
using Kind = SchemaNode::Kind;

constexpr std::size_t kMaxCostedLiterals = 200'000;  // bytes of enum texts

std::size_t code_points(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool has_type(const Value& value, std::string_view type) {
  if (type == "integer")
    return value.is_integer() ||
           (value.is_number() && value.as_double() == static_cast<double>(static_cast<std::int64_t>(
                                                          std::clamp(value.as_double(), -9e18, 9e18))));
  if (type == "number") return value.is_number();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_bool();
  if (type == "null") return value.is_null();
  return type == "object" ? value.is_object() : type == "array" && value.is_array();
}

}  // namespace

std::optional<std::uint32_t> count_of(const Value& schema, std::string_view key) {
  const Value* value = schema.find(key);
  if (value == nullptr || !value->is_number() || value->as_double() < 0) return std::nullopt;
  return static_cast<std::uint32_t>(std::min(value->as_double(), 4e9));
}

Error SchemaLeaves::wrong(std::string_view path, std::string_view what) const {
  return {Errc::kInvalidArgument, fmt::format("[schema] {}: {}", path, what)};
}
// Strict: an error. Else a note, and the caller goes on without the keyword.
Status SchemaLeaves::loosen(const std::string& path, std::string_view what) {
  if (strict_) return wrong(path, fmt::format("{} cannot be enforced", what));
  if (graph_.loosened.size() < 64) graph_.loosened.push_back(fmt::format("{}: {}", path, what));
  return {};
}

NodeId SchemaLeaves::add(SchemaNode node) {
  graph_.nodes.push_back(std::move(node));
  return static_cast<NodeId>(graph_.nodes.size() - 1);
}
NodeId SchemaLeaves::regular(std::uint32_t dfa) { return add({.kind = Kind::kRegular, .dfa = dfa}); }
NodeId SchemaLeaves::nothing() { return add({.kind = Kind::kChoice}); }

Result<NodeId> SchemaLeaves::literals(const std::vector<std::string>& texts) {
  std::string key;
  for (const std::string& text : texts) key += text + "\n";
  const auto [found, added] = literals_.try_emplace(key, 0);
  if (added) found->second = regular(graph_.dfas.add_literals(texts, trie_));
  return found->second;
}

// enum and const: those values that fit the other keywords.
Result<NodeId> SchemaLeaves::values_of(const Value& schema, const std::vector<std::string>& types,
                                       const std::string& path) {
  Array values;
  if (const Value* list = schema.find("enum"); list != nullptr) {
    if (!list->is_array()) {
      BALTORO_TRY_STATUS(loosen(path, "an enum that is no array"));
      return any_;
    }
    values = list->as_array();
  }
  if (const Value* one = schema.find("const"); one != nullptr) {
    const bool fits = schema.find("enum") == nullptr || std::find(values.begin(), values.end(), *one) != values.end();
    values = fits ? Array{*one} : Array{};
  }
  std::vector<std::string> texts;
  std::size_t bytes = 0;
  for (const Value& value : values) {
    BALTORO_TRY(const bool good, fits(value, schema, types, path));
    if (!good) continue;
    texts.push_back(json::dump(value));
    bytes += texts.back().size();
  }
  if (values.size() > kMaxEnumValues || bytes > kMaxCostedLiterals) {
    BALTORO_TRY_STATUS(loosen(path, "an enum this large"));
    return any_;
  }
  if (texts.empty()) return nothing();
  return literals(texts);
}

// Whether an enum's value fits the other keywords. Where that cannot be told it does, loosened.
Result<bool> SchemaLeaves::fits(const Value& value, const Value& schema, const std::vector<std::string>& types,
                                const std::string& path) {
  if (!types.empty() &&
      std::none_of(types.begin(), types.end(), [&](const auto& type) { return has_type(value, type); }))
    return false;
  if (value.is_number()) return number_fits(value, schema, path);
  if (value.is_string()) return string_fits(value, schema, path);
  if (!value.is_array() && !value.is_object()) return true;
  for (const char* key : {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "properties",
                          "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties",
                          "maxProperties", "dependentRequired"})
    if (schema.find(key) != nullptr) BALTORO_TRY_STATUS(loosen(path, fmt::format("{} beside an enum", key)));
  return true;
}

Result<bool> SchemaLeaves::number_fits(const Value& value, const Value& schema, const std::string& path) {
  const double v = value.as_double();
  const auto bound = [&](const char* key, auto ok) {
    const Value* limit = schema.find(key);
    return limit == nullptr || !limit->is_number() || ok(limit->as_double());
  };
  if (!bound("minimum", [&](double b) { return v >= b; }) || !bound("maximum", [&](double b) { return v <= b; }) ||
      !bound("exclusiveMinimum", [&](double b) { return v > b; }) ||
      !bound("exclusiveMaximum", [&](double b) { return v < b; }))
    return false;
  const Value* step = schema.find("multipleOf");
  if (step == nullptr) return true;
  if (value.is_integer() && step->is_integer() && step->as_int() > 0) return value.as_int() % step->as_int() == 0;
  BALTORO_TRY_STATUS(loosen(path, "multipleOf beside an enum"));
  return true;
}

Result<bool> SchemaLeaves::string_fits(const Value& value, const Value& schema, const std::string& path) {
  const auto length = static_cast<std::uint32_t>(std::min<std::size_t>(code_points(value.as_string()), kNoLimit));
  if (length < count_of(schema, "minLength").value_or(0) || length > count_of(schema, "maxLength").value_or(kNoLimit))
    return false;
  if (const Value* pattern = schema.find("pattern"); pattern != nullptr && pattern->is_string()) {
    const std::uint32_t dfa = pattern_dfa(pattern->as_string(), 0, kNoLimit);
    if (dfa != kDeadState) {
      if (!graph_.dfas.matches(dfa, json::dump(value))) return false;
    } else {
      BALTORO_TRY_STATUS(loosen(path, "this pattern"));
    }
  }
  // What has the pattern has the format; of what has not nobody knows.
  if (const Value* format = schema.find("format"); format != nullptr && format->is_string()) {
    const std::string wanted(format_pattern(format->as_string()));
    const std::uint32_t dfa = wanted.empty() ? kDeadState : pattern_dfa(wanted, 0, kNoLimit);
    if (dfa == kDeadState || !graph_.dfas.matches(dfa, json::dump(value)))
      BALTORO_TRY_STATUS(loosen(path, "this format beside an enum"));
  }
  return true;
}

std::uint32_t SchemaLeaves::pattern_dfa(const std::string& pattern, std::uint32_t least, std::uint32_t most) {
  const std::string key = fmt::format("{}:{}:{}", least, most, pattern);
  if (const auto known = patterns_.find(key); known != patterns_.end()) return known->second;
  std::uint32_t dfa = kDeadState;
  if (const auto tree = parse_pattern(pattern); tree.ok()) {
    auto draft = pattern_draft(*tree, least, most);
    // A shorter maximum is a stricter one: better than none.
    for (const std::uint32_t more : {256U, 32U})
      if (!draft.ok() && most != kNoLimit && most - least > more) draft = pattern_draft(*tree, least, least + more);
    if (draft.ok()) dfa = graph_.dfas.add(*draft);
  }
  patterns_.emplace(key, dfa);
  return dfa;
}

Result<NodeId> SchemaLeaves::string(const Value& schema, const std::string& path) {
  const std::uint32_t least = count_of(schema, "minLength").value_or(0);
  const std::uint32_t most = count_of(schema, "maxLength").value_or(kNoLimit);
  if (least > most) return nothing();
  const Value* pattern = schema.find("pattern");
  const Value* format = schema.find("format");
  std::string wanted;
  if (pattern != nullptr && pattern->is_string()) {
    wanted = pattern->as_string();
    if (format != nullptr) BALTORO_TRY_STATUS(loosen(path, "format beside a pattern"));
  } else if (format != nullptr && format->is_string()) {
    wanted = format_pattern(format->as_string());
    if (wanted.empty()) BALTORO_TRY_STATUS(loosen(path, "this format"));
  }
  if (!wanted.empty()) {
    const std::uint32_t dfa = pattern_dfa(wanted, least, most);
    if (dfa != kDeadState) return regular(dfa);
    BALTORO_TRY_STATUS(loosen(path, "this pattern"));
  }
  return add({.kind = Kind::kString, .least = least, .most = most});
}

Result<NodeId> SchemaLeaves::number(const Value& schema, bool integer, const std::string& path) {
  NumberBounds bounds{.integer = integer};
  const auto take = [&](const char* key, bool exclusive, std::optional<DecimalBound>& bound, bool low) {
    const Value* value = schema.find(key);
    if (value == nullptr || !value->is_number()) return;
    DecimalBound found = DecimalBound::parse(json::dump(*value), exclusive);
    if (!bound || (low ? less(*bound, found) : less(found, *bound)) ||
        (exclusive && !less(*bound, found) && !less(found, *bound)))
      bound = std::move(found);
  };
  // Draft 4 says "exclusiveMinimum": true.
  const auto flag = [&](const char* key) {
    const Value* value = schema.find(key);
    return value != nullptr && value->is_bool() && value->as_bool();
  };
  take("minimum", flag("exclusiveMinimum"), bounds.low, true);
  take("exclusiveMinimum", true, bounds.low, true);
  take("maximum", flag("exclusiveMaximum"), bounds.high, false);
  take("exclusiveMaximum", true, bounds.high, false);
  if (const Value* step = schema.find("multipleOf"); step != nullptr) {
    if (*step == Value(1) || (step->is_number() && step->as_double() == 1.0)) {
      bounds.integer = true;
    } else {
      BALTORO_TRY_STATUS(loosen(path, "multipleOf"));
    }
  }
  const std::uint32_t dfa = graph_.dfas.add(number_draft(bounds));
  return dfa == kDeadState ? nothing() : regular(dfa);
}

}  // namespace baltoro::text
