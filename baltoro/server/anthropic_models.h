// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "baltoro/base/json.h"
#include "baltoro/base/result.h"
#include "baltoro/llm/llm.h"

namespace baltoro::server {

// A model as Anthropic describes one. Dates are RFC 3339.
json::Value anthropic_model(const llm::ModelInfo& model);

// The page of the list of models that `query` (limit, before_id, after_id) asks for; there is one model.
// kInvalidArgument: limit out of 1 to 1000.
Result<json::Value> anthropic_models(const llm::ModelInfo& model, std::string_view query);

}  // namespace baltoro::server
