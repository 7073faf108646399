// SPDX-License-Identifier: Apache-2.0
// Any bytes as a script: an error that names its place, or a script whose answers stay within their bounds and whose
// every token exists.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "baltoro/base/check.h"
#include "baltoro/llm/script_target.h"
#include "baltoro/llm/token_script.h"
#include "baltoro/text/test_tokenizer.h"

namespace {

using namespace baltoro;
using namespace baltoro::llm;

// Walks an answer token by token, as sampling would.
void walk(const ScriptedAnswer& answer, text::ChatFamily family, const text::Tokenizer& tokenizer) {
  const ScriptTarget target(answer, family, tokenizer, 3);
  std::string written;
  for (int i = 0; i < 300; ++i) {
    const auto token = target.next(written);
    if (!token) return;
    BALTORO_CHECK(*token >= 0 && *token < tokenizer.vocab_size(), "a token of the vocabulary");
    written += tokenizer.token_bytes(*token);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto script = parse_token_script({reinterpret_cast<const char*>(data), size});
  if (!script.ok()) {
    BALTORO_CHECK(!script.error().message.empty() && script.error().message.size() < 2000, "an error says something");
    return 0;
  }
  static const text::TestTokenizer kimi(text::kimi_specials()), deepseek(text::deepseek_specials());
  const auto message = [](Speaker speaker, std::string text, std::int64_t calls) {
    return PromptView::Message{.speaker = speaker, .text = [text] { return text; }, .calls = calls};
  };
  const PromptView prompt{.messages = {message(Speaker::kSystem, "s", 0), message(Speaker::kUser, "hello", 0),
                                       message(Speaker::kAssistant, "", 1), message(Speaker::kTool, "tool", 0)},
                          .may_think = true};
  const ScriptedAnswer answer = choose_answer(*script, prompt);
  BALTORO_CHECK(answer.content.size() <= kMaxScriptedTextBytes + 300, "placeholders stay within bounds");
  walk(answer, text::ChatFamily::kK2Thinking, kimi);
  walk(answer, text::ChatFamily::kDeepSeekV31, deepseek);
  return 0;
}
