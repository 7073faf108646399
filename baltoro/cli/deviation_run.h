// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/model/decoder.h"

namespace baltoro::cli {

// One arithmetic beside the reference.
struct DeviationMode {
  model::Math math = model::Math::kExact;
  model::DenseWeights dense = model::DenseWeights::kReleased;
};

// What a mode makes of the text. Logarithms are natural, probabilities softmax(logits) in f64.
struct DeviationRow {
  DeviationMode mode;
  std::int64_t positions = 0;  // rows of logits compared
  std::int64_t same_top = 0;   // of those, where the likeliest id is the reference's
  double kl_sum = 0;           // KL(reference || mode), over positions
  double kl_max = 0;
  double square_sum = 0;    // of the distances of all logits
  std::int64_t scored = 0;  // tokens from scored_from on
  double nll_sum = 0;       // of those, -log p(token)

  double kl_mean() const { return positions > 0 ? kl_sum / static_cast<double>(positions) : 0; }
  double top_agreement() const {
    return positions > 0 ? static_cast<double>(same_top) / static_cast<double>(positions) : 0;
  }
  double perplexity() const;  // exp(nll_sum / scored)
  double rms(std::int64_t vocab) const;
};

// A context of its own. Tokens before scored_from are only context for the perplexity.
struct DeviationText {
  std::vector<std::int32_t> tokens;
  std::int64_t scored_from = 1;
};

struct DeviationRun {
  model::DecoderOptions decoder = {};  // threads and latent epsilon; the rest is set here
  std::vector<DeviationMode> modes;
  bool force_memory = false;
  bool show_progress = true;
};

// Runs every text through the f32 reference (row 0 of the result, with itself) and through the modes, chunk by chunk
// side by side, so that no logits are kept.
// kInvalidArgument: no text, an id outside the vocabulary, a text longer than the model's context. The errors of
// check_memory_of, KvCache::create and Decoder::create.
Result<std::vector<DeviationRow>> measure_deviation(std::shared_ptr<const model::Weights> weights,
                                                    std::span<const DeviationText> texts, const DeviationRun& run);

}  // namespace baltoro::cli
