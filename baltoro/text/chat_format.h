// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/text/answer_syntax.h"
#include "baltoro/text/message.h"
#include "baltoro/text/tokenizer.h"

namespace baltoro::text {

// The families whose rendering differs.
enum class ChatFamily : std::uint8_t { kK2Instruct, kK2Thinking, kK25, kDeepSeekV3, kDeepSeekR1, kDeepSeekV31 };
const char* chat_family_name(ChatFamily family);  // "k2-instruct", "k2-thinking", "k2.5", "deepseek-v3", ...
std::optional<ChatFamily> chat_family_from_name(std::string_view name);

// An assistant's message as the model once sampled it, to stand in a prompt in place of its rendering.
struct SampledTurn {
  std::vector<TokenId> tokens;        // all after the prompt that it answered, up to and with the end of the turn
  std::vector<std::string> call_ids;  // of its calls, as the model wrote them; empty: the family writes none
  bool reasons = false;               // some of the tokens are reasoning
};

// Where a format asks for such turns while it renders a history. One render at a time.
class SampledTurns {
 public:
  virtual ~SampledTurns() = default;
  // What was sampled after the prompt `before` + `opening` and reads as `message`; null where that is not known.
  // `before` only grows from call to call of one render. The result lives until the next call.
  virtual const SampledTurn* find(std::span<const TokenId> before, std::span<const TokenId> opening,
                                  const Message& message) = 0;
};

struct RenderOptions {
  std::optional<bool> thinking = {};  // absent: the family's default
  bool preserve_thinking = false;     // K2.5+
  bool add_generation_prompt = true;
  ParseSpecial parse_special = ParseSpecial::kNo;  // special strings inside message contents
  // Null: every message is rendered from its text. Else a history's answers whose reasoning the family's template
  // would not drop stand as they were sampled, where that is known.
  SampledTurns* sampled = nullptr;
};

// What a model wrote, told apart. Text is whole code points; a call's arguments are as the model wrote them.
struct ParsedContent {
  std::string text;
};
struct ParsedReasoning {
  std::string text;
};
struct ParsedCallBegin {
  std::int32_t index;
  std::string id, name;
};  // id as the model wrote it
struct ParsedCallArguments {
  std::int32_t index;
  std::string text;
};
struct ParsedCallEnd {
  std::int32_t index;
};
using ParsedEvent = std::variant<ParsedContent, ParsedReasoning, ParsedCallBegin, ParsedCallArguments, ParsedCallEnd>;

// Splits an answer as it streams in. Special tokens are recognised as ids, text by its bytes: text that merely looks
// like a marker is content. Never fails: what is malformed stays content or is dropped as documented per family.
class OutputParser {
 public:
  virtual ~OutputParser() = default;
  // The next token; `bytes` are its text bytes (for a special token, its name). Appends what became certain.
  virtual void push(TokenId token, std::string_view bytes, bool special, std::vector<ParsedEvent>& out) = 0;
  virtual void finish(std::vector<ParsedEvent>& out) = 0;
  virtual bool in_reasoning() const = 0;  // the next text token would be reasoning
  virtual bool saw_tool_calls() const = 0;
  // Nothing was dropped or malformed so far: the events tell all that the tokens do.
  virtual bool clean() const = 0;
};

// Renders conversations and reads answers for one family on one tokenizer. Immutable; any thread.
class ChatFormat {
 public:
  virtual ~ChatFormat() = default;
  virtual ChatFamily family() const = 0;
  // The prompt's ids. Tool-call ids are renamed to the family's form, consistently with their results.
  // kInvalidArgument names the message: a tool result without a call id to match where the family needs one, ...
  virtual Result<std::vector<TokenId>> render(const Conversation& conversation, const RenderOptions& options) const = 0;
  // The same as text, for people and tests.
  virtual Result<std::string> render_text(const Conversation& conversation, const RenderOptions& options) const = 0;
  // A parser for the answer to a prompt rendered with these.
  virtual std::unique_ptr<OutputParser> make_parser(const Conversation& conversation,
                                                    const RenderOptions& options) const = 0;
  // The markup of that answer, for whoever constrains it.
  virtual AnswerSyntax answer_syntax(const Conversation& conversation, const RenderOptions& options) const = 0;
  virtual std::vector<TokenId> stop_token_ids() const = 0;  // the family's, by name, as far as the vocabulary has them
  // What a prompt writes at the end of an answer; `after_call`: of one that was cut off after a call's end.
  virtual std::vector<TokenId> end_of_turn(bool after_call) const = 0;
  virtual float default_temperature(bool thinking) const = 0;
  virtual float default_top_p(bool thinking) const = 0;
  virtual bool default_thinking() const = 0;
};

// What is known of a checkpoint when its family is guessed.
struct FamilyHints {
  std::string model_type = {};        // config.json
  std::string tokenizer_config = {};  // text of tokenizer_config.json, may be empty
  std::string chat_template = {};     // text of chat_template.jinja (or the tokenizer_config's member), may be empty
  double yarn_beta_fast = 0;
  std::int64_t max_position_embeddings = 0;
};
// By the vocabulary first: Kimi's has <|im_middle|>, DeepSeek's <｜User｜> (with neither, model_type tells). Then:
// - Kimi: k2.5 by model_type kimi_k25 or a template that knows tools_ts_str or preserve_thinking; else by whether the
//   template writes <think>; without a template k2.5 by YaRN's beta_fast over 1, else k2-thinking where the vocabulary
//   has <think>, else k2-instruct (also Moonlight).
// - DeepSeek: v3.1 by a template with a `thinking` switch, r1 by one that writes think markers, else v3; without a
//   template by the vocabulary: <｜search▁begin｜> is v3.1's, <think> r1's.
ChatFamily guess_chat_family(const FamilyHints& hints, const Tokenizer& tokenizer);

// kUnsupported: the vocabulary lacks a control token that the family needs; the message names it.
Result<std::shared_ptr<const ChatFormat>> make_chat_format(ChatFamily family,
                                                           std::shared_ptr<const Tokenizer> tokenizer);

}  // namespace baltoro::text
