// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "baltoro/base/file.h"
#include "baltoro/base/json.h"
#include "baltoro/base/terminal.h"
#include "baltoro/cli/command.h"
#include "baltoro/cli/failure.h"
#include "baltoro/cli/model_options.h"
#include "baltoro/cli/teacher_forcing.h"
#include "baltoro/model/streamed_weights.h"
#include "baltoro/model/weights.h"
#include "baltoro/text/tokenizer.h"

namespace baltoro::cli {
namespace {

constexpr std::uint64_t kMaxInputBytes = std::uint64_t{1} << 30;

struct LogitsOptions {
  ModelOptions model;
  TeacherForcing run;
  std::string tokens_path, text_path;
  bool json = false;
};

// The ids of a JSON array of integers, or of the member "tokens" of an object.
Result<std::vector<std::int32_t>> read_token_file(const std::string& path) {
  BALTORO_TRY(const std::string text, read_file(path, kMaxInputBytes));
  BALTORO_TRY(const json::Value document, json::parse(text, {.max_bytes = kMaxInputBytes, .max_depth = 16}));
  const json::Value* list = document.is_object() ? document.find("tokens") : &document;
  const auto wrong = [&] {
    return Error{Errc::kInvalidArgument, "[logits] an array of token ids was needed in " + path};
  };
  if (list == nullptr || !list->is_array()) return wrong();
  std::vector<std::int32_t> ids;
  ids.reserve(list->as_array().size());
  for (const auto& item : list->as_array()) {
    if (item.kind() != json::Kind::kInt || item.as_int() < 0 || item.as_int() > INT32_MAX) return wrong();
    ids.push_back(static_cast<std::int32_t>(item.as_int()));
  }
  return ids;
}

Result<std::vector<std::int32_t>> input_tokens(const LogitsOptions& options, const std::string& dir) {
  if (!options.tokens_path.empty()) return read_token_file(options.tokens_path);
  BALTORO_TRY(const std::string text, read_file(options.text_path, kMaxInputBytes));
  BALTORO_TRY(const auto tokenizer, text::load_tokenizer(dir));
  return tokenizer->encode(text);
}

void print_summary(const TeacherForcingResult& result, bool as_json) {
  if (as_json) {
    const json::Value line(json::Object{{"tokens", result.tokens},
                                        {"tokens_scored", result.tokens_scored},
                                        {"nll_mean", result.nll_mean()},
                                        {"perplexity", result.perplexity()},
                                        {"windows", result.windows},
                                        {"seconds", result.seconds}});
    std::printf("%s\n", json::dump(line).c_str());
    return;
  }
  std::printf("tokens %lld in %lld windows, %.3f s, %.1f tokens/s\n", static_cast<long long>(result.tokens),
              static_cast<long long>(result.windows), result.seconds,
              result.seconds > 0 ? static_cast<double>(result.tokens) / result.seconds : 0.0);
  if (result.tokens_scored > 0) {
    std::printf("perplexity %.6f over %lld tokens (mean negative log-likelihood %.8f)\n", result.perplexity(),
                static_cast<long long>(result.tokens_scored), result.nll_mean());
  }
}

Result<TeacherForcingResult> run_model(const LogitsOptions& options) {
  BALTORO_TRY(const std::string dir, model_dir(options.model));
  BALTORO_TRY(std::shared_ptr<const model::Weights> weights, model::open_weights_within(dir, options.model.memory));
  BALTORO_TRY(const auto tokens, input_tokens(options, dir));
  TeacherForcing run = options.run;
  run.decoder.math = options.model.math;
  run.decoder.dense = options.model.dense;
  run.decoder.latent_norm_eps = options.model.latent_norm_eps;
  run.decoder.threads = options.model.threads;
  run.decoder.cpus = options.model.cpus;
  run.force_memory = options.model.force_memory;
  run.memory_bytes = options.model.memory;
  if (run.window_tokens == 0) run.window_tokens = options.model.context;
  return teacher_force(std::move(weights), tokens, run);
}

int run_logits(const LogitsOptions& options) {
  if (options.run.out_path.empty() && !options.run.perplexity) {
    return report_error("logits", {Errc::kInvalidArgument, "[logits] --out FILE or --perplexity is needed"});
  }
  const auto result = run_model(options);
  if (!result.ok()) return report_error("logits", result.error());
  print_summary(*result, options.json);
  return 0;
}

}  // namespace

void add_logits(CLI::App& app) {
  const auto options = std::make_shared<LogitsOptions>();
  CLI::App& logits = *app.add_subcommand("logits", "Logits of a given text: for parity checks and perplexity");
  add_model_options(logits, options->model, ChatFlags::kNo);
  auto* input = logits.add_option_group("input");
  input->add_option("--tokens", options->tokens_path, "JSON array of token ids")->type_name("FILE.json");
  input->add_option("--text", options->text_path, "Text, tokenised by the model's tokenizer")->type_name("FILE");
  input->require_option(1);
  logits.add_option("--out", options->run.out_path, "safetensors file for tokens [T] and logits [T, V]")
      ->type_name("FILE");
  logits.add_flag("--hidden", options->run.hidden, "Also hidden.L [T, D], topk_indices.L and topk_weights.L [T, K]");
  logits.add_flag("--attention", options->run.attention, "Also attn_out.L [T, D], before the residual is added");
  logits.add_flag("--perplexity", options->run.perplexity, "Score each token given those before it");
  logits
      .add_option("--window", options->run.window_tokens,
                  "Tokens of one window; longer texts take several (default: --context, else at most 4096)")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 24));
  logits
      .add_option("--stride", options->run.stride_tokens,
                  "Tokens from one window to the next (default: the window); what overlaps is context only")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 24));
  logits.add_flag("--json", options->json, "The summary as JSON");
  logits.callback([options] { finish(run_logits(*options)); });
}

}  // namespace baltoro::cli
