// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>

#include "baltoro/server/anthropic_call_ids.h"
#include "baltoro/server/anthropic_errors.h"
#include "baltoro/server/anthropic_messages.h"

namespace baltoro::server {
namespace {

// Where the context ended before max_tokens, the context is the reason.
const char* stop_reason(const llm::Finished& end, const MessageHead& head) {
  if (head.only_cache) return "max_tokens";
  if (end.stop_string) return "stop_sequence";
  switch (end.reason) {
    case llm::Finish::kLength:
      return end.usage.tokens_output < head.max_tokens ? "model_context_window_exceeded" : "max_tokens";
    case llm::Finish::kToolCalls:
      return "tool_use";
    case llm::Finish::kStop:
    case llm::Finish::kRepetition:
    case llm::Finish::kCancelled:
    case llm::Finish::kError:
      return "end_turn";
  }
  return "end_turn";
}

// Anthropic has no reason for an answer that was cut since it went round in circles: its turn ends, and this says why.
json::Value stop_details(const llm::Finished* end) {
  if (end == nullptr || end->reason != llm::Finish::kRepetition) return {};
  return json::Object{{"type", "repetition"}, {"category", nullptr}, {"explanation", "the answer repeated itself"}};
}

// input_tokens are those that were computed, cache_read_input_tokens those that were not.
json::Object usage_json(const llm::Usage& usage) {
  const std::int64_t none = 0;
  return {{"input_tokens", usage.tokens_prompt - usage.tokens_cached},
          {"cache_creation_input_tokens", none},
          {"cache_read_input_tokens", usage.tokens_cached},
          {"output_tokens", usage.tokens_output},
          {"output_tokens_details", json::Object{{"thinking_tokens", usage.tokens_reasoning}}},
          {"server_tool_use", nullptr}};
}

json::Object whole_usage_json(const llm::Usage& usage) {
  const std::int64_t none = 0;
  json::Object out = usage_json(usage);
  out.emplace_back("cache_creation",
                   json::Object{{"ephemeral_5m_input_tokens", none}, {"ephemeral_1h_input_tokens", none}});
  out.emplace_back("service_tier", "standard");
  out.emplace_back("inference_geo", nullptr);
  return out;
}

json::Value no_edits() { return json::Object{{"applied_edits", json::Array{}}}; }

// The message around `content`; without `end` it has only begun.
json::Object message_json(const MessageHead& head, json::Array content, const llm::Finished* end,
                          const llm::Usage& usage) {
  json::Object out;
  out.emplace_back("id", head.id);
  out.emplace_back("type", "message");
  out.emplace_back("role", "assistant");
  out.emplace_back("model", head.model);
  out.emplace_back("content", std::move(content));
  out.emplace_back("stop_reason", end == nullptr ? json::Value() : json::Value(stop_reason(*end, head)));
  out.emplace_back("stop_sequence",
                   end == nullptr || !end->stop_string ? json::Value() : json::Value(*end->stop_string));
  out.emplace_back("stop_details", stop_details(end));
  out.emplace_back("container", nullptr);
  if (head.context_management) out.emplace_back("context_management", no_edits());
  out.emplace_back("usage", whole_usage_json(usage));
  return out;
}

json::Object tool_use_json(std::string id, const std::string& name, json::Value input) {
  return {{"type", "tool_use"},
          {"id", std::move(id)},
          {"name", name},
          {"input", std::move(input)},
          {"caller", json::Object{{"type", "direct"}}}};
}

// Arguments as an object, or shown as what they are.
json::Value input_json(const std::string& arguments) {
  if (arguments.empty()) return json::Object{};
  auto parsed = json::parse(arguments);
  if (parsed.ok() && parsed->is_object()) return *std::move(parsed);
  return json::Object{{std::string(kInvalidJson), arguments}};
}

std::string sign(const MessageHead& head, std::string_view thinking) {
  return head.show_thinking ? head.signer->sign(thinking) : head.signer->seal(thinking);
}

class DialectWriter : public AnswerWriter {
 public:
  explicit DialectWriter(MessageHead head) : head_(std::move(head)), ids_(head_.call_id) {}
  Response error_response(const Error& error) const override {
    return anthropic_error_response(error, head_.request_id);
  }
  void failed(const Error& error, std::string& out) override { out += anthropic_error_event(error, head_.request_id); }

 protected:
  const MessageHead head_;
  WireCallIds ids_;
};

// Gathers everything, writes one body.
class MessageWriter final : public DialectWriter {
 public:
  using DialectWriter::DialectWriter;

  void event(const llm::Event& event, std::string&) override {
    if (const auto* content = std::get_if<llm::ContentDelta>(&event.body)) {
      block(Kind::kText).text += content->text;
    } else if (const auto* reasoning = std::get_if<llm::ReasoningDelta>(&event.body)) {
      block(Kind::kThinking).text += reasoning->text;
    } else if (const auto* begin = std::get_if<llm::ToolCallBegin>(&event.body)) {
      blocks_.push_back(
          {.kind = Kind::kCall, .text = {}, .id = ids_.make(begin->id, begin->name), .name = begin->name});
    } else if (const auto* arguments = std::get_if<llm::ToolCallArguments>(&event.body)) {
      block(Kind::kCall).text += arguments->text;
    } else if (const auto* finished = std::get_if<llm::Finished>(&event.body)) {
      end_ = *finished;
    }
  }

  void end(std::string& out) override {
    json::Array content;
    if (!head_.only_cache) {
      for (const Block& block : blocks_) content.emplace_back(block_json(block));
    }
    llm::Usage usage = end_.usage;
    if (head_.only_cache) usage.tokens_output = usage.tokens_reasoning = 0;
    out += json::dump(message_json(head_, std::move(content), &end_, usage));
  }

 private:
  enum class Kind : std::uint8_t { kText, kThinking, kCall };
  struct Block {
    Kind kind;
    std::string text;  // or arguments
    std::string id = {}, name = {};
  };

  Block& block(Kind kind) {
    if (blocks_.empty() || blocks_.back().kind != kind) blocks_.push_back({.kind = kind, .text = {}});
    return blocks_.back();
  }

  json::Value block_json(const Block& block) const {
    if (block.kind == Kind::kText) return json::Object{{"type", "text"}, {"text", block.text}};
    if (block.kind == Kind::kCall) return tool_use_json(block.id, block.name, input_json(block.text));
    return json::Object{{"type", "thinking"},
                        {"thinking", head_.show_thinking ? block.text : std::string()},
                        {"signature", sign(head_, block.text)}};
  }

  std::vector<Block> blocks_;
  llm::Finished end_;
};

// One block at a time, each begun, written and stopped before the next.
class MessageStreamWriter final : public DialectWriter {
 public:
  using DialectWriter::DialectWriter;

  void event(const llm::Event& event, std::string& out) override {
    if (const auto* progress = std::get_if<llm::PrefillProgress>(&event.body)) {
      usage_.tokens_prompt = progress->tokens_total;
      usage_.tokens_cached = progress->tokens_cached;
      return;
    }
    start(out);
    if (const auto* content = std::get_if<llm::ContentDelta>(&event.body)) {
      if (open_ != Open::kText) begin_block(Open::kText, json::Object{{"type", "text"}, {"text", ""}}, out);
      delta({{"type", "text_delta"}, {"text", content->text}}, out);
    } else if (const auto* reasoning = std::get_if<llm::ReasoningDelta>(&event.body)) {
      think(reasoning->text, out);
    } else if (const auto* begin = std::get_if<llm::ToolCallBegin>(&event.body)) {
      std::string id = ids_.make(begin->id, begin->name);
      begin_block(Open::kCall, tool_use_json(std::move(id), begin->name, json::Object{}), out);
      delta({{"type", "input_json_delta"}, {"partial_json", ""}}, out);
    } else if (const auto* arguments = std::get_if<llm::ToolCallArguments>(&event.body)) {
      if (open_ == Open::kCall) delta({{"type", "input_json_delta"}, {"partial_json", arguments->text}}, out);
    } else if (const auto* finished = std::get_if<llm::Finished>(&event.body)) {
      finish(*finished, out);
    }
  }

  void end(std::string& out) override { write("message_stop", {}, out); }

  // Clients count the time without events: a ping is one, a comment is not. Before the start only a comment may come.
  void keep_alive(std::string& out) override {
    if (usage_.tokens_prompt > 0) start(out);
    if (started_) {
      write("ping", {}, out);
    } else {
      AnswerWriter::keep_alive(out);
    }
  }

 private:
  enum class Open : std::uint8_t { kNone, kText, kThinking, kCall };

  static void write(const char* type, json::Object body, std::string& out) {
    body.emplace(body.begin(), "type", type);
    out.append("event: ").append(type).append("\ndata: ").append(json::dump(std::move(body))).append("\n\n");
  }

  void start(std::string& out) {
    if (std::exchange(started_, true)) return;
    write("message_start", {{"message", message_json(head_, {}, nullptr, usage_)}}, out);
    write("ping", {}, out);
  }

  void begin_block(Open kind, json::Object block, std::string& out) {
    stop_block(out);
    open_ = kind;
    write("content_block_start", {{"index", index_}, {"content_block", std::move(block)}}, out);
  }

  void delta(json::Object delta, std::string& out) {
    write("content_block_delta", {{"index", index_}, {"delta", std::move(delta)}}, out);
  }

  void think(const std::string& text, std::string& out) {
    if (open_ != Open::kThinking) {
      begin_block(Open::kThinking, {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}}, out);
    }
    thinking_ += text;
    if (head_.show_thinking) delta({{"type", "thinking_delta"}, {"thinking", text}}, out);
  }

  void stop_block(std::string& out) {
    if (open_ == Open::kNone) return;
    if (open_ == Open::kThinking) {
      delta({{"type", "signature_delta"}, {"signature", sign(head_, std::exchange(thinking_, {}))}}, out);
    }
    write("content_block_stop", {{"index", index_++}}, out);
    open_ = Open::kNone;
  }

  void finish(const llm::Finished& end, std::string& out) {
    stop_block(out);
    json::Object delta;
    delta.emplace_back("stop_reason", stop_reason(end, head_));
    delta.emplace_back("stop_sequence", end.stop_string ? json::Value(*end.stop_string) : json::Value());
    delta.emplace_back("stop_details", stop_details(&end));
    delta.emplace_back("container", nullptr);
    json::Object body{{"delta", std::move(delta)}, {"usage", usage_json(end.usage)}};
    if (head_.context_management) body.emplace_back("context_management", no_edits());
    write("message_delta", std::move(body), out);
  }

  llm::Usage usage_;  // what is known of it
  std::string thinking_;
  std::int64_t index_ = 0;
  Open open_ = Open::kNone;
  bool started_ = false;
};

}  // namespace

MessageHead message_head(const MessagesCall& call, std::string_view request_id, std::string_view model,
                         const ThinkingSigner& signer) {
  const std::string own(request_id.substr(std::min(request_id.find('-') + 1, request_id.size())));
  return {.id = "msg_" + own,
          .call_id = own,
          .model = std::string(model),
          .show_thinking = call.show_thinking,
          .only_cache = call.only_cache,
          .context_management = call.context_management,
          .max_tokens = call.max_tokens,
          .request_id = std::string(request_id),
          .signer = &signer};
}

std::unique_ptr<AnswerWriter> make_message_writer(MessageHead head) {
  return std::make_unique<MessageWriter>(std::move(head));
}

std::unique_ptr<AnswerWriter> make_message_stream_writer(MessageHead head) {
  return std::make_unique<MessageStreamWriter>(std::move(head));
}

}  // namespace baltoro::server
