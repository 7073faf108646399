// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include "baltoro/base/check.h"

namespace baltoro {

// Every kind of expected failure. Closed: a new kind needs a row in http_status() and in each dialect's table.
enum class Errc {
  kInvalidArgument,    // the caller's request is wrong: 400
  kUnauthenticated,    // 401
  kPermissionDenied,   // 403
  kNotFound,           // 404
  kTimeout,            // 408
  kTooLarge,           // a body over its limit: 413
  kPromptTooLong,      // a prompt that leaves no room in the model's context: 400
  kOverloaded,         // more waits than the server takes in: 429, try again later
  kRateLimited,        // this key's requests, tokens or concurrency for now: 429, try again later
  kQuotaExceeded,      // this key's budget is used up: 429, and trying again does not help
  kResourceExhausted,  // no memory, KV blocks or queue room: 503
  kCancelled,          // the client went away: 499
  kUnavailable,        // draining or not loaded: 503
  kUnsupported,        // a known feature that this build or checkpoint does not have: 400
  kCorrupt,            // a checkpoint, tokenizer or state file that is malformed: 500
  kIo,                 // the operating system said no: 500
  kInternal,           // 500
};

// "invalid_argument", ...: stable names for logs, --json and metrics labels.
const char* errc_name(Errc code);

// What went wrong, in one sentence: what was needed and what was seen. `field` names the offending request field, if
// one.
struct Error {
  Errc code = Errc::kInternal;
  std::string message;
  std::string field = {};
  double retry_seconds = 0;  // kOverloaded, kRateLimited, kUnavailable: when to try again; 0: soon
};

// Either a T or an Error. T = void: use Status.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT
  template <typename U>
    requires(std::is_constructible_v<T, U &&> && !std::is_same_v<std::remove_cvref_t<U>, Result> &&
             !std::is_same_v<std::remove_cvref_t<U>, Error> && !std::is_same_v<std::remove_cvref_t<U>, T>)
  Result(U&& value) : state_(std::in_place_index<0>, std::forward<U>(value)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & { return get(); }
  const T& value() const& { return const_cast<Result*>(this)->get(); }
  T&& value() && { return std::move(get()); }
  T& operator*() & { return get(); }
  const T& operator*() const& { return const_cast<Result*>(this)->get(); }
  T&& operator*() && { return std::move(get()); }
  T* operator->() { return &get(); }
  const T* operator->() const { return &const_cast<Result*>(this)->get(); }
  const Error& error() const& {
    BALTORO_CHECK(!ok(), "error() of a Result that holds a value");
    return std::get<1>(state_);
  }
  Error&& error() && {
    BALTORO_CHECK(!ok(), "error() of a Result that holds a value");
    return std::get<1>(std::move(state_));
  }

 private:
  T& get() {
    if (!ok()) [[unlikely]]
      check_failed("ok()", __FILE__, __LINE__, std::get<1>(state_).message);
    return std::get<0>(state_);
  }
  std::variant<T, Error> state_;
};

// Success or an Error.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT: implicit by design
  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const& {
    BALTORO_CHECK(!ok_, "error() of a Status that is ok");
    return error_;
  }
  Error&& error() && {
    BALTORO_CHECK(!ok_, "error() of a Status that is ok");
    return std::move(error_);
  }

 private:
  Error error_;
  bool ok_ = true;
};

}  // namespace baltoro

#define BALTORO_CONCAT_(a, b) a##b
#define BALTORO_CONCAT(a, b) BALTORO_CONCAT_(a, b)
#define BALTORO_TRY_(tmp, decl, expression) \
  auto tmp = (expression);                  \
  if (!tmp.ok()) [[unlikely]]               \
    return std::move(tmp).error();          \
  decl = *std::move(tmp)

// BALTORO_TRY(auto x, f()): x = the value of f(), or return f's error from this function.
#define BALTORO_TRY(decl, expression) BALTORO_TRY_(BALTORO_CONCAT(try_result_, __LINE__), decl, expression)

// BALTORO_TRY_STATUS(f()): return f's error, if it has one.
#define BALTORO_TRY_STATUS(expression)                                 \
  do {                                                                 \
    if (auto try_status = (expression); !try_status.ok()) [[unlikely]] \
      return std::move(try_status).error();                            \
  } while (false)
