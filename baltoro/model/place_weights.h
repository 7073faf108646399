// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "baltoro/model/binding.h"
#include "baltoro/model/weights.h"

namespace baltoro::model {

// Puts the bound weights in their places; norms and biases are widened to f32. `files` and `streamed` stay empty.
// kCorrupt: a norm or bias that is not finite.
Result<std::unique_ptr<Weights>> place_weights(ModelConfig config, const Binding& binding);

}  // namespace baltoro::model
