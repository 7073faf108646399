// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/field_reader.h"

#include <fmt/format.h>

#include <cmath>

namespace baltoro::server {
namespace {

// Values in a JSON text: one more than separators, outside strings. Cheap, before anything is allocated.
std::size_t count_values(std::string_view text) {
  std::size_t count = 1;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == ',' || c == '[' || c == '{') {
      ++count;
    }
  }
  return count;
}

}  // namespace

Result<json::Value> parse_body(std::string_view body, const ApiLimits& limits) {
  if (body.empty()) return Error{Errc::kInvalidArgument, "the request body is empty, a JSON object is needed"};
  if (count_values(body) > limits.max_json_values) {
    return Error{Errc::kInvalidArgument,
                 fmt::format("the request body holds more than {} JSON values", limits.max_json_values)};
  }
  auto parsed = json::parse(body, {.max_depth = limits.max_json_depth});
  if (!parsed.ok()) {
    if (parsed.error().code == Errc::kResourceExhausted) return std::move(parsed).error();
    return Error{Errc::kInvalidArgument, "the request body is no valid JSON: " + parsed.error().message};
  }
  if (!parsed->is_object()) {
    return Error{Errc::kInvalidArgument,
                 fmt::format("the request body must be a JSON object, {} seen", json::kind_name(parsed->kind()))};
  }
  return parsed;
}

Error field_error(std::string path, std::string_view message) {
  Error error{Errc::kInvalidArgument, path.empty() ? std::string(message) : fmt::format("{}: {}", path, message)};
  error.field = std::move(path);
  return error;
}

FieldReader::FieldReader(const json::Value& value, std::string path) : value_(value), path_(std::move(path)) {
  if (!value.is_object()) wrong_kind("", "an object", value);
}

std::string FieldReader::path(std::string_view key) const {
  if (key.empty()) return path_;
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

std::string FieldReader::path(std::string_view key, std::size_t index) const {
  return fmt::format("{}[{}]", path(key), index);
}

void FieldReader::fail(std::string_view key, std::string message) {
  if (ok()) status_ = field_error(path(key), message);
}

void FieldReader::fail_with(Error error) {
  if (ok()) status_ = std::move(error);
}

void FieldReader::missing(std::string_view key, std::string_view needed) {
  fail(key, fmt::format("{} is required", needed));
}

void FieldReader::wrong_kind(std::string_view key, std::string_view needed, const json::Value& seen) {
  fail(key, fmt::format("{} is needed, {} seen", needed, json::kind_name(seen.kind())));
}

const json::Value* FieldReader::any(std::string_view key) {
  const json::Value* member = value_.find(key);
  return member == nullptr || member->is_null() ? nullptr : member;
}

std::optional<bool> FieldReader::boolean(std::string_view key) {
  const json::Value* member = any(key);
  if (member == nullptr) return {};
  if (member->is_bool()) return member->as_bool();
  wrong_kind(key, "a boolean", *member);
  return {};
}

std::optional<std::int64_t> FieldReader::integer(std::string_view key, std::int64_t min, std::int64_t max) {
  const json::Value* member = any(key);
  if (member == nullptr) return {};
  if (!member->is_integer()) {
    wrong_kind(key, "an integer", *member);
    return {};
  }
  if (member->kind() == json::Kind::kUint || member->as_int() < min || member->as_int() > max) {
    const std::string seen = member->kind() == json::Kind::kUint ? fmt::format("{}", member->as_uint())
                                                                 : fmt::format("{}", member->as_int());
    if (max == INT64_MAX) {
      fail(key, fmt::format("an integer of at least {} is needed, {} seen", min, seen));
    } else {
      fail(key, fmt::format("an integer from {} to {} is needed, {} seen", min, max, seen));
    }
    return {};
  }
  return member->as_int();
}

std::optional<double> FieldReader::number(std::string_view key, double min, double max) {
  const json::Value* member = any(key);
  if (member == nullptr) return {};
  if (!member->is_number()) {
    wrong_kind(key, "a number", *member);
    return {};
  }
  const double value = member->as_double();
  if (!(value >= min && value <= max)) {
    fail(key, fmt::format("a number from {} to {} is needed, {} seen", min, max, value));
    return {};
  }
  return value;
}

const std::string* FieldReader::string(std::string_view key) {
  const json::Value* member = any(key);
  if (member == nullptr) return nullptr;
  if (member->is_string()) return &member->as_string();
  wrong_kind(key, "a string", *member);
  return nullptr;
}

const json::Array* FieldReader::array(std::string_view key, std::size_t max_items) {
  const json::Value* member = any(key);
  if (member == nullptr) return nullptr;
  if (!member->is_array()) {
    wrong_kind(key, "an array", *member);
    return nullptr;
  }
  if (member->as_array().size() > max_items) {
    fail(key, fmt::format("at most {} items are accepted, {} seen", max_items, member->as_array().size()));
    return nullptr;
  }
  return &member->as_array();
}

const json::Value* FieldReader::object(std::string_view key) {
  const json::Value* member = any(key);
  if (member == nullptr) return nullptr;
  if (member->is_object()) return member;
  wrong_kind(key, "an object", *member);
  return nullptr;
}

}  // namespace baltoro::server
