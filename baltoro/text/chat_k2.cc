// SPDX-License-Identifier: Apache-2.0
// Kimi K2 Instruct (0711, 0905; also K2 Base and Moonlight, which share the grammar) and K2 Thinking.
#include "baltoro/text/chat_kimi.h"

namespace baltoro::text {
namespace {

class K2Format : public BuiltFormat {
 public:
  using BuiltFormat::BuiltFormat;

  std::unique_ptr<OutputParser> make_parser(const Conversation& conversation,
                                            const RenderOptions& /*options*/) const override {
    return make_output_parser(kimi_parser_settings(tokenizer(), conversation, style()));
  }
  AnswerSyntax answer_syntax(const Conversation& conversation, const RenderOptions& /*options*/) const override {
    return kimi_answer_syntax(tokenizer(), conversation, style(), stop_token_ids());
  }
  std::vector<TokenId> stop_token_ids() const override { return ids_of({"<|im_end|>", "[EOS]"}); }
  std::vector<TokenId> end_of_turn(bool after_call) const override { return kimi_end_of_turn(tokenizer(), after_call); }
  float default_temperature(bool /*thinking*/) const override { return default_thinking() ? 1.0F : 0.6F; }
  float default_top_p(bool /*thinking*/) const override { return 1.0F; }
  bool default_thinking() const override { return family() == ChatFamily::kK2Thinking; }

 protected:
  Status build(const Conversation& conversation, const RenderOptions& options, PromptBuilder& prompt) const override {
    return build_kimi(conversation, options, style(), tools_as_json(conversation.tools), prompt);
  }

 private:
  // Instruct cannot think and Thinking cannot do without: the request's `thinking` changes neither.
  KimiStyle style() const {
    return {.default_system = "You are Kimi, an AI assistant created by Moonshot AI.",
            .think_markers = family() == ChatFamily::kK2Thinking};
  }
};

}  // namespace

std::shared_ptr<const ChatFormat> make_k2_format(ChatFamily family, std::shared_ptr<const Tokenizer> tokenizer) {
  return std::make_shared<K2Format>(family, std::move(tokenizer));
}

}  // namespace baltoro::text
