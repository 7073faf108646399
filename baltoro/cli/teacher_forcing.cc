// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/teacher_forcing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "baltoro/base/clock.h"
#include "baltoro/base/progress.h"
#include "baltoro/cli/memory_check.h"
#include "baltoro/model/kv_cache.h"
#include "baltoro/model/safetensors.h"

namespace baltoro::cli {
namespace {

constexpr std::int64_t kLogitBytes = 256 << 20;
constexpr std::int64_t kMaxChunk = 512;
constexpr std::int64_t kDefaultWindow = 4096;

using model::TensorInfo;
using tensor::DType;

// Tokens of a step: as many as keep their logits within kLogitBytes.
std::int64_t chunk_tokens(const model::ModelConfig& config, std::int64_t window) {
  const std::int64_t fits = kLogitBytes / (config.vocab_size * std::int64_t{sizeof(float)});
  return std::clamp(fits, std::int64_t{1}, std::min(kMaxChunk, window));
}

// The result file and which of its tensors is which. Rows are positions of the whole text.
class RowFile {
 public:
  static Result<RowFile> create(const TeacherForcing& run, const model::ModelConfig& config,
                                std::span<const std::int32_t> tokens) {
    const auto rows = static_cast<std::int64_t>(tokens.size());
    std::vector<TensorInfo> list;
    list.push_back({.name = "tokens", .dtype = DType::kI32, .shape = {rows}});
    list.push_back({.name = "logits", .dtype = DType::kF32, .shape = {rows, config.vocab_size}});
    for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
      const auto add = [&](std::string_view name, DType dtype, std::int64_t cols) {
        list.push_back({.name = fmt::format("{}.{}", name, l), .dtype = dtype, .shape = {rows, cols}});
      };
      if (run.attention) add("attn_out", DType::kF32, config.hidden_size);
      if (run.hidden) add("hidden", DType::kF32, config.hidden_size);
      if (run.hidden && config.is_moe_layer(l)) {
        add("topk_indices", DType::kI32, config.num_experts_per_tok);
        add("topk_weights", DType::kF32, config.num_experts_per_tok);
      }
    }
    const std::vector<std::pair<std::string, std::string>> metadata{
        {"math", model::math_name(run.decoder.math)},
        {"dense", model::dense_name(run.decoder.dense)},
        {"latent_norm_eps", run.decoder.latent_norm_eps == model::LatentNormEps::kHf ? "hf" : "config"}};
    BALTORO_TRY(auto writer, model::SafetensorsWriter::create(run.out_path, std::move(list), metadata));
    RowFile file(std::move(writer));
    BALTORO_TRY_STATUS(file.writer_.write(0, 0, std::as_bytes(tokens)));
    return file;
  }

  // Rows [row, ...) of the tensor of that name; `values` holds whole rows of its width.
  template <typename T>
  void put(const std::string& name, std::int64_t row, std::span<const T> values) {
    if (!status_.ok()) return;
    const std::size_t index = index_.at(name);
    const std::int64_t row_bytes = writer_.tensors()[index].bytes() / writer_.tensors()[index].shape[0];
    status_ = writer_.write(index, row * row_bytes, std::as_bytes(values));
  }
  const Status& status() const { return status_; }
  Status finish() { return writer_.finish(); }

 private:
  explicit RowFile(model::SafetensorsWriter writer) : writer_(std::move(writer)) {
    for (std::size_t i = 0; i < writer_.tensors().size(); ++i) index_[writer_.tensors()[i].name] = i;
  }
  model::SafetensorsWriter writer_;
  std::map<std::string, std::size_t> index_;
  Status status_;
};

// -log softmax(logits)[target], in f64.
double negative_log_likelihood(std::span<const float> logits, std::int32_t target) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float value : logits) sum += std::exp(static_cast<double>(value) - top);
  return std::log(sum) + top - static_cast<double>(logits[static_cast<std::size_t>(target)]);
}

// Where a step stands in the text.
struct Chunk {
  std::int64_t window_begin = 0;  // text position of the window's first token
  std::int64_t begin = 0;         // in the window
  std::int64_t count = 0;
  std::int64_t first_new = 0;  // in the chunk: rows before it were written by an earlier window
};

class Runner {
 public:
  static Result<TeacherForcingResult> run(std::shared_ptr<const model::Weights> weights,
                                          std::span<const std::int32_t> tokens, const TeacherForcing& run) {
    const model::ModelConfig& config = weights->config;
    Runner runner(config, tokens, run);
    runner.chunk_ = chunk_tokens(config, run.window_tokens);
    model::DecoderOptions options = run.decoder;
    options.max_batch_tokens = runner.chunk_;
    options.max_logit_rows = runner.chunk_;
    const model::MemoryRequest request{
        .context_tokens = run.window_tokens, .sequences = 1, .decoder = options, .limit_bytes = run.memory_bytes};
    BALTORO_TRY(const model::MemoryPlan memory, check_memory_of(*weights, request, run.force_memory));
    options.expert_cache_bytes = memory.experts;
    const std::int64_t blocks = (run.window_tokens + model::kBlockTokens - 1) / model::kBlockTokens;
    BALTORO_TRY(runner.kv_, model::KvCache::create(config, options.math, blocks));
    for (std::int64_t i = 0; i < blocks; ++i) runner.blocks_.push_back(static_cast<model::BlockId>(i));
    // Not moved: config must live, and a decoder with a copy of weights lets go of these.
    BALTORO_TRY(runner.decoder_, model::Decoder::create(weights, options));
    runner.logits_.resize(static_cast<std::size_t>(runner.chunk_ * config.vocab_size));
    if (!run.out_path.empty()) {
      BALTORO_TRY(runner.file_, RowFile::create(run, config, tokens));
    }
    return runner.all_windows();
  }

 private:
  Runner(const model::ModelConfig& config, std::span<const std::int32_t> tokens, const TeacherForcing& run)
      : config_(config), tokens_(tokens), run_(run) {}

  Result<TeacherForcingResult> all_windows() {
    const double start = steady_seconds();
    const auto total = static_cast<std::int64_t>(tokens_.size());
    result_.tokens = total;
    Progress progress({.label = "logits",
                       .total = static_cast<std::uint64_t>(total),
                       .unit = "tokens",
                       .style = run_.show_progress ? ProgressStyle::kAuto : ProgressStyle::kSilent});
    std::int64_t written = 0;  // rows before this are done
    for (std::int64_t begin = 0; written < total; begin += run_.stride_tokens) {
      const std::int64_t end = std::min(begin + run_.window_tokens, total);
      for (std::int64_t at = begin; at < end; at += chunk_) {
        Chunk chunk{.window_begin = begin, .begin = at - begin, .count = std::min(chunk_, end - at)};
        chunk.first_new = std::clamp(written - at, std::int64_t{0}, chunk.count);
        BALTORO_TRY_STATUS(step(chunk));
        progress.add(static_cast<std::uint64_t>(chunk.count - chunk.first_new));
      }
      written = end;
      ++result_.windows;
    }
    progress.finish();
    if (file_) BALTORO_TRY_STATUS(file_->finish());
    result_.seconds = steady_seconds() - start;
    return result_;
  }

  Status step(const Chunk& chunk) {
    const auto count = static_cast<std::size_t>(chunk.count);
    const std::int64_t at = chunk.window_begin + chunk.begin;
    std::vector<std::int32_t> positions(count), rows(count);
    std::iota(positions.begin(), positions.end(), static_cast<std::int32_t>(chunk.begin));
    std::iota(rows.begin(), rows.end(), 0);
    const std::vector<std::int32_t> sequences(count, 0);
    const std::span<const model::BlockId> table(blocks_);
    const model::Batch batch{.tokens = tokens_.subspan(static_cast<std::size_t>(at), count),
                             .positions = positions,
                             .sequences = sequences,
                             .block_tables = {&table, 1},
                             .logit_rows = rows};
    const std::span<float> logits(logits_.data(), count * static_cast<std::size_t>(config_.vocab_size));
    const model::Trace trace = make_trace(chunk);
    // With a trace the last layer computes rows it could skip: only when someone looks.
    BALTORO_TRY_STATUS(
        decoder_->forward(batch, *kv_, logits, file_ && (run_.hidden || run_.attention) ? &trace : nullptr));
    const std::int64_t first_row = at + chunk.first_new;
    const auto fresh = logits.subspan(static_cast<std::size_t>(chunk.first_new * config_.vocab_size));
    BALTORO_TRY_STATUS(check_finite(fresh, first_row));
    if (file_) {
      file_->put<float>("logits", first_row, fresh);
      if (!file_->status().ok()) return file_->status();
    }
    if (run_.perplexity) score(logits, chunk);
    return {};
  }

  // Writes what the run sees inside, for the rows that are new.
  model::Trace make_trace(const Chunk& chunk) {
    model::Trace trace;
    if (!file_) return trace;
    const std::int64_t row = chunk.window_begin + chunk.begin + chunk.first_new;
    const auto skip = static_cast<std::size_t>(chunk.first_new);
    const auto hidden_size = static_cast<std::size_t>(config_.hidden_size);
    if (run_.attention) {
      trace.attention = [this, row, skip, hidden_size](std::int64_t layer, std::span<const float> rows) {
        file_->put<float>(fmt::format("attn_out.{}", layer), row, rows.subspan(skip * hidden_size));
      };
    }
    if (!run_.hidden) return trace;
    trace.hidden = [this, row, skip, hidden_size](std::int64_t layer, std::span<const float> rows) {
      file_->put<float>(fmt::format("hidden.{}", layer), row, rows.subspan(skip * hidden_size));
    };
    const auto chosen = static_cast<std::size_t>(config_.num_experts_per_tok);
    trace.routing = [this, row, skip, chosen](std::int64_t layer, std::span<const std::int32_t> experts,
                                              std::span<const float> weights) {
      file_->put<std::int32_t>(fmt::format("topk_indices.{}", layer), row, experts.subspan(skip * chosen));
      file_->put<float>(fmt::format("topk_weights.{}", layer), row, weights.subspan(skip * chosen));
    };
    return trace;
  }

  Status check_finite(std::span<const float> logits, std::int64_t first_row) const {
    const auto bad = std::find_if(logits.begin(), logits.end(), [](float value) { return !std::isfinite(value); });
    if (bad == logits.end()) return {};
    const std::int64_t index = bad - logits.begin();
    return Error{Errc::kInternal,
                 fmt::format("[logits] finite logits needed, position {} id {} has {}",
                             first_row + index / config_.vocab_size, index % config_.vocab_size, *bad)};
  }

  // Row r of a chunk scores the token after it, also where that begins the next window. Each token is scored once, by
  // the first window that can.
  void score(std::span<const float> logits, const Chunk& chunk) {
    const auto vocab = static_cast<std::size_t>(config_.vocab_size);
    for (std::int64_t r = 0; r < chunk.count; ++r) {
      const std::int64_t target = chunk.window_begin + chunk.begin + r + 1;
      if (target >= result_.tokens || target < next_target_) continue;
      const auto row = logits.subspan(static_cast<std::size_t>(r) * vocab, vocab);
      result_.nll_sum += negative_log_likelihood(row, tokens_[static_cast<std::size_t>(target)]);
      ++result_.tokens_scored;
      next_target_ = target + 1;
    }
  }

  const model::ModelConfig& config_;
  std::span<const std::int32_t> tokens_;
  const TeacherForcing& run_;
  std::int64_t chunk_ = 0;
  std::int64_t next_target_ = 1;  // tokens before it are scored
  std::unique_ptr<model::KvCache> kv_;
  std::unique_ptr<model::Decoder> decoder_;
  std::vector<model::BlockId> blocks_;
  std::vector<float> logits_;  // [chunk, V]
  std::optional<RowFile> file_;
  TeacherForcingResult result_;
};

Status check_tokens(std::span<const std::int32_t> tokens, std::int64_t vocab) {
  if (tokens.empty()) return Error{Errc::kInvalidArgument, "[logits] at least one token needed, there is none"};
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocab) {
      return Error{Errc::kInvalidArgument,
                   fmt::format("[logits] ids under {} needed, token {} is {}", vocab, i, tokens[i])};
    }
  }
  return {};
}

}  // namespace

double TeacherForcingResult::nll_mean() const {
  return tokens_scored > 0 ? nll_sum / static_cast<double>(tokens_scored) : 0.0;
}

double TeacherForcingResult::perplexity() const { return std::exp(nll_mean()); }

Result<TeacherForcingResult> teacher_force(std::shared_ptr<const model::Weights> weights,
                                           std::span<const std::int32_t> tokens, const TeacherForcing& run) {
  const model::ModelConfig& config = weights->config;
  BALTORO_TRY_STATUS(check_tokens(tokens, config.vocab_size));
  TeacherForcing settled = run;
  const auto total = static_cast<std::int64_t>(tokens.size());
  const std::int64_t limit = config.max_position_embeddings;
  if (settled.window_tokens == 0) settled.window_tokens = std::min(limit, kDefaultWindow);
  if (settled.window_tokens > limit) {
    return Error{Errc::kInvalidArgument, fmt::format("[logits] a window of at most {} tokens (the model's context) "
                                                     "needed, {} asked",
                                                     limit, settled.window_tokens)};
  }
  if (settled.stride_tokens == 0) settled.stride_tokens = settled.window_tokens;
  if (settled.stride_tokens > settled.window_tokens) {
    return Error{Errc::kInvalidArgument, fmt::format("[logits] a stride of at most the window ({}) needed, {} asked",
                                                     settled.window_tokens, settled.stride_tokens)};
  }
  settled.window_tokens = std::min(settled.window_tokens, std::max(total, std::int64_t{2}));
  settled.stride_tokens = std::min(settled.stride_tokens, settled.window_tokens);
  return Runner::run(std::move(weights), tokens, settled);
}

}  // namespace baltoro::cli
