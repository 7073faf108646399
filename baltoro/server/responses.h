// SPDX-License-Identifier: Apache-2.0
// OpenAI's Responses, as pure functions: JSON in, llm::ChatRequest out; events in, JSON out.
// Source: OpenAI's API reference and its OpenAPI description (openai/openai-openapi, 2026-08).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/base/json.h"
#include "baltoro/llm/llm.h"
#include "baltoro/server/answer_writer.h"
#include "baltoro/server/api_limits.h"
#include "baltoro/server/field_reader.h"

namespace baltoro::server {

// What the server remembers for the sender of a request.
struct Remembered {
  // The items of the conversation that ends with that response, oldest first. kNotFound, or kInvalidArgument for one
  // that is too long to be read again.
  std::function<Result<json::Array>(const std::string& response_id)> conversation;
  // An item that the server has named in an answer. The errors of `conversation`, for all the request refers to.
  std::function<Result<json::Value>(const std::string& item_id)> item;
  // Reasoning that the server has sealed for the client.
  std::function<std::optional<std::string>(std::string_view sealed)> open;
};

struct ResponsesCall {
  llm::ChatRequest request;
  std::string model;  // "" when absent
  bool stream = false;
  bool store = true;
  bool truncate = false;                  // what does not fit into the context is dropped from the conversation's start
  bool seal_reasoning = false;            // include: reasoning.encrypted_content
  std::string previous_response_id;       // "" when absent
  json::Array input;                      // this request's items; those without an id still lack one
  json::Object echo;                      // the members of the response object that repeat the request, in its order
  std::int64_t unreadable_reasoning = 0;  // sealed by somebody else, and therefore left out
};

// The body of POST /v1/responses (and of /input_tokens). Unknown members are ignored; known ones are honoured or
// refused by name. kNotFound with field previous_response_id for a conversation that is not remembered.
Result<ResponsesCall> parse_responses(const json::Value& body, const ApiLimits& limits, const Remembered& remembered);

// Appends items to a conversation: those of earlier responses, then the request's own. Reasoning, an answer's text and
// its calls become one assistant message, as the model wrote them. Items of tools that ran on another server are left
// out where they say nothing to the model, and refused where they do. Returns how many pieces of reasoning could not
// be opened. Errors stay in `reader`, the body's.
std::int64_t read_items(FieldReader& reader, const json::Array& history, const json::Array& input,
                        const ApiLimits& limits, const Remembered& remembered, text::Conversation& conversation);

// What an answer says of itself.
struct ResponsesHead {
  std::string id;  // "resp_..."; items are named after it
  std::string model;
  std::int64_t created_unix_s = 0;
  json::Object echo;
  bool stream = false;
  std::function<std::string(std::string_view reasoning)> seal;  // null: reasoning is not sealed
  std::function<std::int64_t()> now_unix_s;
  // The answer is complete (or was cut by its limit): the response object as written, and its items.
  std::function<void(const std::string& response, const json::Array& output)> on_complete;
};

// One response object / the stream of its events.
std::unique_ptr<AnswerWriter> make_responses_writer(ResponsesHead head);

// The id of the response that an item of one of our answers belongs to, "" for other ids.
std::string response_of_item(std::string_view item_id);

}  // namespace baltoro::server
