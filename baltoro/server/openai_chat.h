// SPDX-License-Identifier: Apache-2.0
// OpenAI's Chat Completions with Moonshot's additions (reasoning_content, partial, cached_tokens, thinking), as pure
// functions: JSON in, llm::ChatRequest out; events in, JSON out. Source: OpenAI's API reference; Moonshot's platform
// docs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "baltoro/base/json.h"
#include "baltoro/llm/llm.h"
#include "baltoro/server/answer_writer.h"
#include "baltoro/server/api_limits.h"
#include "baltoro/server/field_reader.h"

namespace baltoro::server {

struct ChatCall {
  llm::ChatRequest request;
  std::string model;  // "" when absent
  bool stream = false;
  bool include_usage = false;
};

// Unknown members are ignored; known ones are checked, and those this server cannot honour are refused by name.
Result<ChatCall> parse_chat(const json::Value& body, const ApiLimits& limits);

// messages: roles system, developer (= system), user, assistant, tool; contents as text or text parts. A system message
// with `tools` and no content declares more of them (Moonshot's dynamic tools): they join the request's own, which
// `conversation` holds already, and the message itself says nothing. Errors stay in `reader`.
void read_messages(FieldReader& reader, const ApiLimits& limits, text::Conversation& conversation);

// One "chat.completion" body / a stream of "chat.completion.chunk" events ended by [DONE].
std::unique_ptr<AnswerWriter> make_chat_writer(AnswerHead head);
std::unique_ptr<AnswerWriter> make_chat_stream_writer(AnswerHead head);

}  // namespace baltoro::server
