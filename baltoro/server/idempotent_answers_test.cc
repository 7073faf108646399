// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/idempotent_answers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "baltoro/server/test_server.h"

namespace baltoro::server {
namespace {

std::atomic<int> runs = 0;

// "slow" 100 words at 5 ms, "fail" an error after words, "busy" a refusal; else its echo.
Result<std::vector<llm::Script>> author(const llm::ChatRequest& request) {
  const std::string& text = request.conversation.messages.back().content;
  ++runs;
  llm::Script script;
  if (text == "busy") return Error{Errc::kOverloaded, "the queue is full"};
  if (text == "slow") {
    for (int i = 0; i < 100; ++i) llm::append(script, llm::script_content("word" + std::to_string(i) + " ", 0.005));
  } else if (text == "fail") {
    llm::append(script, llm::script_content("two words"));
    script.push_back({0, llm::Finished{llm::Finish::kError, {}, {}, {Errc::kInternal, "broken"}}});
  } else {
    llm::append(script, llm::script_content(text));
  }
  return std::vector<llm::Script>{script};
}

class IdempotencyTest : public ServerTest {
 protected:
  IdempotencyTest() : ServerTest(author) { runs = 0; }
  static std::string key(const std::string& name, const std::string& fields = {}) {
    return "Idempotency-Key: " + name + "\r\n" + fields;
  }
  static bool replayed(const std::string& answer) { return has(answer, "Idempotent-Replayed: true\r\n"); }
};

const std::string kStream = R"(,"stream":true)";

TEST_F(IdempotencyTest, ARequestSentAgainIsAnsweredAsBefore) {
  start();
  for (const std::string& members : {std::string(), kStream}) {
    const int before = runs;
    const std::string first = exchange(chat("hello", members, key("a" + members)));
    const std::string again = exchange(chat("hello", members, key("a" + members)));
    EXPECT_EQ(status_of(first), 200);
    EXPECT_EQ(status_of(again), 200);
    EXPECT_EQ(body_of(first).find("hello") == std::string::npos, false) << first;
    const auto joined = [](std::string text) {  // chunks may be cut in other places
      std::string out;
      for (std::size_t at = 0; (at = text.find("data: ", at)) != std::string::npos; ++at)
        out += text.substr(at, text.find("\n\n", at) - at);
      return out.empty() ? text : out;
    };
    EXPECT_EQ(joined(body_of(first)), joined(body_of(again)));
    EXPECT_FALSE(replayed(first));
    EXPECT_TRUE(replayed(again));
    EXPECT_EQ(runs, before + 1);
  }
  EXPECT_TRUE(soon([this] { return has(log().back(), " replayed=1"); })) << log().back();
  exchange(chat("hello"));  // without a key
  EXPECT_EQ(runs, 3);
}

TEST_F(IdempotencyTest, WhoComesWhileItIsBeingMadeGetsTheSame) {
  start();
  for (const std::string& members : {kStream, std::string()}) {
    const int before = runs;
    const auto first = connect();
    first->send(chat("slow", members, key("b")));
    ASSERT_TRUE(wait_for("requests_running", 1));
    const auto second = connect();
    second->send(chat("slow", members, key("b")));
    const std::string one = whole_answer(*first), two = whole_answer(*second);
    for (const std::string& answer : {one, two}) {
      EXPECT_EQ(status_of(answer), 200);
      EXPECT_TRUE(has(answer, "word0 ") && has(answer, "word99 ")) << answer.substr(0, 500);
    }
    EXPECT_EQ(runs, before + 1);
    EXPECT_EQ(has(two, "[DONE]"), !members.empty());
    EXPECT_EQ(status_of(exchange(chat("other", {}, key("b")))), 409);
    start();  // another server remembers nothing
  }
}

TEST_F(IdempotencyTest, AnAnswerGoesOnForWhoIsLeftAndEndsWithTheLast) {
  start();
  auto first = connect(), second = connect();
  first->send(chat("slow", kStream, key("c")));
  ASSERT_TRUE(wait_for("requests_running", 1));
  second->send(chat("slow", kStream, key("c")));
  EXPECT_TRUE(has(second->read_until("word3 "), "word3 "));
  first->reset();
  EXPECT_TRUE(has(whole_answer(*second), "word99 "));
  EXPECT_EQ(backend_metric("requests_cancelled_total"), 0);
  EXPECT_EQ(runs, 1);

  first = connect();
  first->send(chat("slow", kStream, key("d")));
  EXPECT_TRUE(has(first->read_until("word3 "), "word3 "));
  first->reset();
  EXPECT_TRUE(wait_for("requests_cancelled_total", 1));
  EXPECT_EQ(status_of(exchange(chat("x", {}, key("d")))), 200);  // the key is free again
  EXPECT_EQ(runs, 3);
}

TEST_F(IdempotencyTest, AnotherBodyIsAConflict) {
  start();
  ASSERT_EQ(status_of(exchange(chat("one", {}, key("e")))), 200);
  const std::string other = exchange(chat("two", {}, key("e")));
  EXPECT_EQ(status_of(other), 409);
  EXPECT_TRUE(has(other, "Idempotency-Key: another request")) << other;
  EXPECT_TRUE(has(other, "X-Should-Retry: false\r\n"));
  const auto message = [](const char* text) {
    return R"({"model":"scripted","max_tokens":9,"messages":[{"role":"user","content":")" + std::string(text) +
           R"("}]})";
  };
  ASSERT_EQ(status_of(exchange(post("/v1/messages", message("one"), key("e")))), 200);  // another path, another key
  const std::string anthropic = exchange(post("/anthropic/v1/messages", message("two"), key("e")));
  EXPECT_EQ(status_of(anthropic), 409);
  EXPECT_TRUE(has(anthropic, R"("type":"conflict_error")")) << anthropic;
  for (const std::string& bad : {std::string(256, 'k'), std::string("two words"), std::string("k\xc3\xa9")})
    EXPECT_EQ(status_of(exchange(chat("one", {}, key(bad)))), 400) << bad;
}

TEST_F(IdempotencyTest, KeysAreTheirClients) {
  ServerOptions options;
  options.api.keys = KeySet::of(plain_keys({"k1", "k2"}));
  start(std::move(options));
  EXPECT_EQ(status_of(exchange(chat("one", {}, key("f", "Authorization: Bearer k1\r\n")))), 200);
  EXPECT_FALSE(replayed(exchange(chat("one", {}, key("f", "Authorization: Bearer k2\r\n")))));
  EXPECT_TRUE(replayed(exchange(chat("one", {}, key("f", "Authorization: Bearer k1\r\n")))));
  EXPECT_EQ(runs, 2);
}

TEST_F(IdempotencyTest, FailuresAreForgotten) {
  start();
  for (const char* text : {"busy", "fail"}) {
    const int before = runs;
    for (const std::string& members : {std::string(), kStream, std::string()}) {
      const std::string answer = exchange(chat(text, members, key(std::string("g") + text + members)));
      EXPECT_FALSE(replayed(answer)) << answer;
      EXPECT_FALSE(has(answer, "[DONE]"));
    }
    EXPECT_EQ(runs, before + 3) << text;
  }
  EXPECT_EQ(status_of(exchange(chat("x", R"(,"temperature":-1)", key("h")))), 400);
  EXPECT_EQ(status_of(exchange(chat("x", R"(,"temperature":1)", key("h")))), 200);
}

// Answers without a server: what is kept is bounded.
class Kept : public ::testing::Test {
 protected:
  std::string ask(IdempotentAnswers& answers, const std::string& key, const std::string& body) {
    Sha256Digest digest{};
    digest[0] = static_cast<std::uint8_t>(body.size() % 251);
    const auto given = answers.answer(
        {.whose = "ann", .key = key, .body = digest}, [] {},
        [&](auto) {
          ++made_;
          return make_reply({.body = body});
        });
    return given.reply ? given.reply->head()->body : std::to_string(given.status);
  }
  int made_ = 0;
  double now_ = 0;
};

TEST_F(Kept, ByCountBytesAndTime) {
  IdempotentAnswers answers(
      {.max_answers = 2, .max_bytes = 10'000, .max_answer_bytes = 6000, .keep_seconds = 60, .clock = [this] {
         return now_;
       }});
  EXPECT_EQ(ask(answers, "a", "1"), "1");
  EXPECT_EQ(ask(answers, "b", "2"), "2");
  EXPECT_EQ(ask(answers, "a", "1"), "1");
  EXPECT_EQ(made_, 2);
  ask(answers, "c", "3");  // a goes
  ask(answers, "a", "1");  // b goes
  EXPECT_EQ(made_, 4);
  ask(answers, "c", "3");
  EXPECT_EQ(made_, 4);
  now_ = 61;
  ask(answers, "c", "3");
  EXPECT_EQ(made_, 5);
  ask(answers, "d", std::string(5000, 'd'));
  ask(answers, "e", std::string(5000, 'e'));  // d goes
  ask(answers, "e", std::string(5000, 'e'));
  EXPECT_EQ(made_, 7);
  ask(answers, "d", std::string(5000, 'd'));
  EXPECT_EQ(made_, 8);
  ask(answers, "f", std::string(6001, 'f'));
  EXPECT_EQ(ask(answers, "f", std::string(6001, 'f')), "409");
  EXPECT_EQ(made_, 9);
}

TEST_F(Kept, MakingThatThrowsHoldsNobodyUp) {
  IdempotentAnswers answers;
  const IdempotentAnswers::Asked asked{.whose = "ann", .key = "a", .body = {}};
  std::unique_ptr<Reply> follower;
  EXPECT_THROW((void)answers.answer(
                   asked, [] {},
                   [&](auto) -> std::unique_ptr<Reply> {
                     follower = answers.answer(asked, [] {}, [](auto) { return nullptr; }).reply;
                     throw std::bad_alloc();
                   }),
               std::bad_alloc);
  const auto head = follower->head();
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->status, 503);
  follower.reset();
  EXPECT_EQ(ask(answers, "a", "1"), "1");
}

TEST_F(Kept, SurvivesACrowd) {
  IdempotentAnswers answers({.max_answers = 3});
  std::atomic<int> made = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        const auto given = answers.answer(
            {.whose = "ann", .key = std::to_string((i + t) % 6), .body = {}}, [] {},
            [&](auto) {
              ++made;
              return make_reply({.body = "x"});
            });
        for (int look = 0; look < i % 3; ++look) {
          const auto head = given.reply->head();
          EXPECT_TRUE(!head || head->body == "x");
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_GT(made, 6);
}

}  // namespace
}  // namespace baltoro::server
