// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "baltoro/base/file.h"
#include "baltoro/base/json.h"
#include "baltoro/cli/command.h"
#include "baltoro/cli/deviation_run.h"
#include "baltoro/cli/failure.h"
#include "baltoro/cli/model_options.h"
#include "baltoro/model/weights.h"
#include "baltoro/text/tokenizer.h"

namespace baltoro::cli {
namespace {

constexpr std::uint64_t kMaxInputBytes = std::uint64_t{1} << 30;

struct DeviationOptions {
  ModelOptions model;
  std::string tokens_path, text_path;
  std::vector<model::Math> maths{model::Math::kExact, model::Math::kFast};
  std::vector<model::DenseWeights> dense{model::DenseWeights::kReleased, model::DenseWeights::kInt8};
  bool json = false;
};

using Texts = std::vector<DeviationText>;

Error wrong_tokens(const std::string& path) {
  return {
      Errc::kInvalidArgument,
      "[deviation] an array of token ids, or of {\"tokens\": [ids], \"scored_from\": index}, was needed in " + path};
}

Result<std::vector<std::int32_t>> ids_of(const json::Value* list, const std::string& path) {
  if (list == nullptr || !list->is_array()) return wrong_tokens(path);
  std::vector<std::int32_t> ids;
  for (const json::Value& item : list->as_array()) {
    if (item.kind() != json::Kind::kInt || item.as_int() < 0 || item.as_int() > INT32_MAX) return wrong_tokens(path);
    ids.push_back(static_cast<std::int32_t>(item.as_int()));
  }
  return ids;
}

Result<Texts> read_token_file(const std::string& path) {
  BALTORO_TRY(const std::string text, read_file(path, kMaxInputBytes));
  BALTORO_TRY(const json::Value document, json::parse(text, {.max_bytes = kMaxInputBytes, .max_depth = 8}));
  if (!document.is_array() || document.as_array().empty()) return wrong_tokens(path);
  Texts texts;
  if (!document.as_array().front().is_object()) {
    BALTORO_TRY(texts.emplace_back().tokens, ids_of(&document, path));
    return texts;
  }
  for (const json::Value& item : document.as_array()) {
    DeviationText& one = texts.emplace_back();
    BALTORO_TRY(one.tokens, ids_of(item.find("tokens"), path));
    const json::Value* from = item.find("scored_from");
    if (from == nullptr) continue;
    if (from->kind() != json::Kind::kInt || from->as_int() < 1) return wrong_tokens(path);
    one.scored_from = from->as_int();
  }
  return texts;
}

Result<Texts> input_texts(const DeviationOptions& options, const std::string& dir) {
  if (!options.tokens_path.empty()) return read_token_file(options.tokens_path);
  BALTORO_TRY(const std::string text, read_file(options.text_path, kMaxInputBytes));
  BALTORO_TRY(const auto tokenizer, text::load_tokenizer(dir));
  return Texts{{.tokens = tokenizer->encode(text)}};
}

void print_table(const std::vector<DeviationRow>& rows, std::int64_t vocab) {
  fmt::print("{:<18}{:>10}{:>12}{:>12}{:>12}{:>10}{:>14}\n", "arithmetic", "positions", "logits RMS", "KL mean",
             "KL max", "same top", "perplexity");
  for (const DeviationRow& row : rows) {
    fmt::print("{:<18}{:>10}{:>12.2e}{:>12.2e}{:>12.2e}{:>8.2f} %{:>14.6f}\n",
               model::arithmetic_name(row.mode.math, row.mode.dense), row.positions, row.rms(vocab), row.kl_mean(),
               row.kl_max, 100 * row.top_agreement(), row.perplexity());
  }
}

void print_json(const std::vector<DeviationRow>& rows, std::int64_t vocab) {
  json::Array list;
  for (const DeviationRow& row : rows) {
    list.emplace_back(json::Object{{"math", model::math_name(row.mode.math)},
                                   {"dense", model::dense_name(row.mode.dense)},
                                   {"positions", row.positions},
                                   {"logits_rms", row.rms(vocab)},
                                   {"kl_mean", row.kl_mean()},
                                   {"kl_max", row.kl_max},
                                   {"top_agreement", row.top_agreement()},
                                   {"tokens_scored", row.scored},
                                   {"perplexity", row.perplexity()}});
  }
  fmt::print("{}\n", json::dump(json::Value(std::move(list))));
}

Status run(const DeviationOptions& options) {
  BALTORO_TRY(const std::string dir, model_dir(options.model));
  BALTORO_TRY(std::shared_ptr<const model::Weights> weights, model::open_weights(dir));
  BALTORO_TRY(const Texts texts, input_texts(options, dir));
  DeviationRun run{.modes = {}, .force_memory = options.model.force_memory};
  run.decoder.threads = options.model.threads;
  run.decoder.cpus = options.model.cpus;
  run.decoder.latent_norm_eps = options.model.latent_norm_eps;
  for (const model::DenseWeights dense : options.dense) {
    for (const model::Math math : options.maths) run.modes.push_back({.math = math, .dense = dense});
  }
  const std::int64_t vocab = weights->config.vocab_size;
  BALTORO_TRY(const auto rows, measure_deviation(std::move(weights), texts, run));
  options.json ? print_json(rows, vocab) : print_table(rows, vocab);
  return {};
}

}  // namespace

void add_deviation(CLI::App& app) {
  const auto options = std::make_shared<DeviationOptions>();
  CLI::App& deviation = *app.add_subcommand(
      "deviation",
      "How far each arithmetic strays from f32 on a given text: KL divergence, likeliest token, perplexity");
  add_model_options(deviation, options->model, ChatFlags::kNo);
  for (const char* name : {"--math", "--dense", "--context"}) deviation.remove_option(deviation.get_option(name));
  deviation.add_option("--math", options->maths, "Arithmetics to compare with f32 (default: exact,fast)")
      ->delimiter(',')
      ->transform(CLI::CheckedTransformer(named_maths()))
      ->option_text("NAME,...");
  deviation.add_option("--dense", options->dense, "Dense weights of each (default: released,int8)")
      ->delimiter(',')
      ->transform(CLI::CheckedTransformer(named_dense_weights()))
      ->option_text("NAME,...");
  auto* input = deviation.add_option_group("input");
  input
      ->add_option("--tokens", options->tokens_path,
                   "JSON array of token ids, or of {\"tokens\": [ids], \"scored_from\": index}, one a text")
      ->type_name("FILE.json");
  input->add_option("--text", options->text_path, "Text, tokenised by the model's tokenizer")->type_name("FILE");
  input->require_option(1);
  deviation.add_flag("--json", options->json, "For machines");
  deviation.callback([options] {
    if (const Status status = run(*options); !status.ok()) finish(report_error("deviation", status.error()));
  });
}

}  // namespace baltoro::cli
