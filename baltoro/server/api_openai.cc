// SPDX-License-Identifier: Apache-2.0
// The routes of OpenAI's clients, but for /v1/responses.
#include <cstdint>

#include "baltoro/base/hex.h"
#include "baltoro/base/utf8.h"
#include "baltoro/server/anthropic_errors.h"
#include "baltoro/server/anthropic_models.h"
#include "baltoro/server/api.h"
#include "baltoro/server/field_reader.h"
#include "baltoro/server/openai_chat.h"
#include "baltoro/server/openai_completions.h"

namespace baltoro::server {
namespace {

std::string percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape =
        text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0;
    if (escape) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

json::Value model_json(const llm::ModelInfo& model) {
  json::Object out;
  out.emplace_back("id", model.id);
  out.emplace_back("object", "model");
  out.emplace_back("created", model.created_unix_s);
  out.emplace_back("owned_by", "baltoro");
  out.emplace_back("root", model.id);
  out.emplace_back("parent", nullptr);
  out.emplace_back("context_length", model.max_context_tokens);  // Moonshot's name, then vLLM's
  out.emplace_back("max_model_len", model.max_context_tokens);
  out.emplace_back("supports_reasoning", model.thinks);
  out.emplace_back("supports_image_in", false);
  out.emplace_back("supports_video_in", false);
  if (!model.arithmetic.empty()) out.emplace_back("arithmetic", model.arithmetic);
  return out;
}

std::unique_ptr<Reply> json_reply(const json::Value& body) { return make_reply({.body = json::dump(body)}); }

}  // namespace

AnswerHead Api::openai_head(const std::string& id, const Call& call, bool include_usage) const {
  return {.id = id,
          .model = backend_.model().id,
          .created_unix_s = unix_now(),
          .system_fingerprint = fingerprint_,
          .n = call.n,
          .choices = call.choices,
          .include_usage = include_usage};
}

Api::Answer Api::chat(Request& request, Wake wake) {
  Call call;
  BALTORO_TRY(const json::Value body, parse_body(request.body, options_.limits));
  request.body = {};
  BALTORO_TRY(ChatCall read, parse_chat(body, options_.limits));
  BALTORO_TRY_STATUS(check_model(read.model));
  call.n = call.choices = read.request.limits.n;
  call.stream = read.stream;
  const AnswerHead head = openai_head("chatcmpl-" + request.id.substr(4), call, read.include_usage);
  call.writer = read.stream ? make_chat_stream_writer(head) : make_chat_writer(head);
  call.work.emplace_back(std::move(read.request));
  return start(request, body, std::move(call), wake);
}

Api::Answer Api::completion(Request& request, Wake wake) {
  Call call;
  BALTORO_TRY(const json::Value body, parse_body(request.body, options_.limits));
  request.body = {};
  BALTORO_TRY(CompletionCall read, parse_completion(body, options_.limits));
  BALTORO_TRY_STATUS(check_model(read.model));
  call.n = read.requests.front().limits.n;
  call.choices = static_cast<std::int32_t>(read.requests.size()) * call.n;
  call.stream = read.stream;
  const AnswerHead head = openai_head("cmpl-" + request.id.substr(4), call, read.include_usage);
  call.writer = read.stream ? make_completion_stream_writer(head) : make_completion_writer(head);
  for (llm::CompletionRequest& one : read.requests) call.work.emplace_back(std::move(one));
  return start(request, body, std::move(call), wake);
}

Api::Answer Api::models(Request& request, Wake) {
  if (speaks_anthropic(request)) {
    BALTORO_TRY(const json::Value page, anthropic_models(backend_.model(), request.query));
    return json_reply(page);
  }
  json::Value out;
  out.set("object", "list");
  out.set("data", json::Array{model_json(backend_.model())});
  return json_reply(out);
}

Api::Answer Api::one_model(Request& request, Wake) {
  constexpr std::string_view kPrefix = "/v1/models/";
  BALTORO_TRY_STATUS(check_model(percent_decode(anthropic_route(request.path).substr(kPrefix.size()))));
  if (speaks_anthropic(request)) return json_reply(anthropic_model(backend_.model()));
  return json_reply(model_json(backend_.model()));
}

Api::Answer Api::tokenize(Request& request, Wake) {
  BALTORO_TRY(json::Value body, parse_body(request.body, options_.limits));
  FieldReader reader(body, "");
  const std::string* text = reader.string("prompt");
  if (text == nullptr) text = reader.string("text");
  if (text == nullptr) reader.missing("prompt", "a string");
  if (!reader.ok()) return reader.status().error();
  BALTORO_TRY(std::vector<std::int32_t> ids, backend_.tokenize(*text, false));
  json::Value out;
  out.set("count", static_cast<std::int64_t>(ids.size()));
  out.set("max_model_len", backend_.model().max_context_tokens);
  json::Array tokens(ids.begin(), ids.end());
  out.set("tokens", std::move(tokens));
  return json_reply(out);
}

Api::Answer Api::detokenize(Request& request, Wake) {
  BALTORO_TRY(json::Value body, parse_body(request.body, options_.limits));
  FieldReader reader(body, "");
  const json::Array* tokens = reader.array("tokens", options_.limits.max_json_values);
  if (tokens == nullptr) reader.missing("tokens", "an array of token ids");
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; reader.ok() && i < tokens->size(); ++i) {
    const json::Value& id = (*tokens)[i];
    if (id.kind() != json::Kind::kInt || id.as_int() < 0 || id.as_int() > INT32_MAX) {
      reader.fail_with(field_error(reader.path("tokens", i), "a token id is needed"));
    } else {
      ids.push_back(static_cast<std::int32_t>(id.as_int()));
    }
  }
  if (!reader.ok()) return reader.status().error();
  BALTORO_TRY(const std::string text, backend_.detokenize(ids));
  return json_reply(json::Object{{"prompt", utf8_sanitize(text)}});
}

Api::Answer Api::count_tokens(Request& request, Wake) {
  BALTORO_TRY(json::Value body, parse_body(request.body, options_.limits));
  BALTORO_TRY(ChatCall call, parse_chat(body, options_.limits));
  BALTORO_TRY_STATUS(check_model(call.model));
  BALTORO_TRY(call.request.cache_scope, scope_of(request, body));
  BALTORO_TRY(std::int64_t count, backend_.count_tokens(call.request));
  json::Value out;
  out.set("data", json::Object{{"total_tokens", count}});
  return json_reply(out);
}

}  // namespace baltoro::server
