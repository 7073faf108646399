// SPDX-License-Identifier: Apache-2.0
// The routes of Anthropic's clients.
#include "baltoro/server/anthropic_errors.h"
#include "baltoro/server/anthropic_messages.h"
#include "baltoro/server/anthropic_models.h"
#include "baltoro/server/api.h"

namespace baltoro::server {
namespace {

// Adds every anthropic-beta header, as a list.
std::string betas_of(const Request& request) {
  std::string out;
  for (const auto& [name, value] : request.headers) {
    if (name == "anthropic-beta") out += value + ",";
  }
  return out;
}

}  // namespace

Result<MessagesCall> Api::read_messages(Request& request, const json::Value& body, bool counting) const {
  const llm::ModelInfo model = backend_.model();
  const std::string betas = betas_of(request);
  BALTORO_TRY(MessagesCall call, parse_messages(body, {.limits = options_.limits,
                                                       .signer = signer_,
                                                       .family = model.family,
                                                       .betas = betas,
                                                       .counting = counting}));
  BALTORO_TRY_STATUS(check_model(call.model));
  return call;
}

Api::Answer Api::messages(Request& request, Wake wake) {
  Call call;
  BALTORO_TRY(const json::Value body, parse_body(request.body, options_.limits));
  request.body = {};
  BALTORO_TRY(MessagesCall read, read_messages(request, body, false));
  MessageHead head = message_head(read, request.id, backend_.model().id, signer_);
  call.stream = read.stream;
  call.writer = read.stream ? make_message_stream_writer(std::move(head)) : make_message_writer(std::move(head));
  call.work.emplace_back(std::move(read.request));
  return start(request, body, std::move(call), wake);
}

Api::Answer Api::message_tokens(Request& request, Wake) {
  BALTORO_TRY(const json::Value body, parse_body(request.body, options_.limits));
  BALTORO_TRY(MessagesCall read, read_messages(request, body, true));
  BALTORO_TRY(read.request.cache_scope, scope_of(request, body));
  BALTORO_TRY(const std::int64_t count, backend_.count_tokens(read.request));
  const json::Value out = json::Object{{"input_tokens", count}};
  return make_reply({.body = json::dump(out)});
}

}  // namespace baltoro::server
