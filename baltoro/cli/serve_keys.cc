// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/serve_keys.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string_view>
#include <utility>

#include "baltoro/base/file.h"

namespace baltoro::cli {
namespace {

constexpr std::uint64_t kMostFileBytes = 16 << 20;

Status add_lines(const std::string& path, std::vector<std::string>& keys) {
  const auto file = read_file(path, kMostFileBytes);
  if (!file.ok())
    return Error{file.error().code, fmt::format("cannot read the key file {}: {}", path, file.error().message)};
  const std::size_t before = keys.size();
  for (std::string_view rest = *file; !rest.empty();) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    if (!line.empty() && line.front() != '#') keys.emplace_back(line);
  }
  // An empty file must not open the server to everyone.
  if (keys.size() == before) return Error{Errc::kInvalidArgument, "no key in the key file " + path};
  return {};
}

Result<std::vector<std::string>> read_plain(const ServeKeyOptions& options) {
  std::vector<std::string> keys = options.plain;
  if (const char* key = std::getenv("BALTORO_API_KEY"); key != nullptr && *key != '\0') keys.emplace_back(key);
  if (!options.plain_file.empty()) BALTORO_TRY_STATUS(add_lines(options.plain_file, keys));
  if (std::ranges::find(keys, "") != keys.end()) return Error{Errc::kInvalidArgument, "an API key must not be empty"};
  return keys;
}

}  // namespace

void add_serve_key_options(CLI::App& app, ServeKeyOptions& options) {
  app.add_option("--api-key", options.plain, "A key that clients must send; may be repeated ($BALTORO_API_KEY)")
      ->type_name("KEY");
  app.add_option("--api-key-file", options.plain_file, "A file with one key a line")->type_name("FILE");
  app.add_option("--keys", options.limits_file, "Keys with limits and priorities, as JSON; read again at SIGHUP")
      ->type_name("FILE");
}

Result<std::vector<server::KeyEntry>> read_serve_keys(const ServeKeyOptions& options) {
  BALTORO_TRY(const std::vector<std::string> plain, read_plain(options));
  std::vector<server::KeyEntry> out;
  if (!options.limits_file.empty()) {
    BALTORO_TRY(const std::string text, read_file(options.limits_file, kMostFileBytes));
    auto parsed = server::parse_keys(text);
    if (!parsed.ok()) return Error{parsed.error().code, options.limits_file + ": " + parsed.error().message};
    out = *std::move(parsed);
  }
  std::ranges::move(server::plain_keys(plain, out.size() + 1), std::back_inserter(out));
  return out;
}

}  // namespace baltoro::cli
