// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "baltoro/base/json.h"
#include "baltoro/base/result.h"
#include "baltoro/server/http.h"

namespace baltoro::server {

// Whether a request comes from one of Anthropic's clients, and gets its answers in their shapes: by its path
// (/v1/messages..., /anthropic/...) or its anthropic-version header.
bool speaks_anthropic(const Request& head);

// The path without a leading "/anthropic", the base that Moonshot's platform gives to Anthropic's clients.
std::string_view anthropic_route(std::string_view path);

// {"type":"error","error":{"type","message","details"?},"request_id"} as Anthropic writes it. A field in front of the
// message is written as there ("messages.2.content.0: ..."). Texts of kInternal, kCorrupt and kIo errors stay in the
// log. `details` tells SDKs that threads are not offered.
json::Value anthropic_error(const Error& error, std::string_view request_id);

// The HTTP status of each kind of failure for Anthropic's clients: 529 is "overloaded", 504 a timeout.
int anthropic_status(Errc code);

// The whole answer to a failed request, with Retry-After where trying again helps.
Response anthropic_error_response(const Error& error, std::string_view request_id);

// As above for a failure that only HTTP knows: 405, 413, 415, 431, ...
Response anthropic_status_response(int status, std::string_view message, std::string_view request_id);

// "event: error\ndata: {...}\n\n": an error inside a stream.
std::string anthropic_error_event(const Error& error, std::string_view request_id);

}  // namespace baltoro::server
