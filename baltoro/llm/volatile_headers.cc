// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/volatile_headers.h"

#include <algorithm>
#include <array>
#include <string>

namespace baltoro::llm {
namespace {

constexpr std::array<std::string_view, 1> kNames = {"x-anthropic-billing-header:"};
constexpr std::string_view kNameCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

// Behind `name=value; name=value; ...` and the line's end. What follows without a line's end, as where a client joins
// pieces of text, is kept.
std::string_view behind_attributes(std::string_view text) {
  for (;;) {
    const std::size_t start = std::min(text.find_first_not_of(" \t\r"), text.size());
    const std::size_t end = text.find_first_not_of(kNameCharacters, start);
    if (end == start || end == std::string_view::npos || text[end] != '=') {
      text.remove_prefix(start);
      if (text.starts_with('\n')) text.remove_prefix(1);
      return text;
    }
    const std::size_t stop = std::min(text.find_first_of(";\n", end), text.size());
    text.remove_prefix(stop + (stop < text.size() && text[stop] == ';' ? 1 : 0));
  }
}

}  // namespace

std::string_view without_volatile_headers(std::string_view content) {
  const auto begins = [&](std::string_view name) { return content.starts_with(name); };
  for (;;) {
    const auto name = std::find_if(kNames.begin(), kNames.end(), begins);
    if (name == kNames.end()) return content;
    content = behind_attributes(content.substr(name->size()));
  }
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
