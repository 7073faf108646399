// SPDX-License-Identifier: Apache-2.0
// What a local backend works out before it loads anything. Inside llm/ only.
#pragma once

#include <cstdint>

#include "baltoro/base/result.h"
#include "baltoro/llm/local.h"
#include "baltoro/model/decoder.h"
#include "baltoro/model/weights.h"
#include "baltoro/text/tokenizer.h"

namespace baltoro::llm {

// kInvalidArgument names the option that is out of range.
Status check_options(const LocalOptions& options, const model::ModelConfig& config);

// How many positions of KV to set aside: see LocalOptions::kv_tokens.
struct KvSize {
  std::int64_t context_tokens = 0, blocks = 0;
  std::int64_t expert_cache_bytes = 0;
};
// kResourceExhausted where memory is short and not forced: see model::check_memory.
Result<KvSize> plan_kv(const model::Weights& weights, const model::DecoderOptions& decoder,
                       const LocalOptions& options);

// The family asked for, or guessed from the folder's files.
Result<text::ChatFamily> family_of(const LocalOptions& options, const model::ModelConfig& config,
                                   const text::Tokenizer& tokenizer);

// The name of the folder stands for a missing model_id, the time of its config.json for that of the model.
ModelInfo describe(const LocalOptions& options, text::ChatFamily family, std::int64_t context_tokens);

}  // namespace baltoro::llm
