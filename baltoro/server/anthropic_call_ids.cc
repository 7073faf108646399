// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/anthropic_call_ids.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "baltoro/text/tool_ids.h"

namespace baltoro::server {
namespace {

constexpr std::string_view kPrefix = "toolu_";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// INDEX of toolu_ANSWER_INDEX or toolu_ANSWER_INDEX_COUNT.
std::optional<std::string_view> index_of(std::string_view id) {
  if (!id.starts_with(kPrefix)) return {};
  id.remove_prefix(kPrefix.size());
  const std::size_t end = id.find('_');
  if (end == std::string_view::npos || end == 0) return {};
  id.remove_prefix(end + 1);
  const std::string_view index = id.substr(0, id.find('_'));
  const bool number = !index.empty() && index.size() <= 9 && std::ranges::all_of(index, is_digit) &&
                      (index.size() == 1 || index.front() != '0');
  return number ? std::optional(index) : std::nullopt;
}

}  // namespace

std::string WireCallIds::make(std::string_view id, std::string_view name) {
  std::string base = fmt::format("{}{}_", kPrefix, answer_);
  if (text::is_native_call_id(id, name)) {
    base += id.substr(id.rfind(':') + 1);
  } else {
    base += fmt::format("n{}", used_.size());
  }
  std::string out = base;
  for (int count = 1; !used_.insert(out).second; ++count) out = fmt::format("{}_{}", base, count);
  return out;
}

const std::string& NativeCallIds::of_call(const std::string& wire, std::string_view name) {
  std::string& out = native_[wire];
  out = wire;
  if (const auto index = index_of(wire)) {
    std::string native = fmt::format("functions.{}:{}", name, *index);
    if (!used_.contains(native)) out = std::move(native);
  }
  used_.insert(out);
  return out;
}

const std::string& NativeCallIds::of_result(const std::string& wire) const {
  const auto found = native_.find(wire);
  return found == native_.end() ? wire : found->second;
}

}  // namespace baltoro::server
