// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/page.h"

#include <algorithm>
#include <string>

namespace baltoro::server {
namespace {

// Own scripts, styles and requests only; no framing, no forms, no plug-ins, and (where browsers know it) no way to turn
// a string into markup or code.
constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

std::string_view trim(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

// RFC 9110 13.1.2: "*" or a list of tags, compared without their weakness. Our tags contain no comma.
bool names_etag(std::string_view list, std::string_view etag) {
  while (!list.empty()) {
    const std::size_t comma = std::min(list.find(','), list.size());
    std::string_view tag = trim(list.substr(0, comma));
    if (tag.starts_with("W/")) tag.remove_prefix(2);
    if (tag == "*" || tag == etag) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

}  // namespace

Result<Response> page_response(const Request& request) {
  const auto files = page_files();
  const auto file = std::ranges::find(files, request.path, &PageFile::path);
  if (file == files.end()) return Error{Errc::kNotFound, "no such path here"};
  Response response{.content_type = {}};
  response.headers = {{"ETag", std::string(file->etag)},
                      {"Cache-Control", "no-cache"},
                      {"Content-Security-Policy", std::string(kPolicy)},
                      {"Cross-Origin-Resource-Policy", "same-origin"},
                      {"Referrer-Policy", "no-referrer"},
                      {"X-Frame-Options", "DENY"}};
  const bool unchanged = std::ranges::any_of(request.headers, [&](const auto& field) {
    return field.first == "if-none-match" && names_etag(field.second, file->etag);
  });
  if (unchanged) {
    response.status = 304;
    return response;
  }
  response.content_type = file->content_type;
  response.body = file->body;
  return response;
}

}  // namespace baltoro::server
