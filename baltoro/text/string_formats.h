// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace baltoro::text {

// A pattern whose texts all have the format (not all texts of the format: e.g. no 29 February), or empty where the
// format is none of: date-time, date, time, duration, email, hostname, ipv4, ipv6, uri, uri-reference, uuid,
// json-pointer, byte. Inside text/ only.
std::string_view format_pattern(std::string_view format);

}  // namespace baltoro::text
