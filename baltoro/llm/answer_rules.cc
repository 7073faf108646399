// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/answer_rules.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "baltoro/llm/request_checks.h"
#include "baltoro/text/value_masks.h"

namespace baltoro::llm {
namespace {

constexpr std::size_t kMaxKeptBytes = std::size_t{64} << 20;
constexpr double kWarmSeconds = 0.25;  // of one request

using Clock = std::chrono::steady_clock;
std::int64_t nanoseconds_since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
}

class AnswerMask final : public engine::TokenMask {
 public:
  explicit AnswerMask(std::shared_ptr<const text::AnswerRules> rules) : grammar_(std::move(rules)) {}
  bool fill(std::span<std::uint64_t> allowed, std::int64_t remaining_tokens) override {
    grammar_.fill(allowed, remaining_tokens);
    return true;
  }
  void accept(engine::TokenId token) override { grammar_.accept(token); }

 private:
  text::AnswerGrammar grammar_;
};

// What a tool takes: no arguments where it declares no parameters.
json::Value parameters_of(const text::Tool& tool) {
  const json::Value* function = tool.declaration.find("function");
  const json::Value* parameters = function == nullptr ? nullptr : function->find("parameters");
  if (parameters != nullptr && !parameters->is_null()) return *parameters;
  return json::Object{{"type", "object"}, {"additionalProperties", false}};
}

// A call's arguments are an object, whatever the schema lets through.
Status check_root_object(const text::SchemaGraph& graph, const text::Tool& tool, const std::string& field) {
  for (const text::NodeId id : graph.nodes[graph.root].children)
    if (graph.nodes[id].kind != text::SchemaNode::Kind::kObject)
      return invalid(field, fmt::format("tool \"{}\": parameters that describe an object needed", tool.name));
  if (graph.nodes[graph.root].kind != text::SchemaNode::Kind::kObject && graph.nodes[graph.root].children.empty())
    return invalid(field, fmt::format("tool \"{}\": parameters that describe an object needed", tool.name));
  return {};
}

bool callable(const ChatRequest& request, const std::string& name) {
  if (request.tool_choice == ToolChoice::kNamed && name != request.tool_choice_name) return false;
  const auto& allowed = request.allowed_tools;
  return allowed.empty() || std::find(allowed.begin(), allowed.end(), name) != allowed.end();
}

std::int64_t calls_in(const text::Conversation& conversation) {
  std::int64_t calls = 0;
  for (const text::Message& message : conversation.messages) calls += std::ssize(message.tool_calls);
  return calls;
}

}  // namespace

AnswerRulesMaker::AnswerRulesMaker(std::shared_ptr<const text::Tokenizer> tokenizer) {
  if (auto made = text::make_grammar_vocabulary(std::move(tokenizer)); made.ok()) {
    vocabulary_ = *std::move(made);
  } else {
    error_ = std::move(made).error();
  }
}

Result<std::shared_ptr<const text::SchemaGraph>> AnswerRulesMaker::graph(const json::Value& schema,
                                                                         text::SchemaMode mode, bool root_object,
                                                                         double& warm_seconds) {
  std::string key = fmt::format("{}{}{}", mode == text::SchemaMode::kStrict, root_object, json::dump(schema));
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = places_.find(key); found != places_.end()) {
      kept_.splice(kept_.begin(), kept_, found->second);
      stats_.cache_hits.fetch_add(1, std::memory_order_relaxed);
      return kept_.front().graph;
    }
  }
  const auto start = Clock::now();
  BALTORO_TRY(auto graph, text::compile_schema(schema, mode, root_object, vocabulary_->trie));
  const auto compiled = Clock::now();
  if (warm_seconds > 0) text::warm_masks(*vocabulary_, *graph, {.seconds = warm_seconds});
  warm_seconds -= static_cast<double>(nanoseconds_since(compiled)) * 1e-9;
  stats_.compiled.fetch_add(1, std::memory_order_relaxed);
  stats_.compile_ns.fetch_add(nanoseconds_since(start), std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  if (places_.contains(key)) return graph;  // another thread was quicker
  const std::size_t bytes = graph->bytes() + 2 * key.size();
  kept_.push_front({key, graph, bytes});
  places_.emplace(std::move(key), kept_.begin());
  kept_bytes_ += bytes;
  while (kept_bytes_ > kMaxKeptBytes && kept_.size() > 1) {
    kept_bytes_ -= kept_.back().bytes;
    places_.erase(kept_.back().key);
    kept_.pop_back();
  }
  return graph;
}

Status AnswerRulesMaker::add_tools(const ChatRequest& request, text::AnswerRules& rules, double& warm_seconds) {
  const auto& tools = request.conversation.tools;
  const bool must = request.tool_choice == ToolChoice::kRequired || request.tool_choice == ToolChoice::kNamed;
  if (must && tools.empty()) return invalid("tool_choice", "at least one tool needed for a call that is required");
  if (request.tool_choice == ToolChoice::kNone || tools.empty()) return {};
  for (std::size_t t = 0; t < tools.size(); ++t) {
    const std::string field = fmt::format("tools[{}].function.parameters", t);
    auto made = graph(parameters_of(tools[t]), tools[t].strict ? text::SchemaMode::kStrict : text::SchemaMode::kLoose,
                      true, warm_seconds);
    if (!made.ok()) return invalid(field, fmt::format("tool \"{}\": {}", tools[t].name, made.error().message));
    if (!callable(request, tools[t].name)) continue;
    if (auto good = check_root_object(**made, tools[t], field); !good.ok()) {
      if (tools[t].strict) return good;
      made = graph(json::Object{{"type", "object"}}, text::SchemaMode::kLoose, true, warm_seconds);
    }
    rules.tools.push_back({.name = tools[t].name, .parameters = *std::move(made)});
  }
  if (rules.tools.empty())
    return invalid("tool_choice",
                   request.tool_choice == ToolChoice::kNamed
                       ? fmt::format("a declared tool needed, none is named \"{}\"", request.tool_choice_name)
                       : "at least one declared tool among the allowed ones needed");
  rules.calls = must ? text::Calls::kMust : text::Calls::kMay;
  rules.many_calls = request.parallel_tool_calls;
  rules.first_index = calls_in(request.conversation);
  return {};
}

Result<std::shared_ptr<const text::AnswerRules>> AnswerRulesMaker::rules(const ChatRequest& request,
                                                                         const text::ChatFormat& format,
                                                                         const text::RenderOptions& render,
                                                                         const std::vector<std::int32_t>& eos) {
  const ResponseFormat& wanted = request.response_format;
  if (vocabulary_ == nullptr) {
    const bool needed =
        wanted.kind != AnswerFormat::kText || request.thinking_budget || !request.conversation.tools.empty();
    if (needed) return error_;
    return std::shared_ptr<const text::AnswerRules>();
  }
  text::AnswerRules rules{.vocabulary = vocabulary_, .syntax = format.answer_syntax(request.conversation, render)};
  rules.syntax.stop.insert(rules.syntax.stop.end(), eos.begin(), eos.end());
  rules.thinking_budget = request.thinking_budget;
  double warm_seconds = kWarmSeconds;
  BALTORO_TRY_STATUS(add_tools(request, rules, warm_seconds));
  if (wanted.kind != AnswerFormat::kText) {
    if (!request.conversation.messages.empty() && request.conversation.messages.back().partial)
      return invalid("response_format", "text needed beside a partial message, which begins the answer");
    const bool any_object = wanted.kind == AnswerFormat::kJsonObject;
    auto made = any_object ? graph(json::Object{{"type", "object"}}, text::SchemaMode::kLoose, true, warm_seconds)
                           : graph(wanted.schema, wanted.strict ? text::SchemaMode::kStrict : text::SchemaMode::kLoose,
                                   false, warm_seconds);
    if (!made.ok())
      return invalid("response_format.json_schema.schema",
                     fmt::format("\"{}\": {}", wanted.name, made.error().message));
    rules.content = *std::move(made);
  }
  return text::make_answer_rules(std::move(rules));
}

std::function<std::unique_ptr<engine::TokenMask>(std::int32_t)> answer_masks(
    const std::shared_ptr<const text::AnswerRules>& rules, std::int32_t n) {
  auto made = std::make_shared<std::vector<std::unique_ptr<engine::TokenMask>>>();
  for (std::int32_t choice = 0; choice < n; ++choice) made->push_back(std::make_unique<AnswerMask>(rules));
  return [made](std::int32_t choice) { return std::move((*made)[static_cast<std::size_t>(choice)]); };
}

}  // namespace baltoro::llm
