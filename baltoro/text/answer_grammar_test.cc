// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/answer_grammar.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <string>

#include "baltoro/text/chat_format.h"
#include "baltoro/text/test_tokenizer.h"

namespace baltoro::text {
namespace {

struct Setting {
  ChatFamily family;
  Calls calls;
  bool many = true;
  std::string content = {};
  std::optional<bool> thinking = {};
  std::optional<std::int64_t> budget = {};
};

struct Read {
  std::string content, reasoning, error;
  std::vector<ToolCall> calls;
  std::int64_t tokens = 0, reasoning_tokens = 0;
  bool stopped = false;
};

// One family on a vocabulary of bytes, with two tools.
class Answers {
 public:
  explicit Answers(const Setting& setting) {
    tokenizer_ =
        std::make_shared<TestTokenizer>(setting.family <= ChatFamily::kK25 ? kimi_specials() : deepseek_specials());
    chat_ = *make_chat_format(setting.family, tokenizer_);
    conversation_.messages.push_back({.role = Role::kUser, .content = "q"});
    for (const char* name : {"get", "get_more"})
      conversation_.tools.push_back({.name = name, .declaration = *json::parse(R"({"function":{"name":"x"}})")});
    render_.thinking = setting.thinking;
    const auto vocabulary = *make_grammar_vocabulary(tokenizer_);
    AnswerRules rules{.vocabulary = vocabulary, .syntax = chat_->answer_syntax(conversation_, render_)};
    rules.calls = setting.calls;
    rules.many_calls = setting.many;
    rules.first_index = 3;
    rules.thinking_budget = setting.budget;
    const auto compiled = [&](const std::string& schema) {
      return *compile_schema(*json::parse(schema), SchemaMode::kLoose, true, vocabulary->trie);
    };
    if (setting.calls != Calls::kNever) {
      rules.tools.push_back(
          {"get",
           compiled(
               R"({"type":"object","properties":{"key":{"type":"string","minLength":1}},"required":["key"],"additionalProperties":false})")});
      rules.tools.push_back(
          {"get_more",
           compiled(R"({"type":"object","properties":{"n":{"enum":[1,22]}},"additionalProperties":false})")});
    }
    if (!setting.content.empty()) rules.content = compiled(setting.content);
    rules_ = *make_answer_rules(std::move(rules));
  }

  std::int64_t least() const { return rules_->least_tokens; }

  // Draws each token at random from its mask. `hurry`: control tokens are preferred, so that calls come at all.
  Read draw(std::mt19937& rng, std::int64_t remaining, double hurry) const {
    AnswerGrammar grammar(rules_);
    const auto parser = chat_->make_parser(conversation_, render_);
    const AnswerSyntax syntax = chat_->answer_syntax(conversation_, render_);
    std::vector<std::uint64_t> allowed((static_cast<std::size_t>(tokenizer_->vocab_size()) + 63) / 64);
    std::vector<ParsedEvent> events;
    Read read;
    for (; remaining > 0 && !read.stopped; --remaining) {
      std::fill(allowed.begin(), allowed.end(), 0);
      grammar.fill(allowed, remaining);
      std::vector<TokenId> text, control;
      for (TokenId id = 0; id < tokenizer_->vocab_size(); ++id)
        if ((allowed[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0)
          (tokenizer_->is_special(id) ? control : text).push_back(id);
      if (text.empty() && control.empty()) {
        read.error = "no token is allowed";
        return read;
      }
      const bool use_control = text.empty() || (!control.empty() && std::bernoulli_distribution(hurry)(rng));
      const auto& from = use_control ? control : text;
      const TokenId token = from[std::uniform_int_distribution<std::size_t>(0, from.size() - 1)(rng)];
      grammar.accept(token);
      ++read.tokens;
      if (std::find(syntax.stop.begin(), syntax.stop.end(), token) != syntax.stop.end()) {
        read.stopped = true;
      } else {
        const bool reasoning = parser->in_reasoning();
        parser->push(token, tokenizer_->token_bytes(token), tokenizer_->is_special(token), events);
        read.reasoning_tokens += reasoning && !tokenizer_->is_special(token);
      }
    }
    parser->finish(events);
    for (const ParsedEvent& event : events) {
      if (const auto* content = std::get_if<ParsedContent>(&event)) read.content += content->text;
      if (const auto* reasoning = std::get_if<ParsedReasoning>(&event)) read.reasoning += reasoning->text;
      if (const auto* begin = std::get_if<ParsedCallBegin>(&event)) read.calls.push_back({begin->id, begin->name, ""});
      if (const auto* arguments = std::get_if<ParsedCallArguments>(&event))
        read.calls.back().arguments += arguments->text;
    }
    return read;
  }

 private:
  std::shared_ptr<TestTokenizer> tokenizer_;
  std::shared_ptr<const ChatFormat> chat_;
  Conversation conversation_;
  RenderOptions render_;
  std::shared_ptr<const AnswerRules> rules_;
};

constexpr ChatFamily kFamilies[] = {ChatFamily::kK2Instruct, ChatFamily::kK2Thinking, ChatFamily::kK25,
                                    ChatFamily::kDeepSeekV3, ChatFamily::kDeepSeekR1, ChatFamily::kDeepSeekV31};

void expect_calls_fit(const Read& read, ChatFamily family) {
  for (std::size_t c = 0; c < read.calls.size(); ++c) {
    const ToolCall& call = read.calls[c];
    const auto arguments = json::parse(call.arguments);
    ASSERT_TRUE(arguments.ok()) << call.arguments;
    if (call.name == "get") {
      const json::Value* key = arguments->find("key");
      ASSERT_TRUE(key != nullptr && key->is_string() && !key->as_string().empty()) << call.arguments;
    } else {
      ASSERT_EQ(call.name, "get_more");
      const json::Value* n = arguments->find("n");
      ASSERT_TRUE(n == nullptr || *n == json::Value(1) || *n == json::Value(22)) << call.arguments;
    }
    if (family <= ChatFamily::kK25) {
      EXPECT_EQ(call.id, "functions." + call.name + ":" + std::to_string(3 + c));
    }
  }
}

TEST(AnswerGrammar, RequiredCallsComeAndFitEveryBudget) {
  std::mt19937 rng(1);
  for (const ChatFamily family : kFamilies) {
    for (const bool many : {true, false}) {
      const Answers answers({.family = family, .calls = Calls::kMust, .many = many});
      for (int i = 0; i < 200; ++i) {
        const std::int64_t tokens = answers.least() + i % 100;
        const Read read = answers.draw(rng, tokens, i % 2 == 0 ? 0.0 : 0.3);
        ASSERT_EQ(read.error, "");
        ASSERT_TRUE(read.stopped) << chat_family_name(family) << " within " << tokens;
        ASSERT_GE(read.calls.size(), 1u) << chat_family_name(family);
        if (!many) {
          ASSERT_EQ(read.calls.size(), 1u);
        }
        ASSERT_EQ(read.content, "");
        expect_calls_fit(read, family);
      }
    }
  }
}

TEST(AnswerGrammar, CallsThatMayComeAreWholeOnceTheyBegin) {
  std::mt19937 rng(2);
  std::size_t calls = 0, none = 0;
  for (const ChatFamily family : kFamilies) {
    const Answers answers({.family = family, .calls = Calls::kMay});
    EXPECT_EQ(answers.least(), 0);
    for (int i = 0; i < 300; ++i) {
      const Read read = answers.draw(rng, 1 + i, 0.1);
      ASSERT_EQ(read.error, "");
      ASSERT_TRUE(read.calls.empty() || read.stopped);
      expect_calls_fit(read, family);
      calls += read.calls.size();
      none += read.calls.empty();
    }
  }
  EXPECT_GT(calls, 100u);
  EXPECT_GT(none, 100u);
}

TEST(AnswerGrammar, CallsThatMayNotComeCannot) {
  std::mt19937 rng(3);
  for (const ChatFamily family : kFamilies) {
    const Answers answers({.family = family, .calls = Calls::kNever});
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(answers.draw(rng, 50, 0.5).calls.empty());
  }
}

TEST(AnswerGrammar, ContentIsTheJsonAskedFor) {
  std::mt19937 rng(4);
  for (const ChatFamily family : kFamilies) {
    const Answers answers({.family = family,
                           .calls = Calls::kNever,
                           .content = R"({"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]})"});
    for (int i = 0; i < 200; ++i) {
      const Read read = answers.draw(rng, answers.least() + i % 60, 0.05);
      ASSERT_EQ(read.error, "");
      ASSERT_TRUE(read.stopped);
      const auto value = json::parse(read.content);
      ASSERT_TRUE(value.ok()) << read.content;
      ASSERT_TRUE(value->find("a") != nullptr && value->find("a")->is_integer()) << read.content;
    }
  }
}

TEST(AnswerGrammar, ReasoningEndsAtItsBudget) {
  std::mt19937 rng(5);
  for (const ChatFamily family : {ChatFamily::kK2Thinking, ChatFamily::kK25, ChatFamily::kDeepSeekR1}) {
    for (const std::int64_t budget : {0, 1, 20}) {
      const Answers answers({.family = family, .calls = Calls::kMay, .budget = budget});
      for (int i = 0; i < 50; ++i) {
        const Read read = answers.draw(rng, 200, 0.0);
        ASSERT_LE(read.reasoning_tokens, budget);
        ASSERT_NE(read.content, "");
      }
    }
  }
}

}  // namespace
}  // namespace baltoro::text
