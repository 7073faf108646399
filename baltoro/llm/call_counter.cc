// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/call_counter.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

namespace baltoro::llm {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

std::shared_ptr<const CallCounter::Counts> CallCounter::count(const text::Conversation& conversation) {
  CallCounter counter(std::make_shared<Counts>());
  for (const text::Message& message : conversation.messages) {
    for (const text::ToolCall& call : message.tool_calls) {
      counter.begin(call.name);
      counter.arguments(call.arguments);
      counter.end();
    }
  }
  return std::make_shared<const Counts>(std::move(counter.own_));
}

CallCounter::CallCounter(std::shared_ptr<const Counts> history) : history_(std::move(history)) {}

void CallCounter::begin(std::string_view name) {
  digest_ = Sha256();
  in_string_ = escaped_ = false;
  digest_.update(bytes_of(name));
  digest_.update(bytes_of(std::string_view("\0", 1)));  // no name has one
}

void CallCounter::arguments(std::string_view piece) {
  std::string kept;
  kept.reserve(piece.size());
  for (const char c : piece) {
    if (in_string_) {
      in_string_ = escaped_ || c != '"';
      escaped_ = !escaped_ && c == '\\';
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      continue;
    } else {
      in_string_ = c == '"';
    }
    kept += c;
  }
  digest_.update(bytes_of(kept));
}

std::int64_t CallCounter::end() {
  const Sha256Digest digest = digest_.finish();
  const std::string key(reinterpret_cast<const char*>(digest.data()), digest.size());
  std::int64_t times = ++own_[key];
  if (const auto before = history_->find(key); before != history_->end()) times += before->second;
  most_ = std::max(most_, times);
  return times;
}

}  // namespace baltoro::llm
