// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/cli/step_cost.h"
#include "baltoro/model/config.h"
#include "baltoro/model/weights.h"

namespace baltoro::cli {

// Which sizes to measure: each prompt length; every batch at the first context, and the first batch at every other.
struct BenchSizes {
  std::vector<std::int64_t> prefill_tokens;
  std::vector<std::int64_t> decode_batches;
  std::vector<std::int64_t> contexts;  // positions behind a decode step
  int decode_steps = 16;               // steps of one pass
};

enum class BenchKind : std::uint8_t { kPrefill, kDecode };
const char* bench_kind_name(BenchKind kind);  // "prefill", "decode"

struct BenchCase {
  BenchKind kind = BenchKind::kPrefill;
  std::int64_t batch = 1;    // sequences
  std::int64_t context = 0;  // prefill: the prompt; decode: positions behind the first step
  int steps = 1;             // decode
  std::int64_t tokens() const { return kind == BenchKind::kPrefill ? context : batch * steps; }
  std::int64_t positions() const { return kind == BenchKind::kPrefill ? context : context + steps; }  // a sequence
};

// kInvalidArgument: a size under 1 or over the model's context, or nothing to measure.
Result<std::vector<BenchCase>> bench_cases(const BenchSizes& sizes, const model::ModelConfig& config);

// The sizes of `--full` or of a plain run, less those over the model's context.
BenchSizes default_sizes(bool full, const model::ModelConfig& config);

// One step, with the storage its batch points to.
struct OwnedStep {
  std::vector<std::int32_t> tokens, positions, sequences, logit_rows;
  StepShape shape = {};  // without experts_touched
};
// The steps of one pass, of random tokens: the same for the same case, so that every run measures the same work.
// A prompt comes in chunks of at most chunk_tokens; only its last token's logits are wanted.
std::vector<OwnedStep> steps_of(const BenchCase& bench_case, std::int64_t vocab_size, std::int64_t chunk_tokens);

// The cost of steps whose experts are not known yet, as if each token drew its experts evenly: for estimates of time.
StepCost expected_cost(const model::Weights& weights, const std::vector<OwnedStep>& steps,
                       std::int64_t kv_element_bytes);

// A small generator with a fixed course (splitmix64; Steele, Lea, Flood 2014).
class BenchRandom {
 public:
  std::uint64_t next();
  std::int32_t below(std::int64_t limit);
  float symmetric();  // [-1, 1)

 private:
  std::uint64_t state_ = 2026;
};

}  // namespace baltoro::cli
