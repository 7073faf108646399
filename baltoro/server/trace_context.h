// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace baltoro::server {

// Where a request stands in its caller's trace (W3C Trace Context, as OpenTelemetry sends it). Lower-case hex digits.
struct TraceContext {
  std::string trace_id;   // 32: the caller's, or a new one
  std::string span_id;    // 16: this request's own
  std::string parent_id;  // 16: the caller's span; empty without one
  std::string flags = "00";
};

// A traceparent header: "00-TRACE-PARENT-FLAGS"; later versions may have more behind it. nullopt: malformed or all
// zeros, which is as good as none. span_id stays empty.
std::optional<TraceContext> parse_traceparent(std::string_view header);

// The context of a request: its caller's where `header` (null: none) has one, else a new trace. `run` and `number` tell
// requests apart.
TraceContext make_trace(const std::string* header, std::uint64_t run, std::uint64_t number);

// What goes back: "00-TRACE-SPAN-FLAGS", the traceresponse header; "" without a trace.
std::string traceresponse(const TraceContext& trace);

}  // namespace baltoro::server
