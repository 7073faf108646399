// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/local_script.h"

#include <fmt/core.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "baltoro/base/file.h"
#include "baltoro/llm/request_checks.h"
#include "baltoro/llm/script_runner.h"

namespace baltoro::llm {
namespace {

constexpr std::int64_t kContextTokens = 262'144, kMostContextTokens = std::int64_t{1} << 20;
constexpr std::int64_t kKvTokens = std::int64_t{1} << 20, kMostKvTokens = std::int64_t{1} << 26;

}  // namespace

Result<model::ModelConfig> script_config(const std::string& dir) {
  BALTORO_TRY(model::ModelConfig config, model::load_config(dir));
  config.max_position_embeddings = kMostContextTokens;
  return config;
}

Sha256Digest script_kv_identity(std::int64_t vocab_size) {
  const std::string name = fmt::format("scripted model, rows of token and position, vocabulary of {}", vocab_size);
  return sha256(std::as_bytes(std::span(name)));
}

std::size_t script_kv_bytes() { return sizeof(ScriptRunner::Block); }

Result<OpenedScript> open_script(const LocalOptions& options, std::int64_t vocab_size, text::ChatFamily family,
                                 std::shared_ptr<const text::Tokenizer> tokenizer, const text::ChatFormat& format) {
  if (options.memory_bytes > 0) return invalid("memory", "no memory limit with a script: it opens no weights");
  if (options.kv_tokens > kMostKvTokens)
    return invalid("kv_tokens", fmt::format("at most {} with a script, got {}", kMostKvTokens, options.kv_tokens));
  BALTORO_TRY(const std::string json_text, read_file(options.script_path, kMaxScriptBytes));
  auto script = parse_token_script(json_text);
  if (!script.ok()) {
    Error error = std::move(script).error();
    error.message = options.script_path + ": " + error.message;
    return error;
  }
  const std::int64_t kv_tokens = options.kv_tokens > 0 ? options.kv_tokens : kKvTokens;
  const std::int64_t context =
      std::min(options.context_tokens > 0 ? options.context_tokens : kContextTokens, kv_tokens);
  const ScriptRunnerOptions runner{
      .vocab_size = vocab_size,
      .max_context_tokens = context,
      .num_blocks = (kv_tokens + model::kBlockTokens - 1) / model::kBlockTokens,
      .max_batch_tokens = options.max_batch_tokens,
      .max_logit_rows = std::min<std::int64_t>({options.max_sequences, options.max_batch_tokens, 64})};
  return OpenedScript{.runner = std::make_unique<ScriptRunner>(runner, *std::move(script), family, std::move(tokenizer),
                                                               format.stop_token_ids()),
                      .context_tokens = context};
}

}  // namespace baltoro::llm
