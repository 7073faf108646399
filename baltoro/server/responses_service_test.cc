// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/responses_service.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "baltoro/llm/scripted.h"

namespace baltoro::server {
namespace {

class ResponsesServiceTest : public testing::Test {
 protected:
  // Asks, and answers with `text`; the response object.
  json::Value ask(const std::string& body, const std::string& id, const std::string& owner = "ann",
                  const std::string& text = "ok") {
    auto prepared = service_.prepare(*json::parse(body), owner, id, "m");
    if (!prepared.ok()) {
      ADD_FAILURE() << prepared.error().message;
      return {};
    }
    messages_ = prepared->request.conversation.messages;
    std::string out;
    prepared->writer->event({0, llm::ReasoningDelta{"hm"}}, out);
    prepared->writer->event({0, llm::ContentDelta{text}}, out);
    prepared->writer->event({0, llm::Finished{}}, out);
    prepared->writer->end(out);
    return *json::parse(out);
  }
  std::string listed(const std::string& query) {
    const auto answer = service_.input_items("ann", "resp_2", query);
    if (!answer.ok()) return answer.error().field;
    const json::Value page = *json::parse(*answer);
    std::string out;
    for (const json::Value& item : page.find("data")->as_array()) out += item.find("id")->as_string() + " ";
    return out + (page.find("has_more")->as_bool() ? "more" : "end");
  }

  ResponsesService service_{
      {.limits = {}, .store = {}, .seal = Seal(SealKey::random()), .now_unix_s = [] { return std::int64_t{5}; }}};
  std::vector<text::Message> messages_;
};

TEST_F(ResponsesServiceTest, AConversationGoesOnByItsLastResponse) {
  const json::Value first = ask(R"({"input":"a"})", "resp_1");
  EXPECT_EQ(json::dump(first), *service_.get("ann", "resp_1", ""));
  ask(R"({"input":"b","previous_response_id":"resp_1","instructions":"new"})", "resp_2");
  ask(R"({"input":"c","previous_response_id":"resp_2"})", "resp_3");
  ASSERT_EQ(messages_.size(), 5u);
  EXPECT_EQ(messages_[0].content, "a");
  EXPECT_EQ(messages_[1].reasoning, "hm");
  EXPECT_EQ(messages_[1].content, "ok");
  EXPECT_EQ(messages_[2].content, "b");
  EXPECT_EQ(messages_[4].content, "c");
  EXPECT_TRUE(service_.erase("ann", "resp_2").ok());
  EXPECT_FALSE(service_.get("ann", "resp_2", "").ok());
  ask(R"({"input":"d","previous_response_id":"resp_3"})", "resp_4");
  EXPECT_EQ(messages_.size(), 7u);
}

TEST_F(ResponsesServiceTest, ListsShortFormsInFull) {
  ask(R"({"input":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},)"
      R"({"type":"function_call","call_id":"c","name":"f","arguments":"{}"},)"
      R"({"type":"function_call_output","call_id":"c","output":"1"}]})",
      "resp_1");
  const json::Value page = *json::parse(*service_.input_items("ann", "resp_1", "order=asc"));
  EXPECT_EQ(
      json::dump(*page.find("data")),
      R"([{"role":"user","content":[{"type":"input_text","text":"a"}],"type":"message","id":"msg_1_in0",)"
      R"("status":"completed"},{"role":"assistant","content":[{"type":"output_text","text":"b","annotations":[],)"
      R"("logprobs":[]}],"type":"message","id":"msg_1_in1","status":"completed"},)"
      R"({"type":"function_call","call_id":"c","name":"f","arguments":"{}","id":"fc_1_in2","status":"completed"},)"
      R"({"type":"function_call_output","call_id":"c","output":"1","id":"item_1_in3","status":"completed"}])");
}

TEST_F(ResponsesServiceTest, ListsTheInputInPages) {
  ask(R"({"input":[{"role":"user","content":"a"}]})", "resp_1");
  ask(R"({"input":[{"role":"user","content":"b"},{"id":"mine","role":"user","content":"c"}],"previous_response_id":"resp_1"})",
      "resp_2");
  EXPECT_EQ(listed("order=asc"), "msg_1_in0 rs_1_0 msg_1_1 msg_2_in0 mine end");
  EXPECT_EQ(listed(""), "mine msg_2_in0 msg_1_1 rs_1_0 msg_1_in0 end");
  EXPECT_EQ(listed("limit=2"), "mine msg_2_in0 more");
  EXPECT_EQ(listed("limit=2&after=msg_2_in0"), "msg_1_1 rs_1_0 more");
  EXPECT_EQ(listed("after=msg_1_in0"), "end");
  EXPECT_EQ(listed("after=other"), "after");
  for (const char* query : {"limit=0", "limit=101", "limit=x", "limit=-1", "limit=99999999999999999999"}) {
    EXPECT_EQ(listed(query), "limit") << query;
  }
  EXPECT_EQ(listed("order=up"), "order");
}

TEST_F(ResponsesServiceTest, EachOwnerSeesItsOwn) {
  const json::Value mine = ask(R"({"input":"a","include":["reasoning.encrypted_content"]})", "resp_1");
  for (const std::string owner : {"bob", ""}) {
    EXPECT_EQ(service_.get(owner, "resp_1", "").error().code, Errc::kNotFound);
    EXPECT_EQ(service_.erase(owner, "resp_1").error().code, Errc::kNotFound);
    EXPECT_EQ(service_.cancel(owner, "resp_1").error().code, Errc::kNotFound);
    EXPECT_EQ(service_.input_items(owner, "resp_1", "").error().code, Errc::kNotFound);
    const auto body = json::parse(R"({"input":"x","previous_response_id":"resp_1"})");
    EXPECT_EQ(service_.prepare(*body, owner, "resp_2", "m").error().code, Errc::kNotFound);
  }
  EXPECT_EQ(service_.cancel("ann", "resp_1").error().code, Errc::kInvalidArgument);
  EXPECT_EQ(service_.get("ann", "resp_1", "stream=true").error().field, "stream");
  // A seal is for one owner too.
  const std::string sealed = mine.find("output")->as_array()[0].find("encrypted_content")->as_string();
  const std::string body =
      R"({"store":false,"input":[{"role":"user","content":"x"},{"type":"reasoning","summary":[],"encrypted_content":")" +
      sealed + R"("},{"role":"assistant","content":"ok"}]})";
  ask(body, "resp_3");
  EXPECT_EQ(messages_[1].reasoning, "hm");
  ask(body, "resp_3", "bob");
  EXPECT_EQ(messages_[1].reasoning, "");
  EXPECT_EQ(service_.store().responses(), 1u);
}

TEST_F(ResponsesServiceTest, ItemsAreFoundByTheirIds) {
  ask(R"({"input":"a"})", "resp_1");
  ask(R"({"input":[{"type":"item_reference","id":"msg_1_in0"},{"type":"item_reference","id":"rs_1_0"},{"id":"msg_1_1"},{"role":"user","content":"b"}]})",
      "resp_2");
  ASSERT_EQ(messages_.size(), 3u);
  EXPECT_EQ(messages_[1].reasoning, "hm");
  EXPECT_EQ(messages_[1].content, "ok");
}

// A few bytes of a request may name what takes far more to read again.
TEST_F(ResponsesServiceTest, WhatARequestReadsAgainIsBounded) {
  const std::string large(9 << 20, 'x');
  ask(R"({"input":[{"id":"msg_1_a","role":"user","content":")" + large + R"("}]})", "resp_1");
  std::string references = R"({"type":"item_reference","id":"msg_1_a"})";
  const auto refer = [&] {
    return service_.prepare(*json::parse(R"({"input":[)" + references + "]}"), "ann", "resp_r", "m");
  };
  EXPECT_TRUE(refer().ok());
  for (int i = 0; i < 3; ++i) references += "," + references;
  EXPECT_EQ(refer().error().field, "input[3].id");
  const auto go_on = [&](int from) {
    return service_.prepare(*json::parse(fmt::format(R"({{"input":"x","previous_response_id":"resp_{}"}})", from)),
                            "ann", "resp_r", "m");
  };
  for (int i = 2; i < 5; ++i) {
    ask(fmt::format(R"({{"input":"{}","previous_response_id":"resp_{}"}})", large, i - 1), fmt::format("resp_{}", i));
  }
  EXPECT_TRUE(go_on(3).ok());
  EXPECT_EQ(go_on(4).error().field, "previous_response_id");
  EXPECT_EQ(go_on(4).error().code, Errc::kInvalidArgument);
}

// A scripted prompt has a token per byte.
TEST(ShortenToContext, DropsTheOldestTurnsOnly) {
  llm::ScriptedBackend backend({.model = {.id = "m", .family = "f", .max_context_tokens = 100, .created_unix_s = 1},
                                .chat = {},
                                .complete = {}});
  const auto shortened = [&](std::size_t turns, std::optional<std::int64_t> max_tokens) {
    llm::ChatRequest request;
    request.limits.max_tokens = max_tokens;
    auto& messages = request.conversation.messages;
    messages.push_back({.role = text::Role::kSystem, .content = "0123456789"});
    for (std::size_t t = 0; t < turns; ++t) {
      messages.push_back({.role = text::Role::kUser, .content = std::string(10, static_cast<char>('a' + t))});
      messages.push_back({.role = text::Role::kAssistant, .content = "ok"});
      messages.push_back({.role = text::Role::kTool, .content = "result"});
    }
    EXPECT_TRUE(shorten_to_context(backend, request).ok());
    std::string out;
    for (const auto& message : messages) {
      if (message.role == text::Role::kSystem) out += "S";
      if (message.role == text::Role::kUser) out += message.content[0];
      if (message.role == text::Role::kTool) out += ".";
    }
    return out;
  };
  EXPECT_EQ(shortened(0, {}), "S");
  EXPECT_EQ(shortened(4, {}), "Sa.b.c.d.");
  EXPECT_EQ(shortened(5, {}), "Sb.c.d.e.");
  EXPECT_EQ(shortened(9, {}), "Sf.g.h.i.");
  EXPECT_EQ(shortened(9, 40), "Sh.i.");
  EXPECT_EQ(shortened(9, 1000), "Sh.i.");
}

TEST(ShortenToContext, LeavesWhatCannotFit) {
  llm::ScriptedBackend backend(
      {.model = {.id = "m", .family = "f", .max_context_tokens = 10, .created_unix_s = 1}, .chat = {}, .complete = {}});
  llm::ChatRequest request;
  request.conversation.messages.push_back({.role = text::Role::kUser, .content = "far too long a turn"});
  EXPECT_TRUE(shorten_to_context(backend, request).ok());
  EXPECT_EQ(request.conversation.messages.size(), 1u);
}

}  // namespace
}  // namespace baltoro::server
