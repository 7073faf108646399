// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "baltoro/server/http.h"

namespace baltoro::server {

enum class LogFormat : std::uint8_t { kText, kJson };

// One line for a request that has ended, without newline. Holds no prompt, no answer and no key; what a client sent
// (method, path) is cut to 200 bytes and escaped.
//   text: 2026-01-31T12:00:00.123Z 127.0.0.1:4000 "POST /v1/x" 200 512B 83.1ms req-... prompt_tokens=12 ...
//   json: {"time","request_id","trace_id","span_id","parent_id","peer","method","path","endpoint","status","bytes",
//         "ms", and the fields}
std::string access_line(LogFormat format, std::string_view time, std::string_view endpoint, const Request& request,
                        const Handler::Ended& how);

// What a client sent, made safe for one log line.
std::string log_safe(std::string_view text);
// Now, "2026-01-31T12:00:00.123Z".
std::string utc_now();

}  // namespace baltoro::server
