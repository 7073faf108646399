// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "baltoro/base/check.h"
#include "baltoro/base/huge_pages.h"
#include "baltoro/base/worker_plan.h"
#include "baltoro/model/block.h"
#include "baltoro/model/context.h"
#include "baltoro/model/dense_copy.h"
#include "baltoro/model/expert_cache.h"
#include "baltoro/model/moe.h"
#include "baltoro/model/rope.h"

namespace baltoro::model {
namespace {

constexpr std::int64_t kMaxBatchTokens = 1 << 16;
constexpr int kMaxThreads = 1024;
constexpr double kFlopsPerAngle = 4000;  // a sine and a cosine in double, some 40 ns

Result<std::vector<WorkerPlace>> workers_of(const DecoderOptions& options) {
  return place_workers(cpu_facts(), {.threads = options.threads, .cpus = options.cpus});
}

ActivationSizes activation_sizes(const DecoderOptions& options, int threads) {
  return {.math = options.math, .batch_tokens = options.max_batch_tokens, .threads = threads};
}

Status check_options(const DecoderOptions& options) {
  const auto outside = [](std::string_view name, std::int64_t low, std::int64_t high, std::int64_t value) {
    return Error{Errc::kInvalidArgument, fmt::format("[decoder] {} needed {} to {}, got {}", name, low, high, value),
                 std::string(name)};
  };
  if (options.max_batch_tokens < 1 || options.max_batch_tokens > kMaxBatchTokens) {
    return outside("max_batch_tokens", 1, kMaxBatchTokens, options.max_batch_tokens);
  }
  if (options.max_logit_rows < 1 || options.max_logit_rows > kMaxBatchTokens) {
    return outside("max_logit_rows", 1, kMaxBatchTokens, options.max_logit_rows);
  }
  if (options.threads > kMaxThreads) return outside("threads", 0, kMaxThreads, options.threads);
  if (options.isa && !kernels::isa_supported(*options.isa)) {
    return Error{Errc::kInvalidArgument,
                 fmt::format("[decoder] this machine cannot run {}", kernels::isa_name(*options.isa)), "isa"};
  }
  return {};
}

// The reference arithmetic is scalar whatever the machine offers.
Result<kernels::Isa> resolve_isa(const DecoderOptions& options) {
  if (options.math == Math::kF32) return kernels::Isa::kScalar;
  if (options.isa) return *options.isa;
  return kernels::choose_isa();
}

void check_batch(const Batch& batch, const ModelConfig& config, const DecoderOptions& options, const KvCache& kv) {
  const std::size_t tokens = batch.tokens.size();
  BALTORO_CHECK(tokens >= 1 && tokens <= static_cast<std::size_t>(options.max_batch_tokens), "1 to max_batch_tokens");
  BALTORO_CHECK(batch.positions.size() == tokens && batch.sequences.size() == tokens,
                "one position and sequence a token");
  BALTORO_CHECK(kv.kv_dim() == config.kv_dim(), "a cache of this model");
  BALTORO_CHECK(kv.element_bytes() == element_bytes(options.math), "a cache of this arithmetic");
  for (std::size_t t = 0; t < tokens; ++t) {
    const std::int32_t position = batch.positions[t], sequence = batch.sequences[t];
    BALTORO_CHECK(batch.tokens[t] >= 0 && batch.tokens[t] < config.vocab_size, "tokens within the vocabulary");
    BALTORO_CHECK(position >= 0 && position < config.max_position_embeddings, "positions within the context");
    BALTORO_CHECK(sequence >= 0 && static_cast<std::size_t>(sequence) < batch.block_tables.size(), "known sequences");
    BALTORO_CHECK(static_cast<std::size_t>(position / kBlockTokens) <
                      batch.block_tables[static_cast<std::size_t>(sequence)].size(),
                  "a block for every position");
  }
  std::uint32_t largest = 0;  // also of negative ids; a plain maximum, as there may be 65,536 blocks
  for (const auto& table : batch.block_tables) {
    for (const BlockId id : table) largest = std::max(largest, static_cast<std::uint32_t>(id));
  }
  BALTORO_CHECK(std::int64_t{largest} < kv.num_blocks(), "known blocks");
  std::int64_t last = -1;
  for (const std::int32_t row : batch.logit_rows) {
    BALTORO_CHECK(row > last && static_cast<std::size_t>(row) < tokens,
                  "logit_rows strictly ascending within the batch");
    last = row;
  }
}

// Null where all weights are mapped, and for a model without experts.
Result<std::unique_ptr<ExpertCache>> make_cache(const std::shared_ptr<const Weights>& weights,
                                                const DecoderOptions& options) {
  const auto& layers = weights->layers;
  const bool any = std::any_of(layers.begin(), layers.end(), [](const LayerWeights& l) { return l.moe.has_value(); });
  if (weights->streamed == nullptr || !any) return std::unique_ptr<ExpertCache>();
  return ExpertCache::create(weights, options.expert_cache_bytes, options.open_reader);
}

}  // namespace

struct Decoder::Impl {
  Impl(std::shared_ptr<const Weights> w, DecoderOptions o, kernels::Isa isa, const ActivationSizes& sizes,
       std::vector<WorkerPlace> places, HugeBuffer memory, std::unique_ptr<ExpertCache> cache)
      : weights(std::move(w)),
        options(o),
        rope(make_rope(weights->config)),
        pages(*weights, place_by_share(places)),
        pool(std::move(places)),
        streamed(std::move(cache)),
        mapped(*weights, &pages),
        arena(std::move(memory)),
        context{.config = weights->config,
                .math = o.math,
                .norm_eps = static_cast<float>(weights->config.rms_norm_eps),
                .latent_norm_eps =
                    o.latent_norm_eps == LatentNormEps::kHf ? 1e-6f : static_cast<float>(weights->config.rms_norm_eps),
                .softmax_scale = static_cast<float>(weights->config.softmax_scale()),
                .kernels = kernels::kernels(isa),
                .pool = pool,
                .experts = streamed ? static_cast<ExpertSource&>(*streamed) : mapped,
                .a = lay_out_activations(weights->config, sizes, arena.data(), &arena_bytes)} {}

  std::shared_ptr<const Weights> weights;
  DecoderOptions options;
  Rope rope;
  WeightPages pages;
  ThreadPool pool;
  std::unique_ptr<ExpertCache> streamed;  // may be null
  MappedExperts mapped;
  HugeBuffer arena;
  std::int64_t arena_bytes = 0;
  Context context;

  Status run(const Batch& batch, KvCache& kv, std::span<float> logits, const Trace* trace);

  // a.x = embed[token]; a.cos, a.sin of each token's position.
  void begin(const Batch& batch) {
    const Activations& a = context.a;
    const std::size_t pairs = rope.inv_freq.size();
    const Region region{
        .name = "embed",
        .count = static_cast<std::int64_t>(batch.tokens.size()),
        .item = {.bytes = row_work(weights->embed, 1).bytes, .flops = kFlopsPerAngle * static_cast<double>(pairs)}};
    parallel(context, region, [&](std::int64_t first, std::int64_t end, int) {
      for (std::int64_t t = first; t < end; ++t) {
        const auto i = static_cast<std::size_t>(t);
        context.kernels.copy_row(weights->embed, batch.tokens[i], a.x + t * context.config.hidden_size);
        rope.angles(batch.positions[i], {a.cos + i * pairs, pairs}, {a.sin + i * pairs, pairs});
      }
    });
  }
};

Result<std::unique_ptr<Decoder>> Decoder::create(std::shared_ptr<const Weights> weights, DecoderOptions options) {
  BALTORO_CHECK(weights != nullptr, "weights to run");
  BALTORO_TRY_STATUS(check_options(options));
  BALTORO_TRY(const kernels::Isa isa, resolve_isa(options));
  BALTORO_TRY(std::vector<WorkerPlace> places, workers_of(options));
  if (options.dense == DenseWeights::kInt8) {
    ThreadPool pool(places);
    BALTORO_TRY(weights, make_dense_int8(*weights, kernels::kernels(isa), pool));
  }
  const ActivationSizes sizes = activation_sizes(options, static_cast<int>(places.size()));
  std::int64_t bytes = 0;
  lay_out_activations(weights->config, sizes, nullptr, &bytes);
  auto arena = HugeBuffer::create(static_cast<std::size_t>(bytes));
  if (!arena.ok()) return Error{arena.error().code, "[decoder] scratch: " + arena.error().message};
  BALTORO_TRY(std::unique_ptr<ExpertCache> cache, make_cache(weights, options));
  return std::unique_ptr<Decoder>(new Decoder(std::make_unique<Impl>(
      std::move(weights), options, isa, sizes, std::move(places), *std::move(arena), std::move(cache))));
}

Decoder::Decoder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Decoder::~Decoder() = default;

Status Decoder::forward(const Batch& batch, KvCache& kv, std::span<float> logits, const Trace* trace,
                        StepProfile* profile) {
  impl_->context.profile = profile;
  if (profile != nullptr) profile->begin_step(impl_->pool.size());
  Status status = impl_->run(batch, kv, logits, trace);
  if (profile != nullptr) profile->end_step();
  impl_->pages.end_step();
  return status;
}

Status Decoder::Impl::run(const Batch& batch, KvCache& kv, std::span<float> logits, const Trace* trace) {
  const Weights& w = *weights;
  const Context& c = context;
  check_batch(batch, w.config, options, kv);
  BALTORO_CHECK(batch.logit_rows.size() <= static_cast<std::size_t>(options.max_logit_rows) &&
                    logits.size() >= batch.logit_rows.size() * static_cast<std::size_t>(w.config.vocab_size),
                "room for the logits");
  begin(batch);
  const Step step{.batch = batch, .kv = kv, .trace = trace};
  const std::int64_t last = w.config.num_hidden_layers - 1;
  if (!w.layers[0].moe)
    expect_experts(0, step.tokens(), c);  // a rough guess, until the first attention has more to say
  for (std::int64_t layer = 0; layer < last; ++layer) {
    BALTORO_TRY_STATUS(block_forward(w.layers[static_cast<std::size_t>(layer)], layer, step, std::nullopt, c));
  }
  // A trace shows all rows of every layer; without one the last layer finishes only the rows whose logits are wanted.
  const auto keep = trace == nullptr ? std::optional(batch.logit_rows) : std::nullopt;
  BALTORO_TRY_STATUS(block_forward(w.layers[static_cast<std::size_t>(last)], last, step, keep, c));
  const std::int64_t rows =
      trace == nullptr ? static_cast<std::int64_t>(batch.logit_rows.size()) : keep_rows(batch.logit_rows, c);
  if (rows == 0) return {};
  const Operand x = norm_rows(c, "norm", c.a.x, w.norm, c.norm_eps, c.a.normed, rows, c.a.operand);
  linear(c, "lm_head", x, rows, {{.w = w.lm_head, .y = logits.data()}});
  return {};
}

void Decoder::interrupt(bool on) { impl_->context.experts.interrupt(on); }

void Decoder::drop_experts() { impl_->context.experts.drop(); }

const Weights& Decoder::weights() const { return *impl_->weights; }
const DecoderOptions& Decoder::options() const { return impl_->options; }
std::optional<ExpertStats> Decoder::expert_stats() const {
  if (impl_->streamed == nullptr) return std::nullopt;
  return impl_->streamed->stats();
}
std::int64_t Decoder::scratch_bytes() const { return impl_->arena_bytes; }

std::int64_t Decoder::scratch_bytes(const ModelConfig& config, const DecoderOptions& options) {
  std::int64_t bytes = 0;
  const auto places = workers_of(options);  // create() refuses options that give none
  lay_out_activations(config, activation_sizes(options, places.ok() ? static_cast<int>(places->size()) : 1), nullptr,
                      &bytes);
  return bytes;
}

}  // namespace baltoro::model
