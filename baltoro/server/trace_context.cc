// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/trace_context.h"

#include <fmt/format.h>

#include "baltoro/base/hex.h"

namespace baltoro::server {
namespace {

bool zeros(std::string_view text) { return text.find_first_not_of('0') == std::string_view::npos; }

// The last bit of the flags, the only one that has a meaning yet.
bool sampled(std::string_view flags) {
  return std::string_view("13579bdf").find(flags.back()) != std::string_view::npos;
}

// SplitMix64's mixing function.
std::uint64_t mixed(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace

std::optional<TraceContext> parse_traceparent(std::string_view header) {
  constexpr std::size_t kLength = 55;
  if (header.size() < kLength || header.size() > 512) return {};
  const std::string_view version = header.substr(0, 2), trace = header.substr(3, 32), parent = header.substr(36, 16),
                         flags = header.substr(53, 2);
  if (header[2] != '-' || header[35] != '-' || header[52] != '-') return {};
  if (!is_lower_hex(version) || !is_lower_hex(trace) || !is_lower_hex(parent) || !is_lower_hex(flags)) return {};
  if (version == "ff" || zeros(trace) || zeros(parent)) return {};
  if (header.size() > kLength && (version == "00" || header[kLength] != '-')) return {};
  return TraceContext{.trace_id = std::string(trace),
                      .span_id = {},
                      .parent_id = std::string(parent),
                      .flags = version == "00" ? std::string(flags) : (sampled(flags) ? "01" : "00")};
}

TraceContext make_trace(const std::string* header, std::uint64_t run, std::uint64_t number) {
  TraceContext out;
  if (header != nullptr) {
    if (auto given = parse_traceparent(*header)) out = *std::move(given);
  }
  if (out.trace_id.empty()) out.trace_id = fmt::format("{:016x}{:016x}", mixed(run), mixed(run ^ mixed(number)));
  out.span_id = fmt::format("{:016x}", mixed(mixed(run + 1) ^ number) | 1);
  return out;
}

std::string traceresponse(const TraceContext& trace) {
  if (trace.trace_id.empty()) return {};
  return fmt::format("00-{}-{}-{}", trace.trace_id, trace.span_id, trace.flags);
}

}  // namespace baltoro::server
