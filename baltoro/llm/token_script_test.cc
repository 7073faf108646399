// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/token_script.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baltoro::llm {
namespace {

using testing::HasSubstr;

TokenScript parse(const std::string& text) {
  auto script = parse_token_script(text);
  EXPECT_TRUE(script.ok()) << (script.ok() ? "" : script.error().message);
  return script.ok() ? *std::move(script) : TokenScript{};
}

std::string rule(const std::string& members) { return R"({"rules":[{)" + members + "}]}"; }
std::string answer(const std::string& members) { return rule(R"("answer":{)" + members + "}"); }

PromptView::Message said(Speaker speaker, std::string text, std::int64_t calls = 0) {
  return {.speaker = speaker, .text = [text = std::move(text)] { return text; }, .calls = calls};
}

TEST(TokenScript, TheFirstRuleThatAppliesAnswers) {
  const TokenScript script = parse(R"({"rules":[
    {"when":{"user":"COUNT","calls_below":3},"answer":{"tool_calls":[{"name":"add","arguments":{"n":"{n}","of":["{calls}"]}}]}},
    {"when":{"user":"COUNT","calls":3},"answer":{"content":"{calls} calls, last {last}"}},
    {"when":{"last_role":"tool"},"answer":{"content":"a tool spoke"}},
    {"when":{"system":"pirate"},"answer":{"content":"arr"}},
    {"when":{"last":"hi","thinking":true},"answer":{"thinking":"hm","content":{"a":[1,true]}}}]})");
  PromptView prompt{.messages = {said(Speaker::kUser, "an earlier task"), said(Speaker::kAssistant, "", 7),
                                 said(Speaker::kUser, "please COUNT")},
                    .may_think = false};
  ScriptedAnswer got = choose_answer(script, prompt);
  ASSERT_EQ(got.calls.size(), 1u);
  EXPECT_EQ(json::dump(got.calls[0].arguments), R"({"n":"1","of":["7"]})");
  // A later user message that is not the anchor does not start the count again.
  prompt.messages.push_back(said(Speaker::kAssistant, "", 2));
  prompt.messages.push_back(said(Speaker::kTool, "one"));
  prompt.messages.push_back(said(Speaker::kUser, "a reminder"));
  EXPECT_EQ(json::dump(choose_answer(script, prompt).calls.at(0).arguments), R"({"n":"3","of":["9"]})");
  prompt.messages.push_back(said(Speaker::kAssistant, "", 1));
  prompt.messages.push_back(said(Speaker::kTool, "two"));
  EXPECT_EQ(choose_answer(script, prompt).content, "10 calls, last two");
  prompt.messages = {said(Speaker::kUser, "x"), said(Speaker::kTool, "y")};
  EXPECT_EQ(choose_answer(script, prompt).content, "a tool spoke");
  prompt.messages = {said(Speaker::kSystem, "a pirate"), said(Speaker::kUser, "hi")};
  EXPECT_EQ(choose_answer(script, prompt).content, "arr");
  prompt = {.messages = {said(Speaker::kUser, "oh hi")}, .may_think = true};
  EXPECT_EQ(choose_answer(script, prompt).content, R"({"a":[1,true]})");
  prompt.may_think = false;
  EXPECT_THAT(choose_answer(script, prompt).content, HasSubstr("no rule applies to: oh hi"));
}

TEST(TokenScript, ParallelCallsCountOn) {
  const TokenScript script =
      parse(answer(R"("tool_calls":[{"name":"a","arguments":"{n}"},{"name":"a","arguments":"{n}"}])"));
  const ScriptedAnswer got = choose_answer(script, {.messages = {said(Speaker::kUser, "")}, .may_think = false});
  EXPECT_EQ(got.calls[0].arguments.as_string(), "1");
  EXPECT_EQ(got.calls[1].arguments.as_string(), "2");
}

TEST(TokenScript, PlaceholdersCannotGrowWithoutBound) {
  std::string many;
  for (int i = 0; i < 100'000; ++i) many += "{last}";
  const TokenScript script = parse(answer("\"content\":\"" + many + "\""));
  const PromptView prompt{.messages = {said(Speaker::kUser, std::string(5000, 'x'))}, .may_think = false};
  EXPECT_LE(choose_answer(script, prompt).content.size(), kMaxScriptedTextBytes + 200);
}

TEST(TokenScript, RefusesAndNamesTheMember) {
  const auto field = [](const std::string& text) {
    const auto script = parse_token_script(text);
    EXPECT_FALSE(script.ok()) << text;
    if (script.ok()) return std::string("accepted");
    EXPECT_LT(script.error().message.size(), 400u);
    return script.error().field;
  };
  EXPECT_EQ(field("[]"), "");
  EXPECT_EQ(field("{"), "");
  EXPECT_EQ(field("{\"rules\":[" + std::string(100, '[')), "");
  EXPECT_EQ(field("{}"), "rules");
  EXPECT_EQ(field(R"({"rules":[]})"), "rules");
  EXPECT_EQ(field(R"({"rules":{}})"), "rules");
  EXPECT_EQ(field(R"({"rules":[7]})"), "rules[0]");
  EXPECT_EQ(field(R"({"rules":[{"answer":{}}],"step_ms":-1})"), "step_ms");
  EXPECT_EQ(field(R"({"rules":[{"answer":{}}],"step_ms":1e300})"), "step_ms");
  EXPECT_EQ(field(R"({"rules":[{"answer":{}}],"prompt_token_us":"5"})"), "prompt_token_us");
  EXPECT_EQ(field(rule(R"("when":{})")), "rules[0].answer");
  EXPECT_EQ(field(rule(R"("answer":{},"whenn":{})")), "rules[0]");
  EXPECT_EQ(field(rule(R"("answer":{},"when":{"calls":-1})")), "rules[0].when.calls");
  EXPECT_EQ(field(rule(R"("answer":{},"when":{"calls":1.5})")), "rules[0].when.calls");
  EXPECT_EQ(field(rule(R"("answer":{},"when":{"calls":1,"calls_below":5})")), "rules[0].when.calls");
  EXPECT_EQ(field(rule(R"("answer":{},"when":{"last_role":"king"})")), "rules[0].when.last_role");
  EXPECT_EQ(field(rule(R"("answer":{},"when":{"user":null})")), "rules[0].when.user");
  EXPECT_EQ(field(rule(R"("answer":{},"when":{"after":""})")), "rules[0].when.after");
  EXPECT_EQ(field(rule(R"("answer":{},"when":{"thinking":1})")), "rules[0].when.thinking");
  EXPECT_EQ(field(answer(R"("tool_calls":{})")), "rules[0].answer.tool_calls");
  EXPECT_EQ(field(answer(R"("tool_calls":[{}])")), "rules[0].answer.tool_calls[0].name");
  EXPECT_EQ(field(answer(R"("tool_calls":[{"name":"x","arguments":[1]}])")), "rules[0].answer.tool_calls[0].arguments");
  EXPECT_EQ(field(answer(R"("raw":"x","content":"y")")), "rules[0].answer.raw");
  EXPECT_EQ(field(answer(R"("endless":true)")), "rules[0].answer.endless");
  EXPECT_EQ(field(answer(R"("content":"ab","repeat":1000000)")), "rules[0].answer.content");
  EXPECT_EQ(field(answer(R"("content":"ab","repeat":0)")), "rules[0].answer.repeat");
  const auto large = parse_token_script(std::string(kMaxScriptBytes + 1, ' '));
  EXPECT_EQ(large.error().code, Errc::kTooLarge);
}

}  // namespace
}  // namespace baltoro::llm
