// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "baltoro/base/sha256.h"
#include "baltoro/text/message.h"

namespace baltoro::llm {

// How often a conversation's tool calls have come, the ones of the answer under way included. Two calls are the same
// when name and arguments are, byte for byte but for white space between JSON tokens, which clients change. Keeps a
// digest for each call. One per choice.
class CallCounter {
 public:
  using Counts = std::unordered_map<std::string, std::int64_t>;
  // The calls of the history. Choices of one request share what this makes.
  static std::shared_ptr<const Counts> count(const text::Conversation& conversation);

  explicit CallCounter(std::shared_ptr<const Counts> history);

  void begin(std::string_view name);
  void arguments(std::string_view piece);
  // The call is whole: how often it has come, this time included.
  std::int64_t end();
  // The largest that end() gave; 0 before.
  std::int64_t most() const { return most_; }

 private:
  std::shared_ptr<const Counts> history_;
  Counts own_;
  Sha256 digest_;
  bool in_string_ = false, escaped_ = false;
  std::int64_t most_ = 0;
};

}  // namespace baltoro::llm
