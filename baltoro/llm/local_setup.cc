// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/local_setup.h"

#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "baltoro/base/file.h"
#include "baltoro/base/machine_memory.h"
#include "baltoro/engine/kv_store.h"
#include "baltoro/llm/request_checks.h"
#include "baltoro/model/kv_cache.h"
#include "baltoro/model/memory_plan.h"

namespace baltoro::llm {
namespace {

constexpr std::uint64_t kMaxTemplateBytes = std::uint64_t{16} << 20;

// Of what the plan of one sequence leaves: half of it, or a quarter where the experts want it too.
std::int64_t spare_for_kv(const model::MemoryPlan& one) {
  if (one.limited()) return std::max<std::int64_t>(0, one.experts - one.experts_least) / 4 + one.kv;
  return std::max<std::int64_t>(0, one.machine.usable() - one.weights - one.kv_buffers - one.scratch) / 2;
}

// The text of a file of the folder, empty where there is none.
Result<std::string> read_if_there(const std::string& dir, const char* name) {
  const std::string path = join_path(dir, name);
  if (!file_exists(path)) return std::string();
  return read_file(path, kMaxTemplateBytes);
}

}  // namespace

Status check_options(const LocalOptions& options, const model::ModelConfig& config) {
  const auto check = [](const char* field, std::int64_t value, std::int64_t low, std::int64_t high) -> Status {
    if (value >= low && value <= high) return {};
    return invalid(field, fmt::format("{} in {} to {} needed, got {}", field, low, high, value));
  };
  BALTORO_TRY_STATUS(check("context_tokens", options.context_tokens, 0, config.max_position_embeddings));
  if (options.context_tokens == 1) return invalid("context_tokens", "a context of at least 2 tokens needed, got 1");
  BALTORO_TRY_STATUS(check("max_sequences", options.max_sequences, 1, 4096));
  BALTORO_TRY_STATUS(check("max_batch_tokens", options.max_batch_tokens, 1, 65536));
  BALTORO_TRY_STATUS(check("max_queue", options.max_queue, 1, 1 << 20));
  return check("kv_tokens", options.kv_tokens, 0, std::int64_t{1} << 36);
}

Result<KvSize> plan_kv(const model::Weights& weights, const model::DecoderOptions& decoder,
                       const LocalOptions& options) {
  BALTORO_TRY(const MachineMemory machine, machine_memory());
  std::int64_t context = options.context_tokens > 0 ? options.context_tokens : weights.config.max_position_embeddings;
  if (options.kv_tokens > 0) context = std::min(context, options.kv_tokens);
  const bool to_disk = !options.kv_dir.empty() && options.prefix_cache;
  model::MemoryRequest request{.context_tokens = context,
                               .sequences = 1,
                               .decoder = decoder,
                               .kv_buffer_blocks = to_disk ? 2 * std::int64_t{engine::KvStore::kBuffers} : 0,
                               .limit_bytes = options.memory_bytes};
  BALTORO_TRY(const model::MemoryPlan one, model::plan_memory(weights, request, machine));
  std::int64_t tokens = options.kv_tokens;
  if (tokens == 0) {
    tokens = std::clamp(spare_for_kv(one) / std::max<std::int64_t>(1, one.kv_token), context,
                        context * options.max_sequences);
  }
  request.sequences = std::clamp<std::int64_t>((tokens + context - 1) / context, 1, 65536);
  BALTORO_TRY(const model::MemoryPlan plan, model::plan_memory(weights, request, machine));
  BALTORO_TRY_STATUS(model::check_memory(plan, options.force_memory));
  return KvSize{.context_tokens = context,
                .blocks = (tokens + model::kBlockTokens - 1) / model::kBlockTokens,
                .expert_cache_bytes = plan.experts};
}

Result<text::ChatFamily> family_of(const LocalOptions& options, const model::ModelConfig& config,
                                   const text::Tokenizer& tokenizer) {
  if (options.family) return *options.family;
  text::FamilyHints hints;
  hints.model_type = config.model_type;
  BALTORO_TRY(hints.tokenizer_config, read_if_there(options.dir, "tokenizer_config.json"));
  BALTORO_TRY(hints.chat_template, read_if_there(options.dir, "chat_template.jinja"));
  hints.yarn_beta_fast = config.yarn ? config.yarn->beta_fast : 0;
  hints.max_position_embeddings = config.max_position_embeddings;
  return text::guess_chat_family(hints, tokenizer);
}

ModelInfo describe(const LocalOptions& options, text::ChatFamily family, std::int64_t context_tokens) {
  ModelInfo info{.id = options.model_id,
                 .family = text::chat_family_name(family),
                 .max_context_tokens = context_tokens,
                 .created_unix_s = 0,
                 .arithmetic = model::arithmetic_name(options.math, options.dense)};
  if (info.id.empty()) {
    std::error_code error;
    const auto path = std::filesystem::canonical(options.dir, error);
    info.id = error ? options.dir : path.filename().string();
    if (!options.script_path.empty()) info.id = "scripted-" + info.id;
  }
  if (!options.script_path.empty()) info.arithmetic = "no weights: a test backend that follows a script";
  struct stat status{};
  if (::stat(join_path(options.dir, "config.json").c_str(), &status) == 0) info.created_unix_s = status.st_mtime;
  return info;
}

}  // namespace baltoro::llm
