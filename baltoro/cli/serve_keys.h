// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/server/key_set.h"

namespace CLI {
class App;
}

namespace baltoro::cli {

// Where `serve` has its keys from, beside $BALTORO_API_KEY.
struct ServeKeyOptions {
  std::vector<std::string> plain;  // --api-key
  std::string plain_file;          // --api-key-file: one a line, blank lines and #comments aside
  std::string limits_file;         // --keys: as server::parse_keys reads it
};

// --api-key, --api-key-file, --keys.
void add_serve_key_options(CLI::App& app, ServeKeyOptions& options);

// All keys; none where none are asked for. Those with limits come first, the plain ones are named key-N after their
// place. An error names the file: kInvalidArgument for an empty key, a file without one, or server::parse_keys's; else
// those of read_file.
Result<std::vector<server::KeyEntry>> read_serve_keys(const ServeKeyOptions& options);

}  // namespace baltoro::cli
