// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "baltoro/base/utf8.h"
#include "baltoro/server/openai_completions.h"
#include "baltoro/server/openai_sampling.h"

namespace baltoro::server {
namespace {

// OpenAI's spelling of a token in the legacy form: its text, or "bytes:\xe4\xb8" for part of a character.
std::string legacy_token(const std::string& bytes) {
  if (utf8_valid(bytes)) return bytes;
  std::string out = "bytes:";
  for (char c : bytes) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  return out;
}

// The legacy form: four arrays side by side. text_offset counts code points from the start of the choice's text.
class LegacyLogprobs {
 public:
  void add(const std::vector<llm::Logprob>& tokens) {
    for (const llm::Logprob& token : tokens) {
      tokens_.emplace_back(legacy_token(token.bytes));
      logprobs_.push_back(logprob_json(token.logprob));
      json::Value top;
      for (const auto& [bytes, logprob] : token.top) top.set(legacy_token(bytes), logprob_json(logprob));
      top_.push_back(std::move(top));
      offsets_.emplace_back(offset_);
      for (char c : token.bytes) {
        if ((static_cast<unsigned char>(c) & 0xc0) != 0x80) ++offset_;
      }
    }
  }
  bool empty() const { return tokens_.empty(); }
  // Moves out what was added since the last call.
  json::Value take() {
    json::Object out;
    out.emplace_back("tokens", std::exchange(tokens_, {}));
    out.emplace_back("token_logprobs", std::exchange(logprobs_, {}));
    out.emplace_back("top_logprobs", std::exchange(top_, {}));
    out.emplace_back("text_offset", std::exchange(offsets_, {}));
    return out;
  }

 private:
  json::Array tokens_, logprobs_, top_, offsets_;
  std::int64_t offset_ = 0;
};

json::Value finish_json(llm::Finish reason) {
  if (reason == llm::Finish::kRepetition) return "repetition";
  return reason == llm::Finish::kLength ? "length" : "stop";
}

json::Object head_json(const AnswerHead& head) {
  return {{"id", head.id},
          {"object", "text_completion"},
          {"created", head.created_unix_s},
          {"model", head.model},
          {"system_fingerprint", head.system_fingerprint}};
}

json::Object choice_json(std::int64_t index, std::string text, json::Value logprobs, json::Value finish) {
  json::Object out;
  out.reserve(4);
  out.emplace_back("text", std::move(text));
  out.emplace_back("index", index);
  out.emplace_back("logprobs", std::move(logprobs));
  out.emplace_back("finish_reason", std::move(finish));
  return out;
}

// Completions know no reasoning: a backend that tells it apart has its text joined again.
const std::string* text_of(const llm::Event& event) {
  if (const auto* content = std::get_if<llm::ContentDelta>(&event.body)) return &content->text;
  if (const auto* reasoning = std::get_if<llm::ReasoningDelta>(&event.body)) return &reasoning->text;
  return nullptr;
}

class CompletionWriter final : public AnswerWriter {
 public:
  explicit CompletionWriter(AnswerHead head)
      : head_(std::move(head)), choices_(static_cast<std::size_t>(head_.choices)) {}

  void event(const llm::Event& event, std::string&) override {
    Choice& choice = choices_.at(static_cast<std::size_t>(event.choice));
    if (const std::string* text = text_of(event)) {
      choice.text += *text;
    } else if (const auto* logprobs = std::get_if<llm::LogprobDelta>(&event.body)) {
      choice.logprobs.add(logprobs->tokens);
    } else if (const auto* finished = std::get_if<llm::Finished>(&event.body)) {
      choice.finish = finish_json(finished->reason);
      add_usage(usage_, finished->usage, event.choice, head_.n);
    }
  }

  void end(std::string& out) override {
    json::Array choices;
    for (std::size_t i = 0; i < choices_.size(); ++i) {
      Choice& choice = choices_[i];
      json::Value logprobs = choice.logprobs.empty() ? json::Value() : choice.logprobs.take();
      choices.emplace_back(choice_json(static_cast<std::int64_t>(i), std::move(choice.text), std::move(logprobs),
                                       std::move(choice.finish)));
    }
    json::Object body = head_json(head_);
    body.emplace_back("choices", std::move(choices));
    body.emplace_back("usage", usage_json(usage_));
    out += json::dump(std::move(body));
  }

 private:
  struct Choice {
    std::string text;
    LegacyLogprobs logprobs;
    json::Value finish = "stop";
  };
  const AnswerHead head_;
  std::vector<Choice> choices_;
  llm::Usage usage_;
};

class CompletionStreamWriter final : public AnswerWriter {
 public:
  explicit CompletionStreamWriter(AnswerHead head)
      : head_(std::move(head)), logprobs_(static_cast<std::size_t>(head_.choices)) {}

  void event(const llm::Event& event, std::string& out) override {
    LegacyLogprobs& waiting = logprobs_.at(static_cast<std::size_t>(event.choice));
    if (const std::string* text = text_of(event)) {
      write(event.choice, *text, nullptr, out);
    } else if (const auto* logprobs = std::get_if<llm::LogprobDelta>(&event.body)) {
      waiting.add(logprobs->tokens);
    } else if (const auto* finished = std::get_if<llm::Finished>(&event.body)) {
      add_usage(usage_, finished->usage, event.choice, head_.n);
      write(event.choice, {}, finish_json(finished->reason), out);
    }
  }

  void end(std::string& out) override {
    if (head_.include_usage) {
      json::Object body = head_json(head_);
      body.emplace_back("choices", json::Array{});
      body.emplace_back("usage", usage_json(usage_));
      out.append("data: ").append(json::dump(std::move(body))).append("\n\n");
    }
    out += "data: [DONE]\n\n";
  }

 private:
  void write(std::int32_t index, std::string text, json::Value finish, std::string& out) {
    LegacyLogprobs& waiting = logprobs_[static_cast<std::size_t>(index)];
    json::Value logprobs = waiting.empty() ? json::Value() : waiting.take();
    json::Object body = head_json(head_);
    body.emplace_back("choices",
                      json::Array{choice_json(index, std::move(text), std::move(logprobs), std::move(finish))});
    if (head_.include_usage) body.emplace_back("usage", nullptr);
    out.append("data: ").append(json::dump(std::move(body))).append("\n\n");
  }

  const AnswerHead head_;
  std::vector<LegacyLogprobs> logprobs_;
  llm::Usage usage_;
};

}  // namespace

std::unique_ptr<AnswerWriter> make_completion_writer(AnswerHead head) {
  return std::make_unique<CompletionWriter>(std::move(head));
}

std::unique_ptr<AnswerWriter> make_completion_stream_writer(AnswerHead head) {
  return std::make_unique<CompletionStreamWriter>(std::move(head));
}

}  // namespace baltoro::server
