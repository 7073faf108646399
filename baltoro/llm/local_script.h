// SPDX-License-Identifier: Apache-2.0
// The scripted model of a folder: its tokenizer and chat format, no weights. Inside llm/ only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "baltoro/base/sha256.h"
#include "baltoro/engine/model_runner.h"
#include "baltoro/llm/local.h"
#include "baltoro/model/config.h"
#include "baltoro/text/tokenizer.h"

namespace baltoro::llm {

// The folder's config for a model that has no weights: contexts of up to 2^20 tokens, whatever the real one's.
Result<model::ModelConfig> script_config(const std::string& dir);

// Names the KV of all scripted models on a vocabulary of that size: it holds tokens alone, whatever the script.
Sha256Digest script_kv_identity(std::int64_t vocab_size);
std::size_t script_kv_bytes();  // of a block

struct OpenedScript {
  std::unique_ptr<engine::ModelRunner> runner;
  std::int64_t context_tokens = 0;
};
// Reads options.script_path. The errors of read_file and parse_token_script, with the path; kInvalidArgument for
// options out of range, among them those that only weights have.
Result<OpenedScript> open_script(const LocalOptions& options, std::int64_t vocab_size, text::ChatFamily family,
                                 std::shared_ptr<const text::Tokenizer> tokenizer, const text::ChatFormat& format);

}  // namespace baltoro::llm
