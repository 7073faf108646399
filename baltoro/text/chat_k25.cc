// SPDX-License-Identifier: Apache-2.0
// Kimi K2.5, K2.6, K2.7-Code (text): no default system prompt, tools as TypeScript, thinking opened by the prompt.
#include "baltoro/text/chat_kimi.h"
#include "baltoro/text/typescript_tools.h"

namespace baltoro::text {
namespace {

class K25Format : public BuiltFormat {
 public:
  explicit K25Format(std::shared_ptr<const Tokenizer> tokenizer)
      : BuiltFormat(ChatFamily::kK25, std::move(tokenizer)) {}

  std::unique_ptr<OutputParser> make_parser(const Conversation& conversation,
                                            const RenderOptions& options) const override {
    return make_output_parser(kimi_parser_settings(tokenizer(), conversation, style(options)));
  }
  AnswerSyntax answer_syntax(const Conversation& conversation, const RenderOptions& options) const override {
    return kimi_answer_syntax(tokenizer(), conversation, style(options), stop_token_ids());
  }
  std::vector<TokenId> stop_token_ids() const override { return ids_of({"<|im_end|>", "[EOS]"}); }
  std::vector<TokenId> end_of_turn(bool after_call) const override { return kimi_end_of_turn(tokenizer(), after_call); }
  float default_temperature(bool thinking) const override { return thinking ? 1.0F : 0.6F; }
  float default_top_p(bool /*thinking*/) const override { return 0.95F; }
  bool default_thinking() const override { return true; }

 protected:
  Status build(const Conversation& conversation, const RenderOptions& options, PromptBuilder& prompt) const override {
    std::string declarations;
    if (!conversation.tools.empty()) {
      // What TypeScript cannot express is declared as JSON, all tools together, as the reference does.
      auto typescript = tools_as_typescript(conversation.tools);
      declarations = typescript ? *std::move(typescript) : tools_as_json(conversation.tools);
    }
    return build_kimi(conversation, options, style(options), declarations, prompt);
  }

 private:
  KimiStyle style(const RenderOptions& options) const {
    return {.default_system = {},
            .think_markers = true,
            .keep_all_reasoning = options.preserve_thinking,
            .instant = !thinks(options),
            .prompt_opens_think = true};
  }
};

}  // namespace

std::shared_ptr<const ChatFormat> make_k25_format(std::shared_ptr<const Tokenizer> tokenizer) {
  return std::make_shared<K25Format>(std::move(tokenizer));
}

}  // namespace baltoro::text
