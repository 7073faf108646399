// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/deviation_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "baltoro/base/progress.h"
#include "baltoro/cli/memory_check.h"
#include "baltoro/model/kv_cache.h"

namespace baltoro::cli {
namespace {

constexpr std::int64_t kLogitBytes = 64 << 20;
constexpr std::int64_t kMaxChunk = 256;

// log softmax of one row.
void log_softmax(std::span<const float> logits, std::vector<double>& out) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float value : logits) sum += std::exp(static_cast<double>(value) - top);
  const double log_sum = std::log(sum) + top;
  for (std::size_t i = 0; i < logits.size(); ++i) out[i] = static_cast<double>(logits[i]) - log_sum;
}

// A decoder in one arithmetic with a cache of one context.
struct Lane {
  std::unique_ptr<model::Decoder> decoder;
  std::unique_ptr<model::KvCache> kv;
  std::vector<float> logits;
};

class Comparison {
 public:
  Comparison(const model::ModelConfig& config, std::int64_t chunk)
      : vocab_(static_cast<std::size_t>(config.vocab_size)), chunk_(chunk), p_(vocab_), q_(vocab_) {}

  Status add_lane(std::shared_ptr<const model::Weights> weights, const model::DecoderOptions& options,
                  std::int64_t blocks, DeviationMode mode) {
    Lane& lane = lanes_.emplace_back();
    BALTORO_TRY(lane.kv, model::KvCache::create(weights->config, options.math, blocks));
    BALTORO_TRY(lane.decoder, model::Decoder::create(std::move(weights), options));
    lane.logits.resize(static_cast<std::size_t>(chunk_) * vocab_);
    rows_.push_back({.mode = mode});
    blocks_.resize(static_cast<std::size_t>(blocks));
    for (std::size_t i = 0; i < blocks_.size(); ++i) blocks_[i] = static_cast<model::BlockId>(i);
    return {};
  }

  Status run(const DeviationText& text, Progress& progress) {
    const auto total = static_cast<std::int64_t>(text.tokens.size());
    for (std::int64_t at = 0; at < total; at += chunk_) {
      const std::int64_t count = std::min(chunk_, total - at);
      for (Lane& lane : lanes_) {
        const auto piece =
            std::span(text.tokens).subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(count));
        BALTORO_TRY_STATUS(forward(lane, piece, at));
        progress.add(static_cast<std::uint64_t>(count));
      }
      for (std::int64_t i = 0; i < count; ++i) compare(static_cast<std::size_t>(i), text, at + i);
    }
    return {};
  }

  std::vector<DeviationRow> take() { return std::move(rows_); }

 private:
  Status forward(Lane& lane, std::span<const std::int32_t> tokens, std::int64_t at) {
    std::vector<std::int32_t> positions(tokens.size()), rows(tokens.size());
    std::iota(positions.begin(), positions.end(), static_cast<std::int32_t>(at));
    std::iota(rows.begin(), rows.end(), 0);
    const std::vector<std::int32_t> sequences(tokens.size(), 0);
    const std::span<const model::BlockId> table(blocks_);
    return lane.decoder->forward({tokens, positions, sequences, {&table, 1}, rows}, *lane.kv,
                                 std::span(lane.logits).first(tokens.size() * vocab_));
  }

  // Row i of the chunk, at a position of the text.
  void compare(std::size_t i, const DeviationText& text, std::int64_t position) {
    const auto row = [&](std::size_t lane) { return std::span(lanes_[lane].logits).subspan(i * vocab_, vocab_); };
    const auto top = [](std::span<const float> logits) {
      return std::max_element(logits.begin(), logits.end()) - logits.begin();
    };
    const std::int64_t target = position + 1;
    const bool scored = target >= text.scored_from && target < static_cast<std::int64_t>(text.tokens.size());
    const auto next = scored ? static_cast<std::size_t>(text.tokens[static_cast<std::size_t>(target)]) : 0;
    log_softmax(row(0), p_);
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      DeviationRow& out = rows_[lane];
      log_softmax(row(lane), q_);
      double kl = 0;
      for (std::size_t v = 0; v < vocab_; ++v) {
        kl += std::exp(p_[v]) * (p_[v] - q_[v]);
        const double distance = static_cast<double>(row(lane)[v]) - static_cast<double>(row(0)[v]);
        out.square_sum += distance * distance;
      }
      ++out.positions;
      out.same_top += top(row(lane)) == top(row(0)) ? 1 : 0;
      out.kl_sum += kl;
      out.kl_max = std::max(out.kl_max, kl);
      if (!scored) continue;
      ++out.scored;
      out.nll_sum -= q_[next];
    }
  }

  std::size_t vocab_;
  std::int64_t chunk_;
  std::vector<double> p_, q_;
  std::vector<Lane> lanes_;
  std::vector<DeviationRow> rows_;
  std::vector<model::BlockId> blocks_;
};

Status check_texts(std::span<const DeviationText> texts, const model::ModelConfig& config) {
  if (texts.empty()) return Error{Errc::kInvalidArgument, "[deviation] at least one text needed, there is none"};
  for (const auto& text : texts) {
    const auto tokens = static_cast<std::int64_t>(text.tokens.size());
    if (tokens < 1 || tokens > config.max_position_embeddings) {
      return Error{Errc::kInvalidArgument, fmt::format("[deviation] texts of 1 to {} tokens needed, one has {}",
                                                       config.max_position_embeddings, tokens)};
    }
    for (const std::int32_t id : text.tokens) {
      if (id >= 0 && id < config.vocab_size) continue;
      return Error{Errc::kInvalidArgument,
                   fmt::format("[deviation] ids under {} needed, one is {}", config.vocab_size, id)};
    }
  }
  return {};
}

}  // namespace

double DeviationRow::perplexity() const { return scored > 0 ? std::exp(nll_sum / static_cast<double>(scored)) : 0; }

double DeviationRow::rms(std::int64_t vocab) const {
  return positions > 0 ? std::sqrt(square_sum / static_cast<double>(positions * vocab)) : 0;
}

Result<std::vector<DeviationRow>> measure_deviation(std::shared_ptr<const model::Weights> weights,
                                                    std::span<const DeviationText> texts, const DeviationRun& run) {
  const model::ModelConfig& config = weights->config;
  BALTORO_TRY_STATUS(check_texts(texts, config));
  std::int64_t longest = 0, total = 0;
  for (const auto& text : texts) {
    longest = std::max(longest, static_cast<std::int64_t>(text.tokens.size()));
    total += static_cast<std::int64_t>(text.tokens.size());
  }
  const std::int64_t fits = kLogitBytes / (config.vocab_size * std::int64_t{sizeof(float)});
  const std::int64_t chunk = std::clamp(fits, std::int64_t{1}, std::min(kMaxChunk, longest));
  std::vector<DeviationMode> modes{{.math = model::Math::kF32}};
  modes.insert(modes.end(), run.modes.begin(), run.modes.end());
  Comparison comparison(config, chunk);
  for (const DeviationMode& mode : modes) {
    model::DecoderOptions options = run.decoder;
    options.math = mode.math;
    options.dense = mode.dense;
    options.max_batch_tokens = options.max_logit_rows = chunk;
    BALTORO_TRY_STATUS(
        check_memory_of(*weights, {.context_tokens = longest, .sequences = 1, .decoder = options}, run.force_memory));
    const std::int64_t blocks = (longest + model::kBlockTokens - 1) / model::kBlockTokens;
    BALTORO_TRY_STATUS(comparison.add_lane(weights, options, blocks, mode));
  }
  Progress progress({.label = "deviation",
                     .total = static_cast<std::uint64_t>(total * std::ssize(modes)),
                     .unit = "tokens",
                     .style = run.show_progress ? ProgressStyle::kAuto : ProgressStyle::kSilent});
  for (const auto& text : texts) BALTORO_TRY_STATUS(comparison.run(text, progress));
  progress.finish();
  return comparison.take();
}

}  // namespace baltoro::cli
