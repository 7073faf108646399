// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "baltoro/base/result.h"
#include "baltoro/base/sha256.h"

namespace baltoro::model {

// A digest that tells one released folder from another without reading all of it: config.json whole; of each
// *.safetensors file its name, size, time of change, header and some spread samples of its data. A file that was
// written again counts as another. The errors of reading: kNotFound, kIo, kCorrupt.
Result<Sha256Digest> weights_identity(const std::string& dir);

}  // namespace baltoro::model
