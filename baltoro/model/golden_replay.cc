// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/golden_replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "baltoro/model/safetensors.h"

namespace baltoro::model {
namespace {

constexpr double kF32Tolerance = 1e-4;
constexpr std::int64_t kMaxTokens = 4096;  // goldens are short; bounds scratch and KV

struct Golden {
  const SafetensorsFile& file;
  std::vector<std::int32_t> tokens;
  std::vector<std::int32_t> greedy;
};

struct Widest {
  double max = 0;
  void add(double value) {
    if (!std::isnan(max) && !(value <= max)) max = value;  // a NaN sticks
  }
};

Distance distance(std::span<const float> a, std::span<const float> b) {
  Widest widest;
  double squares = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double{a[i]} - double{b[i]});
    widest.add(difference);
    squares += difference * difference;
  }
  return {widest.max, std::sqrt(squares / static_cast<double>(std::max<std::size_t>(a.size(), 1)))};
}

// The tensor as f32, of exactly that many elements.
Result<std::vector<float>> read_floats(const SafetensorsFile& file, const std::string& name, std::int64_t elements) {
  BALTORO_TRY(std::vector<float> values, file.read_f32(name));
  if (static_cast<std::int64_t>(values.size()) == elements) return values;
  return Error{Errc::kCorrupt,
               fmt::format("[golden] {}: {} elements expected, it has {}", name, elements, values.size())};
}

Result<std::vector<std::int32_t>> read_ids(const SafetensorsFile& file, const std::string& name, std::int64_t bound) {
  BALTORO_TRY(std::vector<std::int32_t> ids, file.read_i32(name));
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= bound) {
      return Error{Errc::kCorrupt, fmt::format("[golden] {}: values in [0, {}) expected, one is {}", name, bound, id)};
    }
  }
  return ids;
}

Result<Golden> read_golden(const SafetensorsFile& file, const ModelConfig& config) {
  Golden golden{.file = file, .tokens = {}, .greedy = {}};
  BALTORO_TRY(golden.tokens, read_ids(file, "tokens", config.vocab_size));
  if (file.find("greedy") != nullptr) {
    BALTORO_TRY(golden.greedy, read_ids(file, "greedy", config.vocab_size));
  }
  const auto length = static_cast<std::int64_t>(golden.tokens.size() + golden.greedy.size());
  if (golden.tokens.empty() || length > std::min(kMaxTokens, config.max_position_embeddings)) {
    return Error{Errc::kCorrupt, fmt::format("[golden] 1 to {} tokens expected, it has {}",
                                             std::min(kMaxTokens, config.max_position_embeddings), length)};
  }
  return golden;
}

// One sequence on a decoder of its own.
class Run {
 public:
  static Result<Run> create(const std::shared_ptr<const Weights>& weights, const Golden& golden,
                            DecoderOptions options) {
    Run run;
    options.max_batch_tokens = options.max_logit_rows = static_cast<std::int64_t>(golden.tokens.size());
    const auto length = static_cast<std::int64_t>(golden.tokens.size() + golden.greedy.size());
    const std::int64_t blocks = (length + kBlockTokens - 1) / kBlockTokens;
    run.vocab_ = static_cast<std::size_t>(weights->config.vocab_size);
    BALTORO_TRY(run.kv_, KvCache::create(weights->config, options.math, blocks));
    BALTORO_TRY(run.decoder_, Decoder::create(weights, options));
    for (std::int64_t i = 0; i < blocks; ++i) run.blocks_.push_back(static_cast<BlockId>(i));
    return run;
  }

  // Logits [tokens, V] of tokens that follow those given before.
  Result<std::vector<float>> append(std::span<const std::int32_t> tokens, const Trace* trace) {
    std::vector<std::int32_t> positions(tokens.size());
    std::iota(positions.begin(), positions.end(), length_);
    std::vector<std::int32_t> rows(tokens.size());
    std::iota(rows.begin(), rows.end(), 0);
    const std::vector<std::int32_t> sequences(tokens.size(), 0);
    length_ += static_cast<std::int32_t>(tokens.size());
    const std::span<const BlockId> table(blocks_);
    std::vector<float> logits(tokens.size() * vocab_);
    BALTORO_TRY_STATUS(decoder_->forward({tokens, positions, sequences, {&table, 1}, rows}, *kv_, logits, trace));
    return logits;
  }

 private:
  Run() = default;
  std::size_t vocab_ = 0;
  std::unique_ptr<Decoder> decoder_;
  std::unique_ptr<KvCache> kv_;
  std::vector<BlockId> blocks_;
  std::int32_t length_ = 0;
};

// Compares what the layers show with the golden while the run goes on.
class LayerWatch {
 public:
  LayerWatch(const Golden& golden, const ModelConfig& config, GoldenReplay& replay)
      : golden_(golden), config_(config), replay_(replay) {}

  Trace trace() {
    return {
        .attention = [this](std::int64_t layer,
                            std::span<const float> rows) { compare("attn_out", layer, rows, replay_.attention_max); },
        .hidden = [this](std::int64_t layer,
                         std::span<const float> rows) { compare("hidden", layer, rows, replay_.hidden_max); },
        .routing = [this](std::int64_t layer, std::span<const std::int32_t> experts,
                          std::span<const float>) { compare_routing(layer, experts); }};
  }
  Status status() const { return error_ ? Status(*error_) : Status(); }

 private:
  void compare(const char* kind, std::int64_t layer, std::span<const float> rows, double& worst) {
    const std::string name = fmt::format("{}.{}", kind, layer);
    if (golden_.file.find(name) == nullptr) return;
    const auto expected = read_floats(golden_.file, name, static_cast<std::int64_t>(rows.size()));
    if (!expected.ok()) return fail(expected.error());
    Widest widest{worst};
    const double here = distance(rows, *expected).max;
    widest.add(here);
    worst = widest.max;
    if (!(here <= kF32Tolerance) && replay_.first_bad_layer < 0) replay_.first_bad_layer = layer;
  }

  void compare_routing(std::int64_t layer, std::span<const std::int32_t> experts) {
    const std::string name = fmt::format("topk_indices.{}", layer);
    if (golden_.file.find(name) == nullptr) return;
    auto expected = read_ids(golden_.file, name, config_.n_routed_experts);
    if (!expected.ok()) return fail(expected.error());
    if (expected->size() != experts.size()) {
      return fail(Error{Errc::kCorrupt, fmt::format("[golden] {}: {} elements expected, it has {}", name,
                                                    experts.size(), expected->size())});
    }
    const auto k = static_cast<std::size_t>(config_.num_experts_per_tok);
    for (std::size_t first = 0; first < experts.size(); first += k) {
      const std::span<std::int32_t> wanted(expected->data() + first, k);
      std::sort(wanted.begin(), wanted.end());  // a set: ours is ascending
      ++replay_.tokens_routed;
      if (std::equal(wanted.begin(), wanted.end(), experts.begin() + static_cast<std::ptrdiff_t>(first))) {
        ++replay_.tokens_routed_alike;
      }
    }
  }

  void fail(Error error) {
    if (!error_) error_ = std::move(error);
  }

  const Golden& golden_;
  const ModelConfig& config_;
  GoldenReplay& replay_;
  std::optional<Error> error_;
};

Result<GoldenReplay> replay(const std::shared_ptr<const Weights>& weights, const Golden& golden,
                            const std::string& logits_name, const DecoderOptions& options) {
  GoldenReplay result{.math = options.math, .logits_name = logits_name, .logits = {}};
  const auto vocab = static_cast<std::size_t>(weights->config.vocab_size);
  const auto elements = static_cast<std::int64_t>(golden.tokens.size() * vocab);
  BALTORO_TRY(const std::vector<float> expected, read_floats(golden.file, logits_name, elements));
  const bool own = logits_name == "logits";  // the golden's layers, greedy tokens and bf16 run belong to this one
  if (own && golden.file.find("logits_bf16_run") != nullptr) {
    BALTORO_TRY(const std::vector<float> rounded, read_floats(golden.file, "logits_bf16_run", elements));
    result.golden_bf16_rms = distance(rounded, expected).rms;
  }
  BALTORO_TRY(Run run, Run::create(weights, golden, options));
  LayerWatch watch(golden, weights->config, result);
  const Trace trace = watch.trace();
  BALTORO_TRY(std::vector<float> logits, run.append(golden.tokens, own ? &trace : nullptr));
  BALTORO_TRY_STATUS(watch.status());
  result.logits = distance(logits, expected);
  if (!own) return result;
  for (const std::int32_t wanted : golden.greedy) {
    const auto row = std::span(logits).last(vocab);
    const auto token = static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
    ++result.greedy;
    if (token == wanted) ++result.greedy_alike;
    BALTORO_TRY(logits, run.append({&wanted, 1}, nullptr));  // the golden's token, so that one near tie counts once
  }
  return result;
}

}  // namespace

bool GoldenReplay::passed() const {
  if (math == Math::kExact) return golden_bf16_rms == 0 || logits.rms <= golden_bf16_rms;
  return logits.max <= kF32Tolerance && first_bad_layer < 0 && tokens_routed_alike == tokens_routed &&
         greedy_alike == greedy;
}

Result<std::vector<GoldenReplay>> replay_golden(std::shared_ptr<const Weights> weights, const std::string& file,
                                                int threads) {
  BALTORO_TRY(const SafetensorsFile opened, SafetensorsFile::open(file));
  BALTORO_TRY(const Golden golden, read_golden(opened, weights->config));
  std::vector<GoldenReplay> replays;
  const auto add = [&](const char* name, Math math, LatentNormEps eps) -> Status {
    DecoderOptions options{.math = math, .latent_norm_eps = eps, .threads = threads};
    BALTORO_TRY(GoldenReplay one, replay(weights, golden, name, options));
    replays.push_back(std::move(one));
    return {};
  };
  BALTORO_TRY_STATUS(add("logits", Math::kF32, LatentNormEps::kHf));
  if (opened.find("logits_inner_eps_cfg") != nullptr) {
    BALTORO_TRY_STATUS(add("logits_inner_eps_cfg", Math::kF32, LatentNormEps::kConfig));
  }
  BALTORO_TRY_STATUS(add("logits", Math::kExact, LatentNormEps::kHf));
  return replays;
}

}  // namespace baltoro::model
