// SPDX-License-Identifier: Apache-2.0
// The one door to JSON: strict parsing (simdjson behind it), a value that keeps key order, a writer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "baltoro/base/result.h"

namespace baltoro::json {

class Value;
using Array = std::vector<Value>;
using Member = std::pair<std::string, Value>;
using Object = std::vector<Member>;  // in document order, keys unique

enum class Kind { kNull, kBool, kInt, kUint, kDouble, kString, kArray, kObject };

// "null", "a boolean", "an integer", ...: for messages.
const char* kind_name(Kind kind);

// An owned JSON value. Integers up to 2^64-1 keep their exact value: kInt, or kUint for those over int64.
class Value {
 public:
  Value() : state_(nullptr) {}
  Value(std::nullptr_t) : state_(nullptr) {}                     // NOLINT: implicit by design, also below
  Value(bool value) : state_(value) {}                           // NOLINT
  Value(int value) : state_(std::int64_t{value}) {}              // NOLINT
  Value(unsigned value) : state_(std::int64_t{value}) {}         // NOLINT
  Value(std::int64_t value) : state_(value) {}                   // NOLINT
  Value(std::uint64_t value);                                    // NOLINT
  Value(double value) : state_(value) {}                         // NOLINT
  Value(const char* value) : state_(std::string(value)) {}       // NOLINT
  Value(std::string_view value) : state_(std::string(value)) {}  // NOLINT
  Value(std::string value) : state_(std::move(value)) {}         // NOLINT
  Value(Array value) : state_(std::move(value)) {}               // NOLINT
  Value(Object value) : state_(std::move(value)) {}              // NOLINT

  // Written out: a std::variant of libstdc++ 12 whose copy runs out of memory calls the destructor of nothing.
  Value(const Value& other);
  Value& operator=(const Value& other);
  Value(Value&&) noexcept = default;
  Value& operator=(Value&&) noexcept = default;
  ~Value() = default;

  Kind kind() const { return static_cast<Kind>(state_.index()); }
  bool is_null() const { return kind() == Kind::kNull; }
  bool is_bool() const { return kind() == Kind::kBool; }
  bool is_integer() const { return kind() == Kind::kInt || kind() == Kind::kUint; }
  bool is_number() const { return is_integer() || kind() == Kind::kDouble; }
  bool is_string() const { return kind() == Kind::kString; }
  bool is_array() const { return kind() == Kind::kArray; }
  bool is_object() const { return kind() == Kind::kObject; }

  // Each CHECKs the kind: ask first.
  bool as_bool() const;
  std::int64_t as_int() const;  // kInt only
  double as_double() const;     // any number
  const std::string& as_string() const;
  const Array& as_array() const;
  Array& as_array();
  const Object& as_object() const;
  Object& as_object();
  std::uint64_t as_uint() const;  // a non-negative integer

  // The member of that name, or nullptr when this is no object or has none.
  const Value* find(std::string_view key) const;
  Value* find(std::string_view key);
  // Sets or appends a member; turns null into an object first.
  Value& set(std::string_view key, Value value);
  void push_back(Value value);  // turns null into an array first

  friend bool operator==(const Value& a, const Value& b);

 private:
  std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, double, std::string, Array, Object> state_;
};

struct ParseLimits {
  std::size_t max_bytes = std::size_t{256} << 20;
  std::size_t max_depth = 128;
  // Integers of 19 digits or more read as doubles instead of failing: tokenizer_config.json files hold 10^30.
  bool wide_integers_as_double = false;
};

// Parses one UTF-8 document. kInvalidArgument with a reason for malformed text, bad UTF-8, nesting over the limit,
// a repeated key, an integer of 2^64 or more, a number out of double's range; kTooLarge over max_bytes.
Result<Value> parse(std::string_view text, ParseLimits limits = {});

struct DumpStyle {
  std::string_view comma = ",";
  std::string_view colon = ":";
  bool sort_keys = false;  // recursively, by code point
  int indent = 0;          // > 0: one member a line
};

// Compact JSON: {"a":1,"b":[true,null]}.
inline constexpr DumpStyle kCompact{};
// What Python's json.dumps prints by default: ", " and ": ".
inline constexpr DumpStyle kSpaced{", ", ": "};

// Writes UTF-8; non-ASCII is kept, control characters are escaped, bytes that are no UTF-8 become U+FFFD.
// Doubles print as Python's repr does (shortest round trip, "1.0", "1e+16"); NaN and infinities print null.
std::string dump(const Value& value, DumpStyle style = kCompact);

// Appends `text` as a quoted JSON string.
void append_quoted(std::string& out, std::string_view text);

}  // namespace baltoro::json
