// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/schema_strict.h"

#include <fmt/core.h>

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/text/schema_graph.h"
#include "baltoro/text/schema_merge.h"

namespace baltoro::text {
namespace {

using json::Value;
using Names = std::initializer_list<std::string_view>;

bool among(std::string_view name, Names names) { return std::find(names.begin(), names.end(), name) != names.end(); }

struct TypeKeywords {
  std::string_view type;
  Names keywords;
};
const TypeKeywords kTypes[] = {
    {"object",
     {"properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties",
      "maxProperties"}},
    {"array", {"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}},
    {"string", {"minLength", "maxLength", "pattern", "format"}},
    {"number", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}},
    {"integer", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}},
    {"boolean", {}},
    {"null", {}}};

bool is_type(std::string_view name) {
  return std::any_of(std::begin(kTypes), std::end(kTypes), [&](const TypeKeywords& type) { return type.type == name; });
}

bool is_count(const Value& value) { return value.is_integer() && value.as_double() >= 0; }

class Checker {
 public:
  explicit Checker(const Value& document) : document_(document) {}

  Status check() {
    if (json::dump(document_).size() > kMaxSchemaBytes)
      return wrong("#", fmt::format("a schema of at most {} bytes needed", kMaxSchemaBytes));
    return schema(document_, "#", 0);
  }

 private:
  Error wrong(const std::string& path, std::string_view what) const {
    return {Errc::kInvalidArgument, fmt::format("[schema] {}: {}", path, what)};
  }

  Status schema(const Value& value, const std::string& path, std::size_t depth) {
    if (value.is_bool() && depth > 0) return {};
    if (!value.is_object())
      return wrong(path, fmt::format("a schema needs to be an object, got {}", json::kind_name(value.kind())));
    if (depth > kMaxSchemaDepth) return wrong(path, fmt::format("schema depth exceeds {}", kMaxSchemaDepth));
    BALTORO_TRY_STATUS(annotations(value, path, depth));
    BALTORO_TRY(const std::vector<std::string> types, types_of(value, path));
    for (const auto& [key, member] : value.as_object()) {
      if (is_annotation(key) || among(key, {"type", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"})) continue;
      BALTORO_TRY_STATUS(keyword(key, member, types, path));
    }
    BALTORO_TRY_STATUS(company(value, path));
    BALTORO_TRY_STATUS(reference(value, path));
    BALTORO_TRY_STATUS(values(value, types, path));
    BALTORO_TRY_STATUS(required(value, path));
    return children(value, path, depth);
  }

  Status annotations(const Value& value, const std::string& path, std::size_t depth) {
    for (const char* key : {"description", "title", "$id", "$schema"})
      if (const Value* text = value.find(key); text != nullptr && !text->is_string())
        return wrong(path, fmt::format("{} must be a string", key));
    if (depth > 0 && value.find("$id") != nullptr) return wrong(path, "$id must be at root level");
    for (const char* key : {"$defs", "definitions"}) {
      const Value* list = value.find(key);
      if (list == nullptr) continue;
      if (!list->is_object()) return wrong(path, fmt::format("{} must be an object", key));
      for (const auto& [name, definition] : list->as_object()) {
        if (name.empty()) return wrong(path, fmt::format("a name in {} cannot be empty", key));
        if (!definition.is_object()) return wrong(path, fmt::format("{}/{} must be an object", key, name));
      }
    }
    return {};
  }

  Result<std::vector<std::string>> types_of(const Value& value, const std::string& path) {
    std::vector<std::string> types;
    const Value* type = value.find("type");
    if (type == nullptr) return types;
    if (!type->is_string() && !type->is_array()) return wrong(path, "type must be a string or an array of strings");
    if (type->is_array() && type->as_array().empty()) return wrong(path, "type array cannot be empty");
    for (const Value& one : type->is_array() ? type->as_array() : json::Array{*type}) {
      if (!one.is_string() || !is_type(one.as_string()))
        return wrong(path, fmt::format("invalid type {}", json::dump(one)));
      types.push_back(one.as_string());
    }
    return types;
  }

  // A keyword of its own shape, beside a type that it speaks of.
  Status keyword(const std::string& key, const Value& value, const std::vector<std::string>& types,
                 const std::string& path) {
    bool known = false, applies = types.empty();
    for (const TypeKeywords& type : kTypes) {
      if (!among(key, type.keywords)) continue;
      known = true;
      applies = applies || std::find(types.begin(), types.end(), type.type) != types.end();
    }
    if (!known) return wrong(path, fmt::format("unsupported keyword {}", key));
    if (!applies) return wrong(path, fmt::format("invalid keyword: {} does not apply to type {}", key, types.front()));
    const bool good =
        among(key, {"properties", "patternProperties"})                  ? value.is_object()
        : among(key, {"required", "prefixItems"})                        ? value.is_array()
        : among(key, {"additionalProperties", "items", "propertyNames"}) ? value.is_object() || value.is_bool()
        : key == "uniqueItems"                                           ? value.is_bool()
        : among(key, {"pattern", "format"})                              ? value.is_string()
        : among(key, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}) ? value.is_number()
                                                                                                   : is_count(value);
    if (!good) return wrong(path, fmt::format("{} must not be {}", key, json::kind_name(value.kind())));
    return {};
  }

  // What may stand side by side.
  Status company(const Value& value, const std::string& path) {
    const Value beside = constraints_of(value);
    for (const char* key : {"$ref", "anyOf", "oneOf"}) {
      if (value.find(key) == nullptr || beside.as_object().size() == 1) continue;
      for (const auto& [other, _] : beside.as_object())
        if (other != key) return wrong(path, fmt::format("{} is not allowed at the same level as {}", other, key));
    }
    for (const char* key : {"anyOf", "oneOf", "allOf"}) {
      const Value* list = value.find(key);
      if (list == nullptr) continue;
      if (!list->is_array()) return wrong(path, fmt::format("{} must be an array", key));
      if (list->as_array().empty() || list->as_array().size() > kMaxOptions)
        return wrong(path, fmt::format("{} must have 1 to {} schemas", key, kMaxOptions));
      for (const Value& one : list->as_array())
        if (!one.is_object()) return wrong(path, fmt::format("a schema in {} must be an object", key));
    }
    return {};
  }

  Status reference(const Value& value, const std::string& path) {
    const Value* reference = value.find("$ref");
    if (reference == nullptr) return {};
    if (!reference->is_string()) return wrong(path, "$ref must be a string");
    const Value* target = resolve_reference(document_, reference->as_string());
    if (target == nullptr)
      return wrong(path, fmt::format("$ref \"{}\": not found in this document (others are never fetched)",
                                     reference->as_string()));
    if (!target->is_object())
      return wrong(path, fmt::format("invalid $ref path \"{}\": no schema there", reference->as_string()));
    return {};
  }

  Status values(const Value& value, const std::vector<std::string>& types, const std::string& path) {
    const Value* list = value.find("enum");
    if (list == nullptr) return {};
    if (!list->is_array()) return wrong(path, "enum must be an array");
    if (list->as_array().empty() || list->as_array().size() > kMaxEnumValues)
      return wrong(path, fmt::format("enum must have 1 to {} values", kMaxEnumValues));
    for (const Value& one : list->as_array()) {
      if (one.is_array() || one.is_object()) return wrong(path, "arrays and objects are not allowed in an enum");
      const auto fits = [&](const std::string& type) {
        return type == "string"    ? one.is_string()
               : type == "boolean" ? one.is_bool()
               : type == "null"    ? one.is_null()
               : type == "number"  ? one.is_number()
                                   : type == "integer" && one.is_number();
      };
      if (!types.empty() && std::none_of(types.begin(), types.end(), fits))
        return wrong(path, fmt::format("enum value {} does not match any type", json::dump(one)));
    }
    return {};
  }

  Status required(const Value& value, const std::string& path) {
    const Value* properties = value.find("properties");
    if (properties != nullptr) {
      count_ += properties->as_object().size();
      if (count_ > kMaxProperties) return wrong(path, fmt::format("over {} properties", kMaxProperties));
      for (const auto& [name, _] : properties->as_object())
        if (name.empty()) return wrong(path, "a property's name cannot be empty");
    }
    const Value* list = value.find("required");
    if (list == nullptr) return {};
    for (const Value& name : list->as_array()) {
      if (!name.is_string() || name.as_string().empty())
        return wrong(path, "required must hold names that are not empty");
      if (value.find("allOf") != nullptr) continue;
      if (properties == nullptr || properties->find(name.as_string()) == nullptr)
        return wrong(path, fmt::format("required property '{}' is not defined in properties", name.as_string()));
    }
    return {};
  }

  Status children(const Value& value, const std::string& path, std::size_t depth) {
    for (const char* key : {"properties", "$defs", "definitions", "patternProperties"})
      if (const Value* list = value.find(key); list != nullptr)
        for (const auto& [name, child] : list->as_object())
          BALTORO_TRY_STATUS(schema(child, fmt::format("{}/{}/{}", path, key, name), depth + 1));
    for (const char* key : {"anyOf", "oneOf", "allOf", "prefixItems"})
      if (const Value* list = value.find(key); list != nullptr)
        for (std::size_t i = 0; i < list->as_array().size(); ++i)
          BALTORO_TRY_STATUS(schema(list->as_array()[i], fmt::format("{}/{}/{}", path, key, i), depth + 1));
    for (const char* key : {"items", "additionalProperties", "propertyNames"})
      if (const Value* child = value.find(key); child != nullptr)
        BALTORO_TRY_STATUS(schema(*child, fmt::format("{}/{}", path, key), depth + 1));
    return {};
  }

  const Value& document_;
  std::size_t count_ = 0;
};

}  // namespace

Status check_strict_schema(const Value& schema) { return Checker(schema).check(); }

}  // namespace baltoro::text
