// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/serve_api_options.h"

#include <CLI/CLI.hpp>
#include <cstddef>

#include "baltoro/server/seal_key.h"

namespace baltoro::cli {

void add_serve_api_options(CLI::App& app, ServeApiOptions& options) {
  llm::Sampling& s = options.sampling;
  const auto number = [&](const char* name, std::optional<float>& value, double low, double high, const char* text) {
    app.add_option(name, value, text)->check(CLI::Range(low, high))->type_name("X");
  };
  number("--temperature", s.temperature, 0, 2, "Where a request names none (default: the family's)");
  number("--top-p", s.top_p, 1e-6, 1, "Where a request names none (default: the family's)");
  number("--min-p", s.min_p, 0, 1, "Where a request names none");
  number("--presence-penalty", s.presence_penalty, -2, 2, "Where a request names none");
  number("--frequency-penalty", s.frequency_penalty, -2, 2, "Where a request names none");
  number("--repetition-penalty", s.repetition_penalty, 0.01, 10, "Where a request names none");
  app.add_option("--top-k", s.top_k, "Where a request names none")->check(CLI::Range(0, 1 << 30))->type_name("N");
  app.add_flag("--strict-moonshot", options.strict_moonshot,
               "Refuse what Moonshot's API refuses: temperature over 1, top_p but 0.95, penalties, n over 1");
  app.add_option("--store-responses", options.store_responses, "Responses kept for previous_response_id (0: none)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--store-mib", options.store_mib, "Memory they may take")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 20))
      ->capture_default_str();
  app.add_option(
         "--seal-key-file", options.seal_key_file,
         "The key of thoughts that clients keep for us, so that they are known after a restart, too (made where "
         "there is none; default: a new key each start)")
      ->type_name("FILE");
}

Status apply_serve_api_options(const ServeApiOptions& options, server::ApiOptions& out) {
  out.sampling = options.sampling;
  out.limits.strict_moonshot = options.strict_moonshot;
  out.store.max_responses = static_cast<std::size_t>(options.store_responses);
  out.store.max_bytes = static_cast<std::size_t>(options.store_mib) << 20;
  if (options.seal_key_file.empty()) return {};
  BALTORO_TRY(out.seal_key, server::SealKey::in_file(options.seal_key_file));
  return {};
}

}  // namespace baltoro::cli
