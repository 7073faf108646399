// SPDX-License-Identifier: Apache-2.0
// DeepSeek V3 (the V3-0324 form), R1 and V3.1:
//   BOS system [tools] <｜User｜>text<｜Assistant｜>text<｜end▁of▁sentence｜>...
// Tool results are no turn of their own: the model goes on right after them, without <｜Assistant｜>.
// Source: the chat_template members of the published tokenizer_config.json files; the tool declaration is that of the
// DeepSeek-V3.1 model card. V3 and R1 publish none: there it is the same text with their call syntax.
#include <algorithm>
#include <utility>

#include "baltoro/text/chat_families.h"
#include "baltoro/text/output_parser.h"
#include "baltoro/text/tool_ids.h"

namespace baltoro::text {
namespace {

constexpr std::string_view kBegin = "<｜begin▁of▁sentence｜>";
constexpr std::string_view kEnd = "<｜end▁of▁sentence｜>";
constexpr std::string_view kUser = "<｜User｜>";
constexpr std::string_view kAssistant = "<｜Assistant｜>";
constexpr std::string_view kThinkBegin = "<think>";
constexpr std::string_view kThinkEnd = "</think>";
constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>";
constexpr std::string_view kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>";
constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
constexpr std::string_view kCallEnd = "<｜tool▁call▁end｜>";
constexpr std::string_view kOutputsBegin = "<｜tool▁outputs▁begin｜>";
constexpr std::string_view kOutputsEnd = "<｜tool▁outputs▁end｜>";
constexpr std::string_view kOutputBegin = "<｜tool▁output▁begin｜>";
constexpr std::string_view kOutputEnd = "<｜tool▁output▁end｜>";

// What a history's answer keeps: R1 and V3.1 drop thinking that a client left inside the content.
std::string_view without_thinking(std::string_view content, ChatFamily family) {
  if (family == ChatFamily::kDeepSeekV3) return content;
  const auto at = family == ChatFamily::kDeepSeekR1 ? content.rfind(kThinkEnd) : content.find(kThinkEnd);
  return at == std::string_view::npos ? content : content.substr(at + kThinkEnd.size());
}

// Writes one prompt.
class DeepSeekPrompt {
 public:
  DeepSeekPrompt(ChatFamily family, bool thinking, const RenderOptions& options, PromptBuilder& prompt)
      : family_(family), thinking_(thinking), options_(options), prompt_(prompt) {}

  Status build(const Conversation& conversation) {
    BALTORO_TRY(const Message* partial, partial_message(conversation));
    BALTORO_TRY(const CallNames names, name_calls(conversation));
    prompt_.control(kBegin);
    system(conversation);
    const auto& messages = conversation.messages;
    for (std::size_t m = 0; m < messages.size(); ++m) {
      const Message& message = messages[m];
      if (&message == partial) {
        open_assistant(message);
        return prompt_.status();
      }
      switch (message.role) {
        case Role::kSystem:
          break;
        case Role::kUser:
          close_results();
          prompt_.control(kUser);
          prompt_.text(message.content);
          break;
        case Role::kAssistant:
          assistant(message);
          break;
        case Role::kTool:
          m = results(conversation, names, m);
          break;
      }
    }
    const bool after_results = in_results_;
    close_results();
    if (options_.add_generation_prompt && !after_results) generation_prompt();
    return prompt_.status();
  }

 private:
  bool v31() const { return family_ == ChatFamily::kDeepSeekV31; }

  void system(const Conversation& conversation) {
    bool first = true;
    for (const Message& message : conversation.messages) {
      if (message.role != Role::kSystem) continue;
      if (!first) prompt_.text("\n\n");
      prompt_.text(message.content);
      first = false;
    }
    if (!conversation.tools.empty()) declare(conversation.tools);
  }

  void declare(const std::vector<Tool>& tools) {
    prompt_.text("\n\n## Tools\nYou have access to the following tools:\n\n");
    for (const Tool& tool : tools) {
      const json::Value* function = tool.declaration.find("function");
      const json::Value* description = function != nullptr ? function->find("description") : nullptr;
      const json::Value* parameters = function != nullptr ? function->find("parameters") : nullptr;
      prompt_.text("### " + tool.name + "\nDescription: ");
      if (description != nullptr && description->is_string()) prompt_.text(description->as_string());
      prompt_.text("\n\nParameters: ");
      prompt_.text(parameters != nullptr ? json::dump(*parameters, json::kSpaced) : "{}");
      prompt_.text("\n\n");
    }
    prompt_.text("IMPORTANT: ALWAYS adhere to this exact format for tool use:\n");
    prompt_.control(kCallsBegin);
    call("tool_call_name", "tool_call_arguments");
    prompt_.text("{additional_tool_calls}");
    prompt_.control(kCallsEnd);
    prompt_.text(
        "\n\nWhere:\n- `tool_call_name` must be an exact match to one of the available tools\n"
        "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n"
        "- For multiple tool calls, chain them ");
    prompt_.text(v31() ? "directly without separators or spaces" : "with a newline as separator");
  }

  void call(std::string_view name, std::string_view arguments) {
    prompt_.control(kCallBegin);
    if (v31()) {
      prompt_.text(name);
      prompt_.control(kSeparator);
      prompt_.text(arguments);
    } else {
      prompt_.text("function");
      prompt_.control(kSeparator);
      prompt_.text(name);
      prompt_.text("\n```json\n");
      prompt_.text(arguments);
      prompt_.text("\n```");
    }
    prompt_.control(kCallEnd);
  }

  void assistant(const Message& message) {
    const bool after_results = in_results_;
    after_results ? close_results() : prompt_.control(kAssistant);
    if (append_sampled(message, !after_results && v31())) return;
    if (!after_results && v31()) prompt_.control_or_text(kThinkEnd);
    prompt_.text(without_thinking(message.content, family_));
    if (!message.tool_calls.empty()) {
      prompt_.control(kCallsBegin);
      for (std::size_t c = 0; c < message.tool_calls.size(); ++c) {
        if (c > 0 && !v31()) prompt_.text("\n");
        call(message.tool_calls[c].name, message.tool_calls[c].arguments);
      }
      prompt_.control(kCallsEnd);
    }
    prompt_.control(kEnd);
  }

  // The answer as it was sampled, where that is known and without reasoning, which no later prompt shows.
  bool append_sampled(const Message& message, bool opened) {
    if (options_.sampled == nullptr) return false;
    std::vector<TokenId> tokens = opened ? prompt_.ids_of({kThinkEnd}) : std::vector<TokenId>();
    const SampledTurn* turn = options_.sampled->find(prompt_.ids_so_far(options_.parse_special), tokens, message);
    if (turn == nullptr || turn->reasons) return false;
    tokens.insert(tokens.end(), turn->tokens.begin(), turn->tokens.end());
    prompt_.sampled(std::move(tokens));
    return true;
  }

  // <｜Assistant｜>, unless the message goes on after tool results.
  void begin_assistant() {
    if (in_results_) return close_results();
    prompt_.control(kAssistant);
    if (v31()) prompt_.control_or_text(kThinkEnd);
  }

  // The message that the model continues: its thinking while there is no content yet, else its content.
  void open_assistant(const Message& message) {
    if (message.content.empty() && message.reasoning.empty()) {
      if (in_results_) return close_results();
      return generation_prompt();
    }
    const bool thought = family_ != ChatFamily::kDeepSeekV3 && thinking_ && !message.reasoning.empty();
    if (!thought) {
      begin_assistant();
    } else {
      if (!in_results_) prompt_.control(kAssistant);
      close_results();
      prompt_.control_or_text(kThinkBegin);
      if (family_ == ChatFamily::kDeepSeekR1) prompt_.text("\n");
      prompt_.text(message.reasoning);
      if (!message.content.empty()) prompt_.control_or_text(kThinkEnd);
    }
    prompt_.text(message.content);
  }

  void generation_prompt() {
    prompt_.control(kAssistant);
    if (family_ == ChatFamily::kDeepSeekR1) {
      prompt_.control_or_text(kThinkBegin);
      prompt_.text("\n");
    } else if (v31()) {
      prompt_.control_or_text(thinking_ ? kThinkBegin : kThinkEnd);
    }
  }

  // The run of results from message `first` on, in the order of their calls: the form has no ids. Returns the last one.
  std::size_t results(const Conversation& conversation, const CallNames& names, std::size_t first) {
    std::size_t end = first;
    std::vector<std::size_t> order;
    while (end < conversation.messages.size() && conversation.messages[end].role == Role::kTool) order.push_back(end++);
    const auto place = [&](std::size_t m) { return std::pair(names.answers[m], m); };
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return place(a) < place(b); });
    if (!v31() && !in_results_) prompt_.control(kOutputsBegin);
    for (const std::size_t m : order) {
      if (!v31() && m != order.front()) prompt_.text("\n");
      prompt_.control(kOutputBegin);
      prompt_.text(conversation.messages[m].content);
      prompt_.control(kOutputEnd);
    }
    in_results_ = true;
    return end - 1;
  }

  void close_results() {
    if (in_results_ && !v31()) prompt_.control(kOutputsEnd);
    in_results_ = false;
  }

  ChatFamily family_;
  bool thinking_;
  const RenderOptions& options_;
  PromptBuilder& prompt_;
  bool in_results_ = false;
};

class DeepSeekFormat : public BuiltFormat {
 public:
  using BuiltFormat::BuiltFormat;

  std::unique_ptr<OutputParser> make_parser(const Conversation& conversation,
                                            const RenderOptions& options) const override {
    return make_output_parser(parser_settings(conversation, options));
  }
  AnswerSyntax answer_syntax(const Conversation& conversation, const RenderOptions& options) const override {
    AnswerSyntax syntax = answer_syntax_of(parser_settings(conversation, options));
    syntax.style = family() == ChatFamily::kDeepSeekV31 ? CallStyle::kDeepSeek : CallStyle::kDeepSeekFenced;
    syntax.stop = stop_token_ids();
    syntax.may_think = reasons(options) && !syntax.in_reasoning;
    return syntax;
  }
  std::vector<TokenId> stop_token_ids() const override { return ids_of({kEnd}); }
  std::vector<TokenId> end_of_turn(bool after_call) const override {
    return after_call ? ids_of({kCallsEnd, kEnd}) : ids_of({kEnd});
  }
  float default_temperature(bool /*thinking*/) const override {
    return family() == ChatFamily::kDeepSeekV3 ? 0.3F : 0.6F;
  }
  float default_top_p(bool /*thinking*/) const override { return 0.95F; }
  bool default_thinking() const override { return family() == ChatFamily::kDeepSeekR1; }

 protected:
  Status build(const Conversation& conversation, const RenderOptions& options, PromptBuilder& prompt) const override {
    return DeepSeekPrompt(family(), reasons(options), options, prompt).build(conversation);
  }

 private:
  ParserSettings parser_settings(const Conversation& conversation, const RenderOptions& options) const {
    ParserSettings settings;
    settings.in_reasoning = starts_in_reasoning(conversation, options);
    settings.deepseek_calls = true;
    settings.think_as_text = family() != ChatFamily::kDeepSeekV3 && !tokenizer().special_id(kThinkEnd);
    for (const Tool& tool : conversation.tools) settings.tool_names.push_back(tool.name);
    const auto add = [&](std::string_view name, Marker marker) {
      if (const auto id = tokenizer().special_id(name)) settings.markers.emplace_back(*id, marker);
    };
    add(kThinkBegin, Marker::kThinkBegin);
    add(kThinkEnd, Marker::kThinkEnd);
    add(kCallsBegin, Marker::kSectionBegin);
    add(kCallsEnd, Marker::kSectionEnd);
    add(kCallBegin, Marker::kCallBegin);
    add(kSeparator, Marker::kCallSeparator);
    add(kCallEnd, Marker::kCallEnd);
    return settings;
  }

  // V3 cannot think, R1 always does.
  bool reasons(const RenderOptions& options) const {
    return family() == ChatFamily::kDeepSeekR1 || (family() == ChatFamily::kDeepSeekV31 && thinks(options));
  }

  bool starts_in_reasoning(const Conversation& conversation, const RenderOptions& options) const {
    if (!reasons(options)) return false;
    const auto& messages = conversation.messages;
    if (messages.empty()) return true;
    const Message& last = messages.back();
    if (!last.partial) return last.role != Role::kTool;
    if (!last.content.empty()) return false;
    return !last.reasoning.empty() || messages.size() < 2 || messages[messages.size() - 2].role != Role::kTool;
  }
};

}  // namespace

std::shared_ptr<const ChatFormat> make_deepseek_format(ChatFamily family, std::shared_ptr<const Tokenizer> tokenizer) {
  return std::make_shared<DeepSeekFormat>(family, std::move(tokenizer));
}

}  // namespace baltoro::text
