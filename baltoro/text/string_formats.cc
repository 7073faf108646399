// SPDX-License-Identifier: Apache-2.0
// Sources: RFC 3339 (dates), 5321 (mail, without quoting and comments), 1123 (hosts), 4291 (IPv6), 3986 (URIs, without
// percent signs and brackets), 9562 (UUIDs), 6901 (JSON pointers), 4648 (base64).
#include "baltoro/text/string_formats.h"

#include <array>
#include <utility>

namespace baltoro::text {
namespace {

#define DATE                                                                                                           \
  "\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]" \
  "))"
#define TIME "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?"
#define OCTET "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"
#define H16 "[0-9A-Fa-f]{1,4}"
#define URI_PATH \
  "[A-Za-z0-9._~!$&'()*+,;=:@/-]*(?:\\?[A-Za-z0-9._~!$&'()*+,;=:@/?-]*)?(?:#[A-Za-z0-9._~!$&'()*+,;=:@/?-]*)?"

constexpr std::array<std::pair<std::string_view, std::string_view>, 13> kFormats = {{
    {"date-time", "^" DATE "T" TIME "$"},
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"duration",
     "^P(?:\\d{1,4}W|\\d{1,4}D(?:T\\d{1,4}H)?|T(?:\\d{1,4}H(?:\\d{1,4}M(?:\\d{1,4}S)?)?|\\d{1,4}M(?:\\d{1,4}S)?|\\d{1,"
     "4}S))$"},
    {"email", "^[A-Za-z0-9_+-]+(?:\\.[A-Za-z0-9_+-]+)*@" LABEL "(?:\\." LABEL ")+$"},
    {"hostname", "^" LABEL "(?:\\." LABEL "){0,3}$"},
    {"ipv4", "^" OCTET "(?:\\." OCTET "){3}$"},
    {"ipv6", "^(?:(?:" H16 ":){7}" H16 "|(?:" H16 ":){1,6}:" H16 "|::" H16 "|::)$"},
    {"uri", "^[A-Za-z][A-Za-z0-9+.-]*://" LABEL "(?:\\." LABEL ")*(?::\\d{1,4})?(?:/" URI_PATH ")?$"},
    {"uri-reference",
     "^/"
     "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]" URI_PATH ")?$"},
    {"uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"},
    {"json-pointer", "^(?:/(?:[^~/]|~[01])*)*$"},
    {"byte", "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"},
}};

}  // namespace

std::string_view format_pattern(std::string_view format) {
  for (const auto& [name, pattern] : kFormats)
    if (name == format) return pattern;
  return {};
}

}  // namespace baltoro::text
