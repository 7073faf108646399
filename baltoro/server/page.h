// SPDX-License-Identifier: Apache-2.0
// The chat page: the files of web/, embedded when building (cmake/embed_page.cmake). Any thread; nothing is allocated
// but answers.
#pragma once

#include <span>
#include <string_view>

#include "baltoro/base/result.h"
#include "baltoro/server/http.h"

namespace baltoro::server {

struct PageFile {
  std::string_view path;          // "/" for index.html, "/page/NAME" for the others
  std::string_view content_type;  // with charset
  std::string_view etag;          // strong, quoted: the start of the body's SHA-256
  std::string_view body;
};

// All files, in no order that matters.
std::span<const PageFile> page_files();

// The answer to a GET or HEAD of request.path: the file, or 304 if If-None-Match names its ETag. Browsers ask again
// each time (no-cache), so a new server's page is never mixed with an old one's. kNotFound: no such file.
Result<Response> page_response(const Request& request);

}  // namespace baltoro::server
