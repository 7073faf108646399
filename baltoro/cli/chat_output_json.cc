// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/json.h"
#include "baltoro/cli/chat_output.h"

namespace baltoro::cli {
namespace {

class JsonOutput final : public ChatOutput {
 public:
  explicit JsonOutput(std::FILE* out) : out_(out) {}

  void banner(const ChatBanner& banner) override {
    json::Object members{{"event", "ready"},
                         {"model", banner.model.id},
                         {"family", banner.model.family},
                         {"max_context_tokens", banner.model.max_context_tokens}};
    json::Array tools;
    for (const auto& name : banner.tools) tools.emplace_back(name);
    members.emplace_back("tools", std::move(tools));
    line(std::move(members));
  }
  void prefill(std::int64_t done, std::int64_t total, double seconds) override {
    line({{"event", "prefill"}, {"tokens_done", done}, {"tokens_total", total}, {"seconds", seconds}});
  }
  void reasoning(std::string_view text) override { line({{"event", "reasoning"}, {"text", text}}); }
  void content(std::string_view text) override { line({{"event", "content"}, {"text", text}}); }
  void call_begin(std::string_view /*name*/) override {}
  void call_arguments(std::string_view /*text*/) override {}
  void call_end(const text::ToolCall& call) override {
    line({{"event", "tool_call"}, {"id", call.id}, {"name", call.name}, {"arguments", call.arguments}});
  }
  void tool_result(const text::ToolCall& call, const ToolResult& result) override {
    line({{"event", "tool_result"},
          {"id", call.id},
          {"name", call.name},
          {"content", result.text},
          {"failed", result.failed},
          {"seconds", result.seconds}});
  }
  void end_answer(const AnswerStats& stats) override {
    line({{"event", "end"},
          {"finish", llm::finish_name(stats.finish)},
          {"tokens_prompt", stats.usage.tokens_prompt},
          {"tokens_cached", stats.usage.tokens_cached},
          {"tokens_output", stats.usage.tokens_output},
          {"tokens_reasoning", stats.usage.tokens_reasoning},
          {"first_token_seconds", stats.first_token_seconds},
          {"seconds", stats.seconds}});
  }
  void notice(std::string_view text) override { line({{"event", "notice"}, {"text", text}}); }
  void error(const Error& error) override {
    line({{"event", "error"}, {"code", errc_name(error.code)}, {"message", error.message}});
  }

 private:
  void line(json::Object members) {
    const std::string text = json::dump(json::Value(std::move(members))) + "\n";
    (void)std::fwrite(text.data(), 1, text.size(), out_);
    std::fflush(out_);
  }
  std::FILE* out_;
};

}  // namespace

std::unique_ptr<ChatOutput> make_json_output(std::FILE* out) { return std::make_unique<JsonOutput>(out); }

}  // namespace baltoro::cli
