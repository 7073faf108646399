// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/model_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string>

#include "baltoro/base/cpu_list.h"
#include "baltoro/cli/default_model.h"
#include "baltoro/text/chat_format.h"

namespace baltoro::cli {
namespace {

// Takes the names alone; a transformer would take the enum's numbers too.
template <typename Value>
CLI::Option* add_named_option(CLI::App& app, const std::string& flag, Value& value, const Named<Value>& named,
                              const std::string& description) {
  const auto set = [&value, named](const std::string& name) {
    value = std::ranges::find(named, name, &Named<Value>::value_type::first)->second;
  };
  return app.add_option_function<std::string>(flag, set, description)->check(CLI::IsMember(named));
}

}  // namespace

Named<model::Math> named_maths() {
  Named<model::Math> named;
  for (const auto math : {model::Math::kExact, model::Math::kFast, model::Math::kF32}) {
    named.emplace_back(model::math_name(math), math);
  }
  return named;
}

Named<model::DenseWeights> named_dense_weights() {
  Named<model::DenseWeights> named;
  for (const auto dense : {model::DenseWeights::kReleased, model::DenseWeights::kInt8}) {
    named.emplace_back(model::dense_name(dense), dense);
  }
  return named;
}

void add_thread_options(CLI::App& app, ModelOptions& options) {
  app.add_option("--threads", options.threads, "Threads (0: one per CPU)")->check(CLI::Range(0, 4096))->type_name("N");
  app.add_option_function<std::string>(
         "--cpus", [&options](const std::string& list) { options.cpus = *parse_cpu_list(list); },
         "CPUs to run on, one thread each, as in 0-3,8 (default: all this process may use)")
      ->check([](const std::string& list) {
        const auto cpus = parse_cpu_list(list);
        return cpus.ok() ? std::string() : cpus.error().message;
      })
      ->type_name("LIST");
}

void add_model_options(CLI::App& app, ModelOptions& options, ChatFlags chat) {
  app.add_option("dir", options.dir, "Model folder as released (default: $BALTORO_MODEL, else the bundled model)")
      ->type_name("DIR");
  add_named_option(app, "--math", options.math, named_maths(),
                   "Arithmetic: exact (the default: BF16 activations, f32 sums), fast (approximate: activations are "
                   "rounded to 8 bits where weights are INT4 or, by --dense int8, INT8) or f32 (slow reference)");
  add_named_option(app, "--dense", options.dense, named_dense_weights(),
                   "Weights that every token uses: released (the default: in place, as stored) or int8 (approximate: a "
                   "copy in memory with 8 bits an element)");
  add_named_option(app, "--latent-norm-eps", options.latent_norm_eps,
                   {{"config", model::LatentNormEps::kConfig}, {"hf", model::LatentNormEps::kHf}},
                   "Epsilon of the two latent norms: the config's (the default), or 1e-6 as Hugging Face's code");
  add_thread_options(app, options);
  app.add_option("--context", options.context, "Tokens one conversation may hold (0: the model's limit)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 24))
      ->type_name("N");
  app.add_option(
         "--memory", options.memory,
         "Keep the process within this much (as 8GiB) and read experts from disk as they are needed; without it "
         "weights are mapped and the system keeps what fits")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 50))
      ->type_name("SIZE");
  app.add_flag("--force-memory", options.force_memory, "Load even if the memory plan says that it does not fit");
  if (chat == ChatFlags::kNo) return;
  app.add_option(
         "--family", options.family,
         "Chat format: k2-instruct, k2-thinking, k2.5, deepseek-v3, deepseek-r1, deepseek-v3.1 (default: guessed)")
      ->type_name("NAME");
}

Result<std::string> model_dir(const ModelOptions& options) {
  if (!options.dir.empty()) return options.dir;
  return default_model_dir();
}

}  // namespace baltoro::cli
