// SPDX-License-Identifier: Apache-2.0
// A path and an If-None-Match, split at the first newline, for the chat page.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "baltoro/base/check.h"
#include "baltoro/server/page.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace baltoro::server;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t cut = std::min(input.find('\n'), input.size());
  Request request;
  request.method = "GET";
  request.path = input.substr(0, cut);
  const auto plain = page_response(request);
  request.headers.emplace_back("if-none-match", input.substr(std::min(cut + 1, input.size())));
  const auto asked = page_response(request);
  BALTORO_CHECK(plain.ok() == asked.ok(), "a tag decides whether there is a page");
  if (!asked.ok()) return 0;
  BALTORO_CHECK(plain->status == 200 && !plain->body.empty(), "a file without a body");
  BALTORO_CHECK(asked->status == 200 ? asked->body == plain->body : asked->status == 304 && asked->body.empty(),
                "an answer that is neither the file nor unchanged");
  return 0;
}
