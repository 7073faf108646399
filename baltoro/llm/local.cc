// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/local.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "baltoro/engine/engine.h"
#include "baltoro/engine/model_runner.h"
#include "baltoro/llm/answer_rules.h"
#include "baltoro/llm/answer_stream.h"
#include "baltoro/llm/engine_metrics.h"
#include "baltoro/llm/local_script.h"
#include "baltoro/llm/local_setup.h"
#include "baltoro/llm/prompt_memory.h"
#include "baltoro/llm/prompt_outline.h"
#include "baltoro/llm/request_checks.h"
#include "baltoro/llm/volatile_headers.h"
#include "baltoro/model/decoder.h"
#include "baltoro/model/kv_identity.h"
#include "baltoro/model/streamed_weights.h"
#include "baltoro/model/weights.h"

namespace baltoro::llm {
namespace {

// Cancels through the engine while that is there; a ticket may outlive the backend.
class LocalTicket final : public Ticket {
 public:
  LocalTicket(std::weak_ptr<engine::Engine> engine, engine::RequestId id) : engine_(std::move(engine)), id_(id) {}
  ~LocalTicket() override { LocalTicket::cancel(); }
  void cancel() override {
    if (const auto engine = engine_.lock()) engine->cancel(id_);
  }

 private:
  std::weak_ptr<engine::Engine> engine_;
  engine::RequestId id_;
};

}  // namespace

struct LocalBackend::Impl {
  LocalOptions options;
  ModelInfo info;
  text::ChatFamily family{};
  std::vector<std::int32_t> eos_token_ids;  // the checkpoint's
  std::shared_ptr<const text::Tokenizer> tokenizer;
  std::shared_ptr<const text::ChatFormat> format;  // null: no chat, for the reason in chat_error
  Error chat_error;
  std::unique_ptr<AnswerRulesMaker> rules_maker;
  std::shared_ptr<engine::Engine> engine;
  std::unique_ptr<PromptMemory> memory;

  Status load();
  Status load_script();
  Status load_text(const model::ModelConfig& config);
  void start(std::unique_ptr<engine::ModelRunner> runner);
  Result<text::RenderOptions> prepare(ChatRequest& request) const;
  Result<std::vector<std::int32_t>> completion_prompt(const CompletionRequest& request) const;
  engine::Request engine_request(std::vector<std::int32_t> prompt, const Sampling& sampling, const Limits& limits,
                                 const Handling& handling) const;
  std::vector<std::int32_t> stop_ids(const Limits& limits) const;
  Status constrain(const ChatRequest& request, const text::RenderOptions& render, engine::Request& work) const;
  Result<std::unique_ptr<Ticket>> submit(engine::Request request, AnswerStreamOptions stream);
};

Status LocalBackend::Impl::load() {
  if (!options.script_path.empty()) return load_script();
  BALTORO_TRY(const auto weights, model::open_weights_within(options.dir, options.memory_bytes));
  const model::ModelConfig& config = weights->config;
  BALTORO_TRY_STATUS(load_text(config));
  model::DecoderOptions decoder_options{
      .math = options.math,
      .latent_norm_eps = options.latent_norm_eps,
      .dense = options.dense,
      .threads = options.threads,
      .max_batch_tokens = options.max_batch_tokens,
      .max_logit_rows = std::min<std::int64_t>({options.max_sequences, options.max_batch_tokens, 64}),
      .cpus = options.cpus};
  BALTORO_TRY(const KvSize size, plan_kv(*weights, decoder_options, options));
  decoder_options.expert_cache_bytes = size.expert_cache_bytes;
  info = describe(options, family, std::min(size.context_tokens, size.blocks * model::kBlockTokens));
  info.thinks = format != nullptr && format->default_thinking();
  Sha256Digest identity{};
  if (!options.kv_dir.empty()) {
    BALTORO_TRY(identity, model::kv_identity(options.dir, options.math, options.dense, options.latent_norm_eps));
  }
  BALTORO_TRY(memory, PromptMemory::open(options, identity,
                                         static_cast<std::size_t>(model::KvCache::block_bytes(config, options.math))));
  BALTORO_TRY(std::unique_ptr<model::KvCache> kv, model::KvCache::create(config, options.math, size.blocks));
  BALTORO_TRY(std::unique_ptr<model::Decoder> decoder, model::Decoder::create(weights, decoder_options));
  start(std::make_unique<engine::DecoderRunner>(std::move(decoder), std::move(kv)));
  return {};
}

// The same around a model that follows a script.
Status LocalBackend::Impl::load_script() {
  BALTORO_TRY(const model::ModelConfig config, script_config(options.dir));
  BALTORO_TRY_STATUS(load_text(config));
  if (format == nullptr) return chat_error;
  BALTORO_TRY(memory, PromptMemory::open(options, script_kv_identity(config.vocab_size), script_kv_bytes()));
  BALTORO_TRY(OpenedScript script, open_script(options, config.vocab_size, family, tokenizer, *format));
  info = describe(options, family, script.context_tokens);
  info.thinks = format->default_thinking();
  start(std::move(script.runner));
  return {};
}

// What has to do with text: tokenizer, chat format, stop tokens.
Status LocalBackend::Impl::load_text(const model::ModelConfig& config) {
  BALTORO_TRY_STATUS(check_options(options, config));
  BALTORO_TRY(tokenizer, text::load_tokenizer(options.dir));
  BALTORO_TRY(family, family_of(options, config, *tokenizer));
  eos_token_ids = config.eos_token_ids;
  if (auto made = text::make_chat_format(family, tokenizer); made.ok()) {
    format = *std::move(made);
  } else {
    chat_error = std::move(made).error();
  }
  rules_maker = std::make_unique<AnswerRulesMaker>(tokenizer);
  return {};
}

void LocalBackend::Impl::start(std::unique_ptr<engine::ModelRunner> runner) {
  engine = std::make_shared<engine::Engine>(std::move(runner),
                                            engine::EngineOptions{.max_batch_tokens = options.max_batch_tokens,
                                                                  .max_sequences = options.max_sequences,
                                                                  .max_queue = options.max_queue,
                                                                  .max_queue_tokens = options.max_queue_tokens,
                                                                  .max_context_tokens = info.max_context_tokens,
                                                                  .prefix_cache = options.prefix_cache,
                                                                  .max_gap_seconds = options.max_gap_seconds,
                                                                  .priority_seconds = options.priority_seconds},
                                            memory->take_store());
}

// Checks a chat request and makes its conversation what the model shall see.
Result<text::RenderOptions> LocalBackend::Impl::prepare(ChatRequest& request) const {
  BALTORO_TRY_STATUS(check_chat(request));
  if (format == nullptr) return chat_error;
  if (!options.keep_volatile_headers) static_cast<void>(strip_volatile_headers(request.conversation));
  text::RenderOptions render;
  render.thinking = request.thinking;
  render.preserve_thinking = request.preserve_thinking;
  render.parse_special = request.parse_special ? text::ParseSpecial::kYes : text::ParseSpecial::kNo;
  return render;
}

Result<std::vector<std::int32_t>> LocalBackend::Impl::completion_prompt(const CompletionRequest& request) const {
  if (const auto* ids = std::get_if<std::vector<std::int32_t>>(&request.prompt)) return *ids;
  std::vector<std::int32_t> ids;
  if (is_deepseek(family))
    if (const auto bos = tokenizer->special_id("<｜begin▁of▁sentence｜>")) ids.push_back(*bos);
  tokenizer->encode(std::get<std::string>(request.prompt), text::ParseSpecial::kNo, ids);
  return ids;
}

// The family's, the checkpoint's and the request's together.
std::vector<std::int32_t> LocalBackend::Impl::stop_ids(const Limits& limits) const {
  std::vector<std::int32_t> ids = limits.stop_token_ids;
  if (!limits.ignore_eos) {
    ids.insert(ids.end(), eos_token_ids.begin(), eos_token_ids.end());
    const auto more = format == nullptr ? std::vector<std::int32_t>{} : format->stop_token_ids();
    ids.insert(ids.end(), more.begin(), more.end());
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

engine::Request LocalBackend::Impl::engine_request(std::vector<std::int32_t> prompt, const Sampling& sampling,
                                                   const Limits& limits, const Handling& handling) const {
  engine::Request request;
  request.priority = handling.priority;
  request.timeout_seconds = handling.timeout_seconds.value_or(0);
  const std::int64_t room = info.max_context_tokens - static_cast<std::int64_t>(prompt.size());
  request.prompt = std::move(prompt);
  request.sampling = {.temperature = sampling.temperature.value_or(1.0f),
                      .top_k = sampling.top_k.value_or(0),
                      .top_p = sampling.top_p.value_or(1.0f),
                      .min_p = sampling.min_p.value_or(0.0f),
                      .presence_penalty = sampling.presence_penalty.value_or(0.0f),
                      .frequency_penalty = sampling.frequency_penalty.value_or(0.0f),
                      .repetition_penalty = sampling.repetition_penalty.value_or(1.0f),
                      .logit_bias = sampling.logit_bias,
                      .seed = sampling.seed};
  request.n = limits.n;
  request.max_tokens = std::min(limits.max_tokens.value_or(room), std::max<std::int64_t>(room, 0));
  request.stop_token_ids = stop_ids(limits);
  request.logprobs = limits.logprobs;
  request.top_logprobs = limits.logprobs ? limits.top_logprobs : 0;
  return request;
}

// Only what the request allows can be sampled. kInvalidArgument: the answer it asks for may not fit its tokens.
Status LocalBackend::Impl::constrain(const ChatRequest& request, const text::RenderOptions& render,
                                     engine::Request& work) const {
  BALTORO_TRY(auto rules, rules_maker->rules(request, *format, render, eos_token_ids));
  if (rules == nullptr) return {};
  if (rules->least_tokens > work.max_tokens)
    return invalid("max_tokens",
                   fmt::format("room for {} tokens needed for the shortest answer of the form asked for, got {}",
                               rules->least_tokens, work.max_tokens));
  work.make_mask = answer_masks(rules, work.n);
  return {};
}

Result<std::unique_ptr<Ticket>> LocalBackend::Impl::submit(engine::Request request, AnswerStreamOptions stream) {
  stream.tokenizer = tokenizer;
  stream.n = request.n;
  stream.tokens_prompt = static_cast<std::int64_t>(request.prompt.size());
  stream.logprobs = request.logprobs;
  stream.prefix_log = options.prefix_log;
  request.sink = std::make_shared<AnswerStream>(std::move(stream));
  BALTORO_TRY(const engine::RequestId id, engine->submit(std::move(request)));
  return std::unique_ptr<Ticket>(std::make_unique<LocalTicket>(engine, id));
}

LocalBackend::LocalBackend(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LocalBackend::~LocalBackend() = default;

Result<std::unique_ptr<LocalBackend>> LocalBackend::open(LocalOptions options) {
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  BALTORO_TRY_STATUS(impl->load());
  return std::unique_ptr<LocalBackend>(new LocalBackend(std::move(impl)));
}

Result<std::unique_ptr<Ticket>> LocalBackend::chat(ChatRequest request, EventSink sink) {
  BALTORO_TRY(const text::RenderOptions render, impl_->prepare(request));
  const text::ChatFormat& format = *impl_->format;
  BALTORO_TRY(RenderedPrompt prompt, impl_->memory->render(format, request, render));
  const auto tokens = static_cast<std::int64_t>(prompt.ids.size());
  if (tokens >= impl_->info.max_context_tokens)
    return prompt_too_long("messages", tokens, impl_->info.max_context_tokens);
  const bool thinking = request.thinking.value_or(format.default_thinking());
  Sampling sampling = request.sampling;
  if (!sampling.temperature) sampling.temperature = format.default_temperature(thinking);
  if (!sampling.top_p) sampling.top_p = format.default_top_p(thinking);
  AnswerStreamOptions stream{.tokenizer = nullptr, .sink = std::move(sink)};
  stream.stop = request.limits.stop;
  stream.make_parser = [&] { return format.make_parser(request.conversation, render); };
  stream.conversation = &request.conversation;
  stream.one_call_only = !request.parallel_tool_calls;
  stream.max_identical_calls = request.handling.max_identical_calls;
  stream.stop_repetition = request.handling.stop_repetition;
  stream.on_turn = impl_->memory->keeper(impl_->format, prompt);
  engine::Request work = impl_->engine_request(std::move(prompt.ids), sampling, request.limits, request.handling);
  work.cache_salt = salt_of(request.cache_scope);
  BALTORO_TRY_STATUS(impl_->constrain(request, render, work));
  return impl_->submit(std::move(work), std::move(stream));
}

Result<std::unique_ptr<Ticket>> LocalBackend::complete(CompletionRequest request, EventSink sink) {
  BALTORO_TRY_STATUS(check_limits(request.sampling, request.limits, request.echo ? 0 : 1));
  BALTORO_TRY(std::vector<std::int32_t> prompt, impl_->completion_prompt(request));
  if (const auto tokens = static_cast<std::int64_t>(prompt.size()); tokens >= impl_->info.max_context_tokens)
    return prompt_too_long("prompt", tokens, impl_->info.max_context_tokens);
  AnswerStreamOptions stream{.tokenizer = nullptr, .sink = std::move(sink)};
  stream.stop = request.limits.stop;
  stream.stop_repetition = request.handling.stop_repetition;
  const bool echo_logprobs = request.echo && request.limits.logprobs;
  if (echo_logprobs && !prompt.empty()) stream.echo_first_token = prompt.front();
  if (request.echo) {
    const auto* as_text = std::get_if<std::string>(&request.prompt);
    stream.echo = as_text != nullptr ? *as_text : impl_->tokenizer->decode(prompt);
  }
  engine::Request work = impl_->engine_request(std::move(prompt), request.sampling, request.limits, request.handling);
  work.echo_logprobs = echo_logprobs;
  work.cache_salt = salt_of(request.cache_scope);
  return impl_->submit(std::move(work), std::move(stream));
}

Result<std::vector<std::int32_t>> LocalBackend::tokenize(const std::string& text, bool parse_special) {
  return impl_->tokenizer->encode(text, parse_special ? text::ParseSpecial::kYes : text::ParseSpecial::kNo);
}

Result<std::string> LocalBackend::detokenize(const std::vector<std::int32_t>& ids) {
  for (const std::int32_t id : ids) {
    if (id < 0 || id >= impl_->tokenizer->vocab_size())
      return invalid("tokens", fmt::format("ids under {} needed, got {}", impl_->tokenizer->vocab_size(), id));
  }
  return impl_->tokenizer->decode(ids);
}

Result<std::int64_t> LocalBackend::count_tokens(const ChatRequest& request) {
  ChatRequest copy = request;
  BALTORO_TRY(const text::RenderOptions render, impl_->prepare(copy));
  BALTORO_TRY(const RenderedPrompt prompt, impl_->memory->render(*impl_->format, copy, render));
  return static_cast<std::int64_t>(prompt.ids.size());
}

ModelInfo LocalBackend::model() const { return impl_->info; }

BackendMetrics LocalBackend::metrics() const {
  BackendMetrics metrics;
  const auto add = [&](const char* name, auto value) { metrics.emplace_back(name, static_cast<double>(value)); };
  add_engine_metrics(impl_->engine->stats(), metrics);
  const GrammarStats& grammar = impl_->rules_maker->stats();
  add("grammars_compiled_total", grammar.compiled.load());
  add("grammar_cache_hits_total", grammar.cache_hits.load());
  add("grammar_compile_seconds_total", static_cast<double>(grammar.compile_ns.load()) * 1e-9);
  add("math_fast", impl_->options.math == model::Math::kFast ? 1 : 0);
  add("dense_int8", impl_->options.dense == model::DenseWeights::kInt8 ? 1 : 0);
  impl_->memory->add_metrics(metrics);
  return metrics;
}

std::vector<BackendHistogram> LocalBackend::histograms() const { return engine_histograms(impl_->engine->stats()); }

double LocalBackend::busy_seconds() const { return impl_->engine->busy_seconds(); }
void LocalBackend::drain(double deadline_seconds) { impl_->engine->drain(deadline_seconds); }

}  // namespace baltoro::llm
