// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "baltoro/base/json.h"
#include "baltoro/base/result.h"
#include "baltoro/server/http.h"

namespace baltoro::server {

// The HTTP status of each kind of failure.
int http_status(Errc code);

// {"error":{"message","type","param","code"}} as OpenAI writes it; param is the error's field or null. Texts of
// kInternal, kCorrupt and kIo errors stay in the log: the client gets a fixed sentence.
json::Value openai_error(const Error& error);

// When to try again, for any dialect: Retry-After with 429, 503 and 529, X-Should-Retry: false where it cannot help.
void add_retry_headers(Response& response, const Error& error);

// The whole answer to a failed request, with add_retry_headers.
Response openai_error_response(const Error& error);

// As above for a failure that only HTTP knows: 405, 414, 415, 431, ...
Response openai_status_response(int status, std::string_view message);

// "data: {"error":...}\n\n": an error inside a stream.
std::string openai_error_event(const Error& error);

}  // namespace baltoro::server
