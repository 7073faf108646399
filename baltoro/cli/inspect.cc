// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "baltoro/base/json.h"
#include "baltoro/base/progress.h"
#include "baltoro/base/terminal.h"
#include "baltoro/cli/command.h"
#include "baltoro/cli/failure.h"
#include "baltoro/cli/model_options.h"
#include "baltoro/model/binding.h"
#include "baltoro/model/memory_plan.h"
#include "baltoro/model/weights.h"

namespace baltoro::cli {
namespace {

struct InspectCommand {
  std::string dir;
  std::int64_t context = 0;  // 0: the model's
  std::int64_t sequences = 1;
  std::int64_t batch_tokens = model::DecoderOptions{}.max_batch_tokens;
  model::Math math = model::Math::kExact;
  model::DenseWeights dense = model::DenseWeights::kReleased;
  bool json = false;
};

// Stored bytes, as the files have them.
struct StoredSizes {
  std::array<std::int64_t, model::kParts> by_part{};
  std::array<std::int64_t, model::kParts> parameters{};
  std::map<std::string, std::int64_t> by_format;  // codes and scales together
  std::int64_t total = 0;
};

struct Report {
  const model::Weights& weights;
  const model::Binding& binding;
  StoredSizes sizes;
  model::ParameterCount parameters;
  model::MemoryPlan plan;
};

StoredSizes stored_sizes(const model::Binding& binding) {
  StoredSizes sizes;
  for (std::size_t i = 0; i < binding.specs.size(); ++i) {
    const auto& stored = binding.stored[i];
    std::int64_t bytes = 0;
    for (const model::TensorView* view : {stored.data, stored.scale, stored.shape}) {
      if (view != nullptr) bytes += view->info.bytes();
    }
    const auto part = static_cast<std::size_t>(model::part_of(binding.specs[i].role));
    sizes.by_part[part] += bytes;
    sizes.parameters[part] += binding.specs[i].parameters();
    sizes.by_format[tensor::weight_format_name(stored.matrix.format)] += bytes;
    sizes.total += bytes;
  }
  return sizes;
}

std::string human(std::int64_t bytes) { return format_bytes(static_cast<std::uint64_t>(bytes)); }

// 1,026,408,232,448
std::string grouped(std::int64_t value) {
  const std::string digits = std::to_string(value);
  std::string out;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out.push_back(',');
    out.push_back(digits[i]);
  }
  return out;
}

json::Value optional_int(const std::optional<std::int64_t>& value) {
  return value ? json::Value(*value) : json::Value(nullptr);
}

json::Value dimensions_json(const model::ModelConfig& c) {
  json::Value yarn;
  if (c.yarn) {
    yarn = json::Object{{"factor", c.yarn->factor},
                        {"beta_fast", c.yarn->beta_fast},
                        {"beta_slow", c.yarn->beta_slow},
                        {"original_max_position_embeddings", c.yarn->original_max_position_embeddings}};
  }
  return json::Object{{"vocab_size", c.vocab_size},
                      {"hidden_size", c.hidden_size},
                      {"num_hidden_layers", c.num_hidden_layers},
                      {"num_attention_heads", c.num_attention_heads},
                      {"q_lora_rank", optional_int(c.q_lora_rank)},
                      {"kv_lora_rank", c.kv_lora_rank},
                      {"qk_nope_head_dim", c.qk_nope_head_dim},
                      {"qk_rope_head_dim", c.qk_rope_head_dim},
                      {"v_head_dim", c.v_head_dim},
                      {"intermediate_size", c.intermediate_size},
                      {"moe_intermediate_size", c.moe_intermediate_size},
                      {"n_routed_experts", c.n_routed_experts},
                      {"num_experts_per_tok", c.num_experts_per_tok},
                      {"n_shared_experts", c.n_shared_experts},
                      {"n_group", c.n_group},
                      {"topk_group", c.topk_group},
                      {"first_k_dense_replace", c.first_k_dense_replace},
                      {"max_position_embeddings", c.max_position_embeddings},
                      {"rope_theta", c.rope_theta},
                      {"yarn", std::move(yarn)},
                      {"rms_norm_eps", c.rms_norm_eps},
                      {"softmax_scale", c.softmax_scale()}};
}

json::Value plan_json(const model::MemoryPlan& plan) {
  return json::Object{{"context_tokens", plan.request.context_tokens},
                      {"sequences", plan.request.sequences},
                      {"weights_bytes", plan.weights},
                      {"dense_copy_bytes", plan.dense_copy},
                      {"weights_bytes_per_token", plan.weights_active},
                      {"kv_bytes_per_token", plan.kv_token},
                      {"kv_bytes", plan.kv},
                      {"scratch_bytes", plan.scratch},
                      {"total_bytes", plan.total()},
                      {"available_bytes", plan.machine.available},
                      {"cgroup_limit_bytes", optional_int(plan.machine.cgroup_limit)},
                      {"usable_bytes", plan.machine.usable()},
                      {"fits", plan.fits()}};
}

void print_json(const Report& r, const std::string& dir) {
  json::Value by_kind;
  for (int part = 0; part < model::kParts; ++part) {
    const auto index = static_cast<std::size_t>(part);
    by_kind.set(model::part_name(static_cast<model::Part>(part)),
                json::Object{{"parameters", r.sizes.parameters[index]}, {"bytes", r.sizes.by_part[index]}});
  }
  json::Value by_format;
  for (const auto& [format, bytes] : r.sizes.by_format) by_format.set(format, bytes);
  const json::Value report = json::Object{{"dir", dir},
                                          {"model_type", r.weights.config.model_type},
                                          {"dimensions", dimensions_json(r.weights.config)},
                                          {"parameters_total", r.parameters.total},
                                          {"parameters_active", r.parameters.active},
                                          {"files", r.weights.files->shards().size()},
                                          {"file_bytes", r.weights.files->file_bytes()},
                                          {"weight_bytes", r.sizes.total},
                                          {"by_kind", std::move(by_kind)},
                                          {"by_format", std::move(by_format)},
                                          {"ignored_tensors", r.binding.ignored_tensors},
                                          {"ignored_bytes", r.binding.ignored_bytes},
                                          {"memory_plan", plan_json(r.plan)}};
  fmt::print("{}\n", json::dump(report));
}

void print_dimensions(const model::ModelConfig& c) {
  fmt::print("model        {}, {} layers ({} dense), hidden {}, vocabulary {}\n", c.model_type, c.num_hidden_layers,
             std::min(c.first_k_dense_replace, c.num_hidden_layers), c.hidden_size, c.vocab_size);
  fmt::print("attention    {} heads, q rank {}, latent {} + rope {}, nope {}, value {}\n", c.num_attention_heads,
             c.q_lora_rank ? std::to_string(*c.q_lora_rank) : "none", c.kv_lora_rank, c.qk_rope_head_dim,
             c.qk_nope_head_dim, c.v_head_dim);
  fmt::print("ffn          dense {}, {} experts of {} (top {}{}), {} shared\n", c.intermediate_size, c.n_routed_experts,
             c.moe_intermediate_size, c.num_experts_per_tok,
             c.n_group > 1 ? fmt::format(", {} of {} groups", c.topk_group, c.n_group) : "", c.n_shared_experts);
  fmt::print("positions    {}, rope theta {}, {}\n", c.max_position_embeddings, c.rope_theta,
             c.yarn ? fmt::format("YaRN factor {} from {}, beta {}/{}", c.yarn->factor,
                                  c.yarn->original_max_position_embeddings, c.yarn->beta_fast, c.yarn->beta_slow)
                    : "no YaRN");
}

void print_plan(const model::MemoryPlan& p) {
  fmt::print("\nmemory for {} sequence{} of {} tokens\n", p.request.sequences, p.request.sequences == 1 ? "" : "s",
             p.request.context_tokens);
  fmt::print("  weights    {:>10}  mapped; {} read per token\n", human(p.weights), human(p.weights_active));
  if (p.dense_copy > 0)
    fmt::print("  INT8 copy  {:>10}  in place of the released dense weights\n", human(p.dense_copy));
  fmt::print("  KV         {:>10}  {} bytes a token\n", human(p.kv), grouped(p.kv_token));
  fmt::print("  scratch    {:>10}\n", human(p.scratch));
  fmt::print("  total      {:>10}  of {} available{}: {}\n", human(p.total()), human(p.machine.usable()),
             p.machine.cgroup_limit ? fmt::format(" (control group limit {})", human(*p.machine.cgroup_limit)) : "",
             p.fits()                          ? "fits"
             : p.owned() <= p.machine.usable() ? "does not fit: weights would be read from disk again"
                                               : "does not fit");
}

void print_text(const Report& r, const std::string& dir) {
  fmt::print("folder       {}, {} file{}, {}\n", escape_for_terminal(dir), r.weights.files->shards().size(),
             r.weights.files->shards().size() == 1 ? "" : "s",
             human(static_cast<std::int64_t>(r.weights.files->file_bytes())));
  print_dimensions(r.weights.config);
  fmt::print("parameters   {} in all, {} active per token\n", grouped(r.parameters.total),
             grouped(r.parameters.active));
  fmt::print("\n{:<12} {:>22} {:>12} {:>7}\n", "kind", "parameters", "bytes", "share");
  for (int part = 0; part < model::kParts; ++part) {
    const auto index = static_cast<std::size_t>(part);
    if (r.sizes.parameters[index] == 0) continue;
    fmt::print("{:<12} {:>22} {:>12} {:>6.1f}%\n", model::part_name(static_cast<model::Part>(part)),
               grouped(r.sizes.parameters[index]), human(r.sizes.by_part[index]),
               100.0 * static_cast<double>(r.sizes.by_part[index]) / static_cast<double>(r.sizes.total));
  }
  fmt::print("{:<12} {:>22} {:>12}\n\n", "total", grouped(r.parameters.total), human(r.sizes.total));
  for (const auto& [format, bytes] : r.sizes.by_format) {
    fmt::print("{:<12} {:>35} {:>6.1f}%\n", format, human(bytes),
               100.0 * static_cast<double>(bytes) / static_cast<double>(r.sizes.total));
  }
  if (r.binding.ignored_tensors > 0) {
    fmt::print("ignored      {} tensors, {}\n", r.binding.ignored_tensors, human(r.binding.ignored_bytes));
  }
  print_plan(r.plan);
}

Status run(const InspectCommand& command) {
  BALTORO_TRY(const std::unique_ptr<const model::Weights> weights, model::open_weights(command.dir));
  BALTORO_TRY(const MachineMemory machine, machine_memory());
  model::MemoryRequest request;
  request.context_tokens = command.context == 0 ? weights->config.max_position_embeddings : command.context;
  request.sequences = command.sequences;
  request.decoder.math = command.math;
  request.decoder.dense = command.dense;
  request.decoder.max_batch_tokens = command.batch_tokens;
  BALTORO_TRY(const model::MemoryPlan plan, model::plan_memory(*weights, request, machine));
  const model::Binding binding = model::bind(weights->config, *weights->files);
  const Report report{.weights = *weights,
                      .binding = binding,
                      .sizes = stored_sizes(binding),
                      .parameters = model::count_parameters(weights->config),
                      .plan = plan};
  command.json ? print_json(report, command.dir) : print_text(report, command.dir);
  return {};
}

}  // namespace

void add_inspect(CLI::App& app) {
  auto command = std::make_shared<InspectCommand>();
  CLI::App* sub = app.add_subcommand("inspect", "Show a model folder's dimensions, sizes and memory plan");
  sub->add_option("DIR", command->dir, "model folder")->required();
  sub->add_option("--context", command->context, "tokens of each sequence to plan for (default: the model's window)")
      ->check(CLI::PositiveNumber);
  sub->add_option("--sequences", command->sequences, "sequences at once to plan for")->capture_default_str();
  sub->add_option("--batch-tokens", command->batch_tokens, "tokens of a step; sizes the scratch memory")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  sub->add_option("--math", command->math, "exact, fast or f32: f32 keeps KV in twice the bytes")
      ->transform(CLI::CheckedTransformer(named_maths()))
      ->option_text("MATH [exact]");
  sub->add_option("--dense", command->dense, "released or int8: int8 copies what every token uses into memory")
      ->transform(CLI::CheckedTransformer(named_dense_weights()))
      ->option_text("DENSE [released]");
  sub->add_flag("--json", command->json, "for machines");
  sub->callback([command] {
    if (const auto status = run(*command); !status.ok()) finish(report_error("inspect", status.error()));
  });
}

}  // namespace baltoro::cli
