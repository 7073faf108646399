// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace baltoro::server {

// Ids of tool calls in both directions. Anthropic's clients need [A-Za-z0-9_-]+ and keep ids of many conversations
// side by side; the model needs functions.NAME:INDEX. toolu_ANSWER_INDEX, with the answer's own id in the middle, is
// both: unique everywhere, and with the name beside it the model's id can be told again.

// Makes the ids of one answer's calls.
class WireCallIds {
 public:
  explicit WireCallIds(std::string answer) : answer_(std::move(answer)) {}
  // `id`: the llm's; another form than functions.NAME:INDEX becomes toolu_ANSWER_nCOUNT.
  std::string make(std::string_view id, std::string_view name);

 private:
  std::string answer_;
  std::unordered_set<std::string> used_;
};

// Reads the ids of one conversation, in its order.
class NativeCallIds {
 public:
  // The id of a call for the llm: functions.NAME:INDEX if the id is of WireCallIds' making and no earlier call has
  // that one, else the id itself.
  const std::string& of_call(const std::string& wire, std::string_view name);
  // The same for a result: what its call got, or the id itself.
  const std::string& of_result(const std::string& wire) const;

 private:
  std::unordered_map<std::string, std::string> native_;  // by wire id
  std::unordered_set<std::string> used_;
};

}  // namespace baltoro::server
