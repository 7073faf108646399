// SPDX-License-Identifier: Apache-2.0
// The routes below /v1/responses.
#include <fmt/format.h>

#include "baltoro/server/api.h"
#include "baltoro/server/field_reader.h"

namespace baltoro::server {
namespace {

// The name in a path such as /v1/responses/NAME or /v1/responses/NAME/cancel.
std::string name_in(const Request& request) {
  std::string_view rest = std::string_view(request.path).substr(std::string_view("/v1/responses/").size());
  return std::string(rest.substr(0, rest.find('/')));
}

// The backend names chat's fields.
Error as_responses_error(Error error) {
  if (error.field == "messages") error.field = "input";
  if (error.field == "max_tokens") error.field = "max_output_tokens";
  if (error.field.starts_with("response_format")) error.field.replace(0, 15, "text.format");
  if (error.field == "thinking") error.field = "reasoning";
  return error;
}

}  // namespace

Api::Answer Api::responses(Request& request, Wake wake) {
  Call call;
  BALTORO_TRY(const json::Value body, parse_body(request.body, options_.limits));
  request.body = {};
  BALTORO_TRY(ResponsesService::Prepared read,
              responses_.prepare(body, tenant_of(request), "resp_" + request.id.substr(4), backend_.model().id));
  BALTORO_TRY_STATUS(check_model(read.model));
  BALTORO_TRY(read.request.cache_scope, scope_of(request, body));
  if (read.truncate) BALTORO_TRY_STATUS(shorten_to_context(backend_, read.request));
  if (read.unreadable_reasoning > 0 && options_.log) {
    options_.log(fmt::format("{} {} sealed thoughts are not this server's and were left out", request.id,
                             read.unreadable_reasoning));
  }
  call.stream = read.stream;
  call.writer = std::move(read.writer);
  call.work.emplace_back(std::move(read.request));
  auto answer = start(request, body, std::move(call), wake);
  if (!answer.ok()) return as_responses_error(std::move(answer).error());
  return answer;
}

Api::Answer Api::response(Request& request, Wake) {
  BALTORO_TRY(std::string body, responses_.get(tenant_of(request), name_in(request), request.query));
  return make_reply({.body = std::move(body)});
}

Api::Answer Api::delete_response(Request& request, Wake) {
  BALTORO_TRY(std::string body, responses_.erase(tenant_of(request), name_in(request)));
  return make_reply({.body = std::move(body)});
}

Api::Answer Api::cancel_response(Request& request, Wake) {
  BALTORO_TRY(std::string body, responses_.cancel(tenant_of(request), name_in(request)));
  return make_reply({.body = std::move(body)});
}

Api::Answer Api::response_input(Request& request, Wake) {
  BALTORO_TRY(std::string body, responses_.input_items(tenant_of(request), name_in(request), request.query));
  return make_reply({.body = std::move(body)});
}

Api::Answer Api::count_response(Request& request, Wake) {
  BALTORO_TRY(const json::Value body, parse_body(request.body, options_.limits));
  BALTORO_TRY(ResponsesService::Prepared read, responses_.prepare_count(body, tenant_of(request)));
  BALTORO_TRY_STATUS(check_model(read.model));
  BALTORO_TRY(read.request.cache_scope, scope_of(request, body));
  if (read.truncate) BALTORO_TRY_STATUS(shorten_to_context(backend_, read.request));
  BALTORO_TRY(const std::int64_t count, backend_.count_tokens(read.request));
  return make_reply({.body = json::dump(json::Object{{"object", "response.input_tokens"}, {"input_tokens", count}})});
}

}  // namespace baltoro::server
