// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets of all dialects hold a request's body to, and the answer that they play back for one that
// parses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "baltoro/base/check.h"
#include "baltoro/base/utf8.h"
#include "baltoro/llm/llm.h"
#include "baltoro/server/http.h"

namespace baltoro::server {

inline std::string_view fuzz_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// An error says something short, and as `response` it is JSON and the client's fault.
inline void check_request_error(const Error& error, const Response& response) {
  BALTORO_CHECK(!error.message.empty() && error.message.size() < 2000, "an error says something short");
  BALTORO_CHECK(response.status >= 400 && response.status < 500, "a bad request is the client's fault");
  BALTORO_CHECK(json::parse(response.body).ok(), "an error is JSON");
}

inline void check_texts(const text::Conversation& conversation) {
  for (const text::Message& message : conversation.messages) {
    BALTORO_CHECK(utf8_valid(message.content) && utf8_valid(message.reasoning), "texts are UTF-8");
    BALTORO_CHECK(message.tool_calls.empty() || message.role == text::Role::kAssistant, "assistants call");
  }
}

// The conversation's own texts and calls, as if a model said them.
template <typename Play>
void play_conversation(const text::Conversation& conversation, Play play) {
  std::int32_t index = 0;
  for (const text::Message& message : conversation.messages) {
    if (!message.reasoning.empty()) play({0, llm::ReasoningDelta{message.reasoning}});
    if (!message.content.empty()) play({0, llm::ContentDelta{message.content}});
    for (const text::ToolCall& call : message.tool_calls) {
      play({0, llm::ToolCallBegin{index, call.id, call.name}});
      play({0, llm::ToolCallArguments{index, call.arguments}});
      play({0, llm::ToolCallEnd{index++}});
    }
  }
  play({0, llm::Finished{}});
}

// Takes a stream apart: `each` gets every event's name (empty where it has none) and its data.
template <typename Each>
void check_events(std::string_view out, Each each) {
  while (!out.empty()) {
    const std::size_t end = out.find("\n\n");
    BALTORO_CHECK(end != std::string_view::npos, "an event ends");
    std::string_view event = out.substr(0, end), name;
    if (event.starts_with("event: ")) {
      const std::size_t line = event.find('\n');
      BALTORO_CHECK(line != std::string_view::npos, "a name is followed by data");
      name = event.substr(7, line - 7);
      event.remove_prefix(line + 1);
    }
    BALTORO_CHECK(event.starts_with("data: "), "an event has data");
    each(name, event.substr(6));
    out.remove_prefix(end + 2);
  }
}

}  // namespace baltoro::server
