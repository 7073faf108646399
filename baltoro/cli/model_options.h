// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/model/math.h"

namespace CLI {
class App;
}

namespace baltoro::cli {

// What every subcommand that runs a model asks: which, and how.
struct ModelOptions {
  std::string dir;  // empty: default_model_dir()
  model::Math math = model::Math::kExact;
  model::DenseWeights dense = model::DenseWeights::kReleased;
  model::LatentNormEps latent_norm_eps = model::LatentNormEps::kConfig;
  int threads = 0;            // 0: one per CPU of the affinity mask, or of `cpus`
  std::int64_t context = 0;   // positions of one sequence; 0: the model's
  std::string family;         // chat format; empty: guessed from the folder
  bool force_memory = false;  // load although the plan says that it does not fit
  std::vector<int> cpus;      // to run on; empty: those of the affinity mask
  std::int64_t memory = 0;    // bytes the process may own, experts streamed from disk; 0: weights mapped
};

// Values of a flag by name, as CLI11's checks and transformers take them.
template <typename Value>
using Named = std::vector<std::pair<std::string, Value>>;
Named<model::Math> named_maths();
Named<model::DenseWeights> named_dense_weights();

// --threads and --cpus.
void add_thread_options(CLI::App& app, ModelOptions& options);

// Adds the positional DIR (required or not), --math, --dense, --latent-norm-eps, --threads, --cpus, --context, --memory
// and --force-memory; with chat also --family.
enum class ChatFlags : bool { kNo, kYes };
void add_model_options(CLI::App& app, ModelOptions& options, ChatFlags chat);

// The folder to open. kNotFound when none is named and there is no default.
Result<std::string> model_dir(const ModelOptions& options);

}  // namespace baltoro::cli
