// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/turn_digest.h"

#include <cmath>
#include <utility>

#include "baltoro/base/check.h"
#include "baltoro/base/json.h"

namespace baltoro::llm {
namespace {

constexpr std::string_view kSpaces = " \t\r\n\f\v";

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kSpaces);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpaces) - first + 1);
}

std::string with_unix_lines(std::string_view text) {
  std::string lines;
  lines.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] != '\r' || i + 1 == text.size() || text[i + 1] != '\n') lines.push_back(text[i]);
  return lines;
}

// JavaScript has one kind of number: a client that reads 1.0 writes 1.
void unify_numbers(json::Value& value) {
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (value.kind() == json::Kind::kDouble) {
    const double number = value.as_double();
    if (std::fabs(number) <= kExact && number == std::floor(number)) value = static_cast<std::int64_t>(number);
  } else if (value.is_array()) {
    for (json::Value& item : value.as_array()) unify_numbers(item);
  } else if (value.is_object()) {
    for (auto& [name, member] : value.as_object()) unify_numbers(member);
  }
}

// Each piece with its length in front, so that no two lists of pieces read the same.
void add(Sha256& hash, std::string_view piece) {
  const std::uint64_t size = piece.size();
  hash.update(std::as_bytes(std::span(&size, 1)));
  hash.update(std::as_bytes(std::span(piece)));
}

}  // namespace

std::string canonical_arguments(std::string_view arguments) {
  const std::string_view text = trim(arguments);
  if (text.empty()) return "{}";
  auto value = json::parse(text);
  if (!value.ok()) return std::string(text);
  unify_numbers(*value);
  return json::dump(*value, {.sort_keys = true});
}

Sha256Digest visible_digest(const text::Message& message) {
  Sha256 hash;
  add(hash, with_unix_lines(trim(message.content)));
  for (const text::ToolCall& call : message.tool_calls) {
    add(hash, call.name);
    add(hash, canonical_arguments(call.arguments));
  }
  return hash.finish();
}

std::optional<Sha256Digest> reasoning_digest(std::string_view reasoning) {
  std::string words;
  for (const char c : trim(reasoning)) {
    const bool space = kSpaces.find(c) != std::string_view::npos;
    if (!space) words.push_back(c);
    if (space && words.back() != ' ') words.push_back(' ');
  }
  if (words.empty()) return std::nullopt;
  return sha256(std::as_bytes(std::span(words)));
}

PromptDigest::PromptDigest(std::string_view tenant) { add(hash_, tenant); }

Sha256Digest PromptDigest::of(std::span<const std::int32_t> prompt, std::span<const std::int32_t> more) {
  BALTORO_CHECK(prompt.size() >= hashed_, "a prompt only grows");
  hash_.update(std::as_bytes(prompt.subspan(hashed_)));
  hashed_ = prompt.size();
  Sha256 whole = hash_.fork();
  whole.update(std::as_bytes(more));
  return whole.finish();
}

}  // namespace baltoro::llm
