// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/local_model.h"

#include <fmt/format.h>

#include <utility>

#include "baltoro/text/chat_format.h"

namespace baltoro::cli {

Result<llm::LocalOptions> local_options(const ModelOptions& options) {
  llm::LocalOptions local;
  BALTORO_TRY(local.dir, model_dir(options));
  local.math = options.math;
  local.dense = options.dense;
  local.latent_norm_eps = options.latent_norm_eps;
  local.threads = options.threads;
  local.cpus = options.cpus;
  local.context_tokens = options.context;
  local.force_memory = options.force_memory;
  local.memory_bytes = options.memory;
  if (options.family.empty()) return local;
  local.family = text::chat_family_from_name(options.family);
  if (!local.family) {
    return Error{Errc::kInvalidArgument, fmt::format("[model] a chat format was needed for --family (see --help), "
                                                     "\"{}\" is none",
                                                     options.family)};
  }
  return local;
}

Result<std::unique_ptr<llm::Backend>> open_local_model(const ModelOptions& options) {
  BALTORO_TRY(llm::LocalOptions local, local_options(options));
  local.max_sequences = 1;
  BALTORO_TRY(auto backend, llm::LocalBackend::open(std::move(local)));
  return std::unique_ptr<llm::Backend>(std::move(backend));
}

}  // namespace baltoro::cli
