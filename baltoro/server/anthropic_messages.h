// SPDX-License-Identifier: Apache-2.0
// Anthropic's Messages as pure functions: JSON in, llm::ChatRequest out; events in, JSON out. Sources: Anthropic's API
// reference and the types of its TypeScript SDK (1.12); what Claude Code sends.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/base/json.h"
#include "baltoro/llm/llm.h"
#include "baltoro/server/answer_writer.h"
#include "baltoro/server/anthropic_signature.h"
#include "baltoro/server/api_limits.h"
#include "baltoro/server/field_reader.h"

namespace baltoro::server {

// Arguments of a call that are no JSON object are shown to clients as an object with this one member, their text.
inline constexpr std::string_view kInvalidJson = "INVALID_JSON";

// What reading a request needs to know beside its body.
struct MessagesContext {
  const ApiLimits& limits;
  const ThinkingSigner& signer;
  std::string_view family = {};  // llm::ModelInfo's
  std::string_view betas = {};   // the anthropic-beta header
  bool counting = false;         // for count_tokens: max_tokens is not needed
};

struct MessagesCall {
  llm::ChatRequest request;
  std::string model;
  bool stream = false;
  bool show_thinking = true;        // thinking.display is not "omitted"
  bool only_cache = false;          // max_tokens 0: the prompt is computed and kept, the answer is empty
  bool context_management = false;  // asked for: the answer says that nothing was edited
  std::int64_t max_tokens = 0;      // as asked; the context may end earlier
};

// Unknown members and betas are ignored; known ones are checked, and what cannot be honoured is refused by name, but
// for tools that run elsewhere (see read_message_tools). `thread` is refused so that SDKs fall back to whole requests.
Result<MessagesCall> parse_messages(const json::Value& body, const MessagesContext& context);

// system and messages. A turn is all consecutive messages of one role; each tool_use must be answered in the user's
// turn after it, results before text. Text blocks of users, system and results are joined by a newline, the
// assistant's as they are. Results go under their tool's name. A last assistant message is continued. What thinking
// blocks say is kept if this server signed it, or if nobody can tell; a block that this server signed and somebody
// altered is refused.
std::vector<text::Message> read_message_list(FieldReader& reader, const MessagesContext& context);

// tools: those with an input_schema, as OpenAI declares functions. Of Anthropic's own, bash, the text editor and the
// memory tool are declared by their published schemas, since clients run them; those that Anthropic runs (web search,
// code execution, ...) are left out, as if not there.
std::vector<text::Tool> read_message_tools(FieldReader& reader, const ApiLimits& limits);

// tool_choice: auto, any, tool or none, with disable_parallel_tool_use.
void read_message_tool_choice(FieldReader& reader, llm::ChatRequest& request);

// What an answer says of itself and how it is shown.
struct MessageHead {
  std::string id;       // "msg_..."
  std::string call_id;  // in the ids of its tool calls: letters and digits
  std::string model;
  bool show_thinking = true, only_cache = false, context_management = false;
  std::int64_t max_tokens = 0;
  std::string request_id = {};             // for errors
  const ThinkingSigner* signer = nullptr;  // must outlive the writer
};
MessageHead message_head(const MessagesCall& call, std::string_view request_id, std::string_view model,
                         const ThinkingSigner& signer);

// One message / message_start, ping, content_block_start, _delta, _stop, message_delta, message_stop.
std::unique_ptr<AnswerWriter> make_message_writer(MessageHead head);
std::unique_ptr<AnswerWriter> make_message_stream_writer(MessageHead head);

}  // namespace baltoro::server
