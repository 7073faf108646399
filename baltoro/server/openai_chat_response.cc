// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/openai_chat.h"
#include "baltoro/server/openai_sampling.h"

namespace baltoro::server {
namespace {

const char* finish_reason(llm::Finish reason) {
  switch (reason) {
    case llm::Finish::kLength:
      return "length";
    case llm::Finish::kToolCalls:
      return "tool_calls";
    case llm::Finish::kRepetition:
      return "repetition";
    case llm::Finish::kStop:
    case llm::Finish::kCancelled:
    case llm::Finish::kError:
      return "stop";
  }
  return "stop";
}

json::Value logprobs_json(const std::vector<llm::Logprob>& tokens) {
  return json::Object{{"content", tokens_json(tokens)}, {"refusal", nullptr}};
}

json::Object head_json(const AnswerHead& head, const char* object) {
  return {{"id", head.id},       {"object", object},          {"created", head.created_unix_s},
          {"model", head.model}, {"service_tier", "default"}, {"system_fingerprint", head.system_fingerprint}};
}

// Gathers everything, writes one body.
class ChatWriter final : public AnswerWriter {
 public:
  explicit ChatWriter(AnswerHead head) : head_(std::move(head)), choices_(static_cast<std::size_t>(head_.choices)) {}

  void event(const llm::Event& event, std::string&) override {
    Choice& choice = choices_.at(static_cast<std::size_t>(event.choice));
    if (const auto* content = std::get_if<llm::ContentDelta>(&event.body)) {
      choice.content += content->text;
    } else if (const auto* reasoning = std::get_if<llm::ReasoningDelta>(&event.body)) {
      choice.reasoning += reasoning->text;
    } else if (const auto* begin = std::get_if<llm::ToolCallBegin>(&event.body)) {
      choice.calls.push_back({.id = begin->id, .name = begin->name, .arguments = {}});
    } else if (const auto* arguments = std::get_if<llm::ToolCallArguments>(&event.body)) {
      if (!choice.calls.empty()) choice.calls.back().arguments += arguments->text;
    } else if (const auto* logprobs = std::get_if<llm::LogprobDelta>(&event.body)) {
      choice.has_logprobs = true;
      choice.logprobs.insert(choice.logprobs.end(), logprobs->tokens.begin(), logprobs->tokens.end());
    } else if (const auto* finished = std::get_if<llm::Finished>(&event.body)) {
      choice.finish = finish_reason(finished->reason);
      add_usage(usage_, finished->usage, event.choice, head_.n);
    }
  }

  void end(std::string& out) override {
    json::Object body = head_json(head_, "chat.completion");
    json::Array choices;
    for (std::size_t i = 0; i < choices_.size(); ++i) choices.emplace_back(choice_json(i));
    body.emplace_back("choices", std::move(choices));
    body.emplace_back("usage", usage_json(usage_));
    out += json::dump(std::move(body));
  }

 private:
  struct Choice {
    std::string content, reasoning;
    std::vector<text::ToolCall> calls;
    std::vector<llm::Logprob> logprobs;
    bool has_logprobs = false;
    const char* finish = "stop";
  };

  json::Value choice_json(std::size_t index) const {
    const Choice& choice = choices_[index];
    json::Object message;
    message.emplace_back("role", "assistant");
    const bool only_calls = choice.content.empty() && !choice.calls.empty();
    message.emplace_back("content", only_calls ? json::Value() : json::Value(choice.content));
    if (!choice.reasoning.empty()) message.emplace_back("reasoning_content", choice.reasoning);
    message.emplace_back("refusal", nullptr);
    message.emplace_back("annotations", json::Array{});
    if (!choice.calls.empty()) {
      json::Array calls;
      for (const text::ToolCall& call : choice.calls) {
        calls.emplace_back(
            json::Object{{"id", call.id},
                         {"type", "function"},
                         {"function", json::Object{{"name", call.name}, {"arguments", call.arguments}}}});
      }
      message.emplace_back("tool_calls", std::move(calls));
    }
    json::Object out;
    out.emplace_back("index", static_cast<std::int64_t>(index));
    out.emplace_back("message", std::move(message));
    out.emplace_back("logprobs", choice.has_logprobs ? logprobs_json(choice.logprobs) : json::Value());
    out.emplace_back("finish_reason", choice.finish);
    return out;
  }

  const AnswerHead head_;
  std::vector<Choice> choices_;
  llm::Usage usage_;
};

// One chunk for each event: the role first, the finish with the choice's usage (Moonshot's place) last, then the usage
// chunk if asked for (OpenAI's place) and [DONE].
class ChatStreamWriter final : public AnswerWriter {
 public:
  explicit ChatStreamWriter(AnswerHead head)
      : head_(std::move(head)), choices_(static_cast<std::size_t>(head_.choices)) {}

  void event(const llm::Event& event, std::string& out) override {
    Choice& choice = choices_.at(static_cast<std::size_t>(event.choice));
    if (const auto* content = std::get_if<llm::ContentDelta>(&event.body)) {
      delta(event.choice, {{"content", content->text}}, out);
    } else if (const auto* reasoning = std::get_if<llm::ReasoningDelta>(&event.body)) {
      delta(event.choice, {{"reasoning_content", reasoning->text}}, out);
    } else if (const auto* begin = std::get_if<llm::ToolCallBegin>(&event.body)) {
      json::Object function{{"name", begin->name}, {"arguments", ""}};
      call(event.choice, {{"index", begin->index}, {"id", begin->id}, {"type", "function"}}, std::move(function), out);
    } else if (const auto* arguments = std::get_if<llm::ToolCallArguments>(&event.body)) {
      call(event.choice, {{"index", arguments->index}}, {{"arguments", arguments->text}}, out);
    } else if (const auto* logprobs = std::get_if<llm::LogprobDelta>(&event.body)) {
      choice.has_logprobs = true;
      choice.logprobs.insert(choice.logprobs.end(), logprobs->tokens.begin(), logprobs->tokens.end());
    } else if (const auto* finished = std::get_if<llm::Finished>(&event.body)) {
      add_usage(usage_, finished->usage, event.choice, head_.n);
      chunk(event.choice, {}, finished, out);
    }
  }

  void end(std::string& out) override {
    if (head_.include_usage) {
      json::Object body = head_json(head_, "chat.completion.chunk");
      body.emplace_back("choices", json::Array{});
      body.emplace_back("usage", usage_json(usage_));
      out.append("data: ").append(json::dump(std::move(body))).append("\n\n");
    }
    out += "data: [DONE]\n\n";
  }

 private:
  struct Choice {
    bool begun = false, has_logprobs = false;
    std::vector<llm::Logprob> logprobs;  // not sent yet
  };

  void call(std::int32_t index, json::Object entry, json::Object function, std::string& out) {
    entry.emplace_back("function", std::move(function));
    delta(index, {{"tool_calls", json::Array{std::move(entry)}}}, out);
  }

  void delta(std::int32_t index, json::Object fields, std::string& out) {
    chunk(index, std::move(fields), nullptr, out);
  }

  void chunk(std::int32_t index, json::Object fields, const llm::Finished* finished, std::string& out) {
    Choice& choice = choices_[static_cast<std::size_t>(index)];
    if (!choice.begun) {
      choice.begun = true;
      json::Object role{{"role", "assistant"}, {"content", ""}, {"refusal", nullptr}};
      write(index, std::move(role), nullptr, nullptr, out);
    }
    json::Value logprobs;
    if (!choice.logprobs.empty()) logprobs = logprobs_json(std::exchange(choice.logprobs, {}));
    write(index, std::move(fields), std::move(logprobs), finished, out);
  }

  void write(std::int32_t index, json::Object fields, json::Value logprobs, const llm::Finished* finished,
             std::string& out) {
    json::Object choice;
    choice.emplace_back("index", index);
    choice.emplace_back("delta", std::move(fields));
    choice.emplace_back("logprobs", std::move(logprobs));
    choice.emplace_back("finish_reason", finished ? json::Value(finish_reason(finished->reason)) : json::Value());
    if (finished) choice.emplace_back("usage", usage_json(finished->usage));
    json::Object body = head_json(head_, "chat.completion.chunk");
    body.emplace_back("choices", json::Array{std::move(choice)});
    if (head_.include_usage) body.emplace_back("usage", nullptr);
    out.append("data: ").append(json::dump(std::move(body))).append("\n\n");
  }

  const AnswerHead head_;
  std::vector<Choice> choices_;
  llm::Usage usage_;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_chat_writer(AnswerHead head) {
  return std::make_unique<ChatWriter>(std::move(head));
}

std::unique_ptr<AnswerWriter> make_chat_stream_writer(AnswerHead head) {
  return std::make_unique<ChatStreamWriter>(std::move(head));
}

}  // namespace baltoro::server
