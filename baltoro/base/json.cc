// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/json.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <variant>

#include "baltoro/base/utf8.h"

namespace baltoro::json {

const char* kind_name(Kind kind) {
  switch (kind) {
    case Kind::kNull:
      return "null";
    case Kind::kBool:
      return "a boolean";
    case Kind::kInt:
    case Kind::kUint:
      return "an integer";
    case Kind::kDouble:
      return "a number";
    case Kind::kString:
      return "a string";
    case Kind::kArray:
      return "an array";
    case Kind::kObject:
      return "an object";
  }
  return "a value";
}

Value::Value(const Value& other) : state_(nullptr) {
  std::visit(
      [this](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        T copy(value);  // what may throw comes before anything changes
        state_.emplace<T>(std::move(copy));
      },
      other.state_);
}

Value& Value::operator=(const Value& other) {
  if (this != &other) *this = Value(other);
  return *this;
}

Value::Value(std::uint64_t value) {
  if (value <= static_cast<std::uint64_t>(INT64_MAX)) {
    state_ = static_cast<std::int64_t>(value);
  } else {
    state_ = value;
  }
}

bool Value::as_bool() const {
  BALTORO_CHECK(is_bool(), "JSON value is not a boolean");
  return std::get<bool>(state_);
}

std::int64_t Value::as_int() const {
  BALTORO_CHECK(kind() == Kind::kInt, "JSON value is not an int64");
  return std::get<std::int64_t>(state_);
}

std::uint64_t Value::as_uint() const {
  if (kind() == Kind::kUint) return std::get<std::uint64_t>(state_);
  BALTORO_CHECK(kind() == Kind::kInt && std::get<std::int64_t>(state_) >= 0,
                "JSON value is not a non-negative integer");
  return static_cast<std::uint64_t>(std::get<std::int64_t>(state_));
}

double Value::as_double() const {
  if (kind() == Kind::kInt) return static_cast<double>(std::get<std::int64_t>(state_));
  if (kind() == Kind::kUint) return static_cast<double>(std::get<std::uint64_t>(state_));
  BALTORO_CHECK(kind() == Kind::kDouble, "JSON value is not a number");
  return std::get<double>(state_);
}

const std::string& Value::as_string() const {
  BALTORO_CHECK(is_string(), "JSON value is not a string");
  return std::get<std::string>(state_);
}

const Array& Value::as_array() const { return const_cast<Value*>(this)->as_array(); }
Array& Value::as_array() {
  BALTORO_CHECK(is_array(), "JSON value is not an array");
  return std::get<Array>(state_);
}

const Object& Value::as_object() const { return const_cast<Value*>(this)->as_object(); }
Object& Value::as_object() {
  BALTORO_CHECK(is_object(), "JSON value is not an object");
  return std::get<Object>(state_);
}

const Value* Value::find(std::string_view key) const { return const_cast<Value*>(this)->find(key); }
Value* Value::find(std::string_view key) {
  if (!is_object()) return nullptr;
  for (auto& [name, value] : std::get<Object>(state_)) {
    if (name == key) return &value;
  }
  return nullptr;
}

Value& Value::set(std::string_view key, Value value) {
  if (is_null()) state_ = Object{};
  if (Value* present = find(key)) return *present = std::move(value);
  return as_object().emplace_back(std::string(key), std::move(value)).second;
}

void Value::push_back(Value value) {
  if (is_null()) state_ = Array{};
  as_array().push_back(std::move(value));
}

bool operator==(const Value& a, const Value& b) { return a.state_ == b.state_; }

namespace {

Result<Value> convert(simdjson::dom::element element);

Result<Value> convert_object(simdjson::dom::object object) {
  Object out;
  out.reserve(object.size());
  // Few keys: compare each with each. Many: a set, so that hostile objects stay linear.
  constexpr std::size_t kFew = 16;
  std::unordered_set<std::string_view> seen;
  for (auto [key, child] : object) {
    bool repeated = false;
    if (out.size() < kFew) {
      for (const auto& member : out) repeated |= member.first == key;
    } else {
      if (seen.empty()) {
        for (auto field : object) {
          if (seen.size() == out.size()) break;
          seen.insert(field.key);
        }
      }
      repeated = !seen.insert(key).second;
    }
    if (repeated) return Error{Errc::kInvalidArgument, "JSON object repeats the key \"" + std::string(key) + "\""};
    BALTORO_TRY(Value value, convert(child));
    out.emplace_back(std::string(key), std::move(value));
  }
  return Value(std::move(out));
}

Result<Value> convert(simdjson::dom::element element) {
  using simdjson::dom::element_type;
  switch (element.type()) {
    case element_type::NULL_VALUE:
      return Value(nullptr);
    case element_type::BOOL:
      return Value(bool{element.get_bool().value_unsafe()});
    case element_type::INT64:
      return Value(std::int64_t{element.get_int64().value_unsafe()});
    case element_type::UINT64:
      return Value(std::uint64_t{element.get_uint64().value_unsafe()});
    case element_type::DOUBLE:
      return Value(double{element.get_double().value_unsafe()});
    case element_type::STRING:
      return Value(std::string(element.get_string().value_unsafe()));
    case element_type::ARRAY: {
      Array out;
      simdjson::dom::array array = element.get_array().value_unsafe();
      for (simdjson::dom::element child : array) {
        BALTORO_TRY(Value value, convert(child));
        out.push_back(std::move(value));
      }
      return Value(std::move(out));
    }
    case element_type::OBJECT:
      return convert_object(element.get_object().value_unsafe());
  }
  return Error{Errc::kInternal, "unknown JSON element"};
}

// `text` with ".0" behind each integer of 19 digits or more outside strings, so that it reads as a double.
std::string with_wide_integers_as_doubles(std::string_view text) {
  constexpr std::size_t kWideDigits = 19;
  std::string out;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (in_string || c < '0' || c > '9') {
      const std::size_t n = in_string && c == '\\' && i + 1 < text.size() ? 2 : 1;
      in_string ^= c == '"';
      out.append(text.substr(i, n));
      i += n;
      continue;
    }
    const std::size_t digits_end = std::min(text.find_first_not_of("0123456789", i), text.size());
    const std::size_t number_end = std::min(text.find_first_not_of("0123456789.eE+-", i), text.size());
    out.append(text.substr(i, number_end - i));
    if (number_end == digits_end && digits_end - i >= kWideDigits) out += ".0";
    i = number_end;
  }
  return out;
}

}  // namespace

Result<Value> parse(std::string_view text, ParseLimits limits) {
  if (text.size() > limits.max_bytes) {
    return Error{Errc::kTooLarge, "JSON of at most " + std::to_string(limits.max_bytes) + " bytes expected, it has " +
                                      std::to_string(text.size())};
  }
  std::string widened;
  if (limits.wide_integers_as_double) {
    widened = with_wide_integers_as_doubles(text);
    text = widened;
  }
  simdjson::dom::parser parser(limits.max_bytes);
  if (parser.allocate(std::max<std::size_t>(text.size(), 1), limits.max_depth) != simdjson::SUCCESS) {
    return Error{Errc::kResourceExhausted, "no memory to parse JSON"};
  }
  simdjson::padded_string padded(text);
  simdjson::dom::element root;
  auto code = padded.data() == nullptr && !text.empty() ? simdjson::MEMALLOC : parser.parse(padded).get(root);
  if (code == simdjson::MEMALLOC) return Error{Errc::kResourceExhausted, "no memory to parse JSON"};
  if (code != simdjson::SUCCESS) {
    return Error{Errc::kInvalidArgument, std::string("malformed JSON: ") + simdjson::error_message(code)};
  }
  return convert(root);
}

void append_quoted(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  out.push_back('"');
  std::size_t i = 0;
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x80) {
      const std::size_t length = utf8_sequence_length(text.substr(i));
      if (length == 0) {
        out += "\xEF\xBF\xBD";
        i += 1;
      } else {
        out.append(text.substr(i, length));
        i += length;
      }
      continue;
    }
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (c < 0x20) {
          out += "\\u00";
          out.push_back(kHex[c >> 4]);
          out.push_back(kHex[c & 15]);
        } else {
          out.push_back(static_cast<char>(c));
        }
    }
    ++i;
  }
  out.push_back('"');
}

namespace {

// Python's repr: scientific below 1e-4 and from 1e16 on, else fixed with at least one decimal.
void append_double(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
    return;
  }
  char buffer[64];
  const double magnitude = std::fabs(value);
  const bool scientific = magnitude != 0 && (magnitude < 1e-4 || magnitude >= 1e16);
  const auto format = scientific ? std::chars_format::scientific : std::chars_format::fixed;
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, format).ptr;
  out.append(buffer, end);
  if (!scientific && std::find(buffer, end, '.') == end) out += ".0";
}

void append_newline(std::string& out, const DumpStyle& style, int depth) {
  if (style.indent == 0) return;
  out.push_back('\n');
  out.append(static_cast<std::size_t>(style.indent * depth), ' ');
}

void append_value(std::string& out, const Value& value, const DumpStyle& style, int depth);

void append_object(std::string& out, const Object& object, const DumpStyle& style, int depth) {
  std::vector<const Member*> members;
  members.reserve(object.size());
  for (const auto& member : object) members.push_back(&member);
  if (style.sort_keys) {
    std::sort(members.begin(), members.end(), [](const Member* a, const Member* b) { return a->first < b->first; });
  }
  out.push_back('{');
  bool first = true;
  for (const Member* member : members) {
    if (!first) out += style.comma;
    first = false;
    append_newline(out, style, depth + 1);
    append_quoted(out, member->first);
    out += style.colon;
    append_value(out, member->second, style, depth + 1);
  }
  if (!first) append_newline(out, style, depth);
  out.push_back('}');
}

void append_array(std::string& out, const Array& array, const DumpStyle& style, int depth) {
  out.push_back('[');
  bool first = true;
  for (const Value& element : array) {
    if (!first) out += style.comma;
    first = false;
    append_newline(out, style, depth + 1);
    append_value(out, element, style, depth + 1);
  }
  if (!first) append_newline(out, style, depth);
  out.push_back(']');
}

void append_value(std::string& out, const Value& value, const DumpStyle& style, int depth) {
  switch (value.kind()) {
    case Kind::kNull:
      out += "null";
      break;
    case Kind::kBool:
      out += value.as_bool() ? "true" : "false";
      break;
    case Kind::kInt:
      out += std::to_string(value.as_int());
      break;
    case Kind::kUint:
      out += std::to_string(value.as_uint());
      break;
    case Kind::kDouble:
      append_double(out, value.as_double());
      break;
    case Kind::kString:
      append_quoted(out, value.as_string());
      break;
    case Kind::kArray:
      append_array(out, value.as_array(), style, depth);
      break;
    case Kind::kObject:
      append_object(out, value.as_object(), style, depth);
      break;
  }
}

}  // namespace

std::string dump(const Value& value, DumpStyle style) {
  std::string out;
  append_value(out, value, style, 0);
  return out;
}

}  // namespace baltoro::json
