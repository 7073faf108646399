// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "baltoro/base/result.h"
#include "baltoro/llm/llm.h"
#include "baltoro/server/api.h"

namespace CLI {
class App;
}

namespace baltoro::cli {

// What `serve` lets one choose about the APIs themselves.
struct ServeApiOptions {
  llm::Sampling sampling;
  bool strict_moonshot = false;
  std::int64_t store_responses = 4096, store_mib = 256;
  std::string seal_key_file;
};

// --temperature and its kind, --strict-moonshot, --store-responses, --store-mib, --seal-key-file.
void add_serve_api_options(CLI::App& app, ServeApiOptions& options);

// Puts them where the server looks. The errors of server::SealKey::in_file.
Status apply_serve_api_options(const ServeApiOptions& options, server::ApiOptions& out);

}  // namespace baltoro::cli
