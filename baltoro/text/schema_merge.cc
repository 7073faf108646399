// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/schema_merge.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

namespace baltoro::text {
namespace {

using json::Array;
using json::Object;
using json::Value;

constexpr std::size_t kMaxPairs = 64;  // of options that are multiplied out

bool contains(const Array& array, const Value& value) {
  return std::find(array.begin(), array.end(), value) != array.end();
}

Array as_list(const Value& value) { return value.is_array() ? value.as_array() : Array{value}; }

Value both(const Value& a, const Value& b) {
  if (a == b) return a;
  if (a.is_bool()) return a.as_bool() ? b : a;
  if (b.is_bool()) return b.as_bool() ? a : b;
  return Object{{"allOf", Array{a, b}}};
}

Value intersect_types(const Value& a, const Value& b) {
  const Array left = as_list(a), right = as_list(b);
  Array out;
  for (const Value& type : left) {
    if (contains(right, type)) {
      out.push_back(type);
    } else if (type == Value("integer") && contains(right, "number")) {
      out.push_back(type);
    } else if (type == Value("number") && contains(right, "integer")) {
      out.push_back("integer");
    }
  }
  return out;
}

Value intersect_values(const Value& a, const Value& b) {
  Array out;
  if (a.is_array() && b.is_array())
    for (const Value& value : a.as_array())
      if (contains(b.as_array(), value)) out.push_back(value);
  return out;
}

Value unite(const Value& a, const Value& b) {
  Value out = a;
  if (!a.is_array() || !b.is_array()) return a.is_array() ? a : b;
  for (const Value& value : b.as_array())
    if (!contains(out.as_array(), value)) out.as_array().push_back(value);
  return out;
}

// Members that only one side declares are additional ones to the other.
Value merge_properties(const Value& a, const Value& b) {
  static const Value kEverything = true, kNone = Object{};
  const Value* a_list = a.find("properties");
  const Value* b_list = b.find("properties");
  const auto additional = [](const Value& schema) {
    const Value* found = schema.find("additionalProperties");
    return found == nullptr ? kEverything : *found;
  };
  const Value& left = a_list != nullptr && a_list->is_object() ? *a_list : kNone;
  const Value& right = b_list != nullptr && b_list->is_object() ? *b_list : kNone;
  Object out;
  for (const auto& [name, schema] : left.as_object()) {
    const Value* other = right.find(name);
    out.emplace_back(name, both(schema, other != nullptr ? *other : additional(b)));
  }
  for (const auto& [name, schema] : right.as_object())
    if (left.find(name) == nullptr) out.emplace_back(name, both(schema, additional(a)));
  return out;
}

bool merge_options(Value& a, const Value& b, const std::string& key) {
  Value* left = a.find(key);
  if (left == nullptr) {
    a.set(key, b);
    return true;
  }
  if (*left == b) return true;
  if (!left->is_array() || !b.is_array() || left->as_array().size() * b.as_array().size() > kMaxPairs) return false;
  Array product;
  for (const Value& one : left->as_array())
    for (const Value& other : b.as_array()) product.push_back(both(one, other));
  *left = std::move(product);
  return true;
}

bool is_any_of(std::string_view key, std::initializer_list<std::string_view> keys) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

// The values that a schema leaves, where it names them.
const Value* named_values(const Value& schema) {
  const Value* values = schema.find("enum");
  return values != nullptr && values->is_array() ? values : nullptr;
}

}  // namespace

const Value* resolve_reference(const Value& document, std::string_view reference) {
  if (!reference.starts_with('#')) return nullptr;
  reference.remove_prefix(1);
  const Value* at = &document;
  while (!reference.empty()) {
    if (reference[0] != '/') return nullptr;
    const std::size_t end = std::min(reference.find('/', 1), reference.size());
    std::string key;
    for (std::size_t i = 1; i < end; ++i) {
      if (reference[i] == '~' && i + 1 < end && (reference[i + 1] == '0' || reference[i + 1] == '1')) {
        key += reference[++i] == '0' ? '~' : '/';
      } else if (unsigned code = 0;
                 reference[i] == '%' && i + 2 < end &&
                 std::from_chars(&reference[i + 1], &reference[i + 1] + 2, code, 16).ptr == &reference[i + 1] + 2) {
        key += static_cast<char>(code);
        i += 2;
      } else {
        key += reference[i];
      }
    }
    reference.remove_prefix(end);
    if (at->is_array()) {
      std::size_t index = 0;
      const auto [rest, error] = std::from_chars(key.data(), key.data() + key.size(), index);
      if (error != std::errc() || rest != key.data() + key.size() || index >= at->as_array().size()) return nullptr;
      at = &at->as_array()[index];
    } else {
      at = at->find(key);
      if (at == nullptr) return nullptr;
    }
  }
  return at;
}

bool is_annotation(std::string_view keyword) {
  return is_any_of(keyword, {"title", "description", "default", "examples", "example", "$comment", "deprecated",
                             "readOnly", "writeOnly", "$schema", "$id", "$defs", "definitions", "$anchor",
                             "contentMediaType", "contentEncoding", "discriminator", "markdownDescription"}) ||
         keyword.starts_with("x-");
}

Value constraints_of(const Value& schema) {
  Object out;
  for (const auto& [key, value] : schema.as_object())
    if (!is_annotation(key)) out.emplace_back(key, value);
  return out;
}

Value merge_schemas(Value a, const Value& b, bool& exact) {
  if (a.is_bool() || b.is_bool()) return both(a, b);
  if (!a.is_object() || !b.is_object()) {
    exact = exact && a.is_object() && b.is_object();
    return a.is_object() ? a : b;
  }
  if (const Value* value = a.find("const"); value != nullptr) {
    Value as_enum = a.find("enum") == nullptr ? Value(Array{*value}) : intersect_values(*a.find("enum"), Array{*value});
    a.set("enum", std::move(as_enum));
    std::erase_if(a.as_object(), [](const json::Member& member) { return member.first == "const"; });
  }
  if (a.find("properties") != nullptr || b.find("properties") != nullptr) a.set("properties", merge_properties(a, b));
  for (const auto& [key, value] : b.as_object()) {
    if (is_annotation(key) || key == "properties") continue;
    if (key == "const") {
      const Value* values = a.find("enum");
      a.set("enum", values == nullptr ? Value(Array{value}) : intersect_values(*values, Array{value}));
      continue;
    }
    if (is_any_of(key, {"anyOf", "oneOf"})) {
      exact = merge_options(a, value, key) && exact;
      continue;
    }
    Value* mine = a.find(key);
    if (mine == nullptr) {
      a.set(key, value);
    } else if (*mine == value) {
    } else if (key == "type") {
      *mine = intersect_types(*mine, value);
    } else if (key == "required") {
      *mine = unite(*mine, value);
    } else if (key == "allOf") {
      if (mine->is_array() && value.is_array())
        mine->as_array().insert(mine->as_array().end(), value.as_array().begin(), value.as_array().end());
    } else if (key == "enum") {
      *mine = intersect_values(*mine, value);
    } else if (is_any_of(key, {"items", "additionalProperties"})) {
      *mine = both(*mine, value);
    } else if (mine->is_number() && value.is_number() &&
               is_any_of(key, {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})) {
      if (mine->as_double() < value.as_double()) *mine = value;
    } else if (mine->is_number() && value.is_number() &&
               is_any_of(key, {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})) {
      if (mine->as_double() > value.as_double()) *mine = value;
    } else {
      exact = false;
    }
  }
  return a;
}

bool exclude_each_other(const Value& document, const Value& first, const Value& second, int depth) {
  const auto plain = [&](const Value& schema) -> Value {
    const Value* at = &schema;
    for (int i = 0; i < 8 && at != nullptr && at->is_object(); ++i) {
      const Value* reference = at->find("$ref");
      if (reference == nullptr || !reference->is_string()) break;
      at = resolve_reference(document, reference->as_string());
    }
    if (at == nullptr || !at->is_object()) return Object{};
    bool exact = true;
    return merge_schemas(Object{}, *at, exact);  // const as enum
  };
  const Value a = plain(first), b = plain(second);
  const Value* a_values = named_values(a);
  const Value* b_values = named_values(b);
  if (a_values != nullptr && b_values != nullptr) {
    for (const Value& value : a_values->as_array())
      if (contains(b_values->as_array(), value)) return false;
    return true;
  }
  const Value* a_type = a.find("type");
  const Value* b_type = b.find("type");
  if (a_type == nullptr || b_type == nullptr) return false;
  if (intersect_types(*a_type, *b_type).as_array().empty()) return true;
  const Value* a_members = a.find("properties");
  const Value* b_members = b.find("properties");
  const Value* a_required = a.find("required");
  const Value* b_required = b.find("required");
  if (depth > 4 || *a_type != Value("object") || *b_type != Value("object") || a_required == nullptr ||
      b_required == nullptr || !a_required->is_array() || !b_required->is_array())
    return false;
  const auto member = [](const Value* members, const Value& name) {
    return members == nullptr || !name.is_string() ? nullptr : members->find(name.as_string());
  };
  for (const Value& name : a_required->as_array()) {
    const Value* mine = member(a_members, name);
    const Value* other = member(b_members, name);
    if (mine != nullptr && other != nullptr && contains(b_required->as_array(), name) &&
        exclude_each_other(document, *mine, *other, depth + 1))
      return true;
  }
  // One demands what the other forbids.
  const auto demands_forbidden = [&](const Value* required, const Value& other, const Value* others) {
    const Value* additional = other.find("additionalProperties");
    if (additional == nullptr || *additional != Value(false)) return false;
    for (const Value& name : required->as_array())
      if (name.is_string() && member(others, name) == nullptr) return true;
    return false;
  };
  return demands_forbidden(a_required, b, b_members) || demands_forbidden(b_required, a, a_members);
}

}  // namespace baltoro::text
