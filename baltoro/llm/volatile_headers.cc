// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/volatile_headers.h"

#include <algorithm>
#include <array>
#include <string>

namespace baltoro::llm {
namespace {

constexpr std::array<std::string_view, 1> kNames = {"x-anthropic-billing-header:"};

}  // namespace

std::string_view without_volatile_headers(std::string_view content) {
  const auto begins = [&](std::string_view name) { return content.starts_with(name); };
  while (std::any_of(kNames.begin(), kNames.end(), begins)) {
    const std::size_t end = content.find('\n');
    content = end == std::string_view::npos ? std::string_view() : content.substr(end + 1);
  }
  return content;
}

bool strip_volatile_headers(text::Conversation& conversation) {
  bool any = false;
  std::erase_if(conversation.messages, [&](text::Message& message) {
    if (message.role != text::Role::kSystem) return false;
    const std::string_view rest = without_volatile_headers(message.content);
    if (rest.size() == message.content.size()) return false;
    any = true;
    message.content = std::string(rest);
    return message.content.empty();
  });
  return any;
}

}  // namespace baltoro::llm
