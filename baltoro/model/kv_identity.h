// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "baltoro/base/result.h"
#include "baltoro/base/sha256.h"
#include "baltoro/model/math.h"

namespace baltoro::model {

// Raised by whoever changes a bit of KV: a kernel's order of operations, a rounding, RoPE, the router, how a block lies
// in memory. tests/property/kv_bits_test.cc pins those bits, so that none changes unnoticed. The list says what
// changed:
//   1  the first that KV on disk goes by
//   2  `--dense int8` copies kv_b; in `fast` attended latents meet weights of 4 and 8 bits in 8 bits
//   3  AVX2 multiplies BF16, INT4, INT8 and FP8 rows in the order they are stored in
inline constexpr int kArithmeticRevision = 3;

// Names everything that the bits of a prompt's KV depend on besides its tokens: the weights, the arithmetic and its
// revision, the compiler, the C library with its mathematics, the instruction set that was chosen and the processor.
// Where any of them changes, KV on disk is another model's. (How many threads there are, how prompts are cut into
// chunks and what runs beside them does not count: results do not depend on it.) The errors of weights_identity.
Result<Sha256Digest> kv_identity(const std::string& dir, Math math, DenseWeights dense, LatentNormEps eps);

}  // namespace baltoro::model
