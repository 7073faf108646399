// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/response_store.h"

#include <gtest/gtest.h>

#include <thread>

namespace baltoro::server {
namespace {

std::shared_ptr<StoredResponse> made(std::string id, std::size_t size = 100, ResponseStore::Kept before = nullptr) {
  auto out = std::make_shared<StoredResponse>();
  out->id = std::move(id);
  out->response.assign(size, 'x');
  out->before = std::move(before);
  return out;
}

TEST(ResponseStore, ShowsAResponseToItsOwnerOnly) {
  ResponseStore store;
  store.put("ann", made("resp_1"));
  ASSERT_NE(store.find("ann", "resp_1"), nullptr);
  EXPECT_EQ(store.find("bob", "resp_1"), nullptr);
  EXPECT_EQ(store.find("ann", "resp_2"), nullptr);
  EXPECT_FALSE(store.erase("bob", "resp_1"));
  EXPECT_TRUE(store.erase("ann", "resp_1"));
  EXPECT_FALSE(store.erase("ann", "resp_1"));
  EXPECT_EQ(store.find("ann", "resp_1"), nullptr);
  EXPECT_EQ(store.responses(), 0u);
  EXPECT_EQ(store.bytes(), 0u);
}

TEST(ResponseStore, DropsWhatWasUsedLongestAgo) {
  ResponseStore store({.max_responses = 2});
  store.put("ann", made("resp_1"));
  store.put("ann", made("resp_2"));
  EXPECT_NE(store.find("ann", "resp_1"), nullptr);
  store.put("ann", made("resp_3"));
  EXPECT_EQ(store.find("ann", "resp_2"), nullptr);
  EXPECT_NE(store.find("ann", "resp_1"), nullptr);
  EXPECT_NE(store.find("ann", "resp_3"), nullptr);
}

TEST(ResponseStore, WhoHoldsMostMakesRoom) {
  ResponseStore store({.max_responses = 100, .max_bytes = 20'000});
  store.put("bob", made("resp_bob", 1000));
  for (int i = 0; i < 50; ++i) store.put("ann", made("resp_" + std::to_string(i), 1000));
  EXPECT_NE(store.find("bob", "resp_bob"), nullptr);
  EXPECT_NE(store.find("ann", "resp_49"), nullptr);
  EXPECT_EQ(store.find("ann", "resp_0"), nullptr);
  EXPECT_LE(store.bytes(), 20'000u);
}

TEST(ResponseStore, WhatALongConversationHoldsCounts) {
  ResponseStore store({.max_responses = 4, .max_bytes = 40'000});
  store.put("bob", made("resp_bob", 4000));
  ResponseStore::Kept last;
  for (int i = 0; i < 50; ++i) {  // on ann's shelf lie fewer bytes than on bob's, behind it more
    const std::string id = "resp_" + std::to_string(i);
    store.put("ann", made(id, 1000, last));
    last = store.find("ann", id);
  }
  EXPECT_NE(store.find("bob", "resp_bob"), nullptr);
}

TEST(ResponseStore, AConversationOutlivesItsOlderResponses) {
  ResponseStore store({.max_responses = 1});
  store.put("ann", made("resp_1"));
  store.put("ann", made("resp_2", 100, store.find("ann", "resp_1")));
  EXPECT_EQ(store.find("ann", "resp_1"), nullptr);
  const auto second = store.find("ann", "resp_2");
  ASSERT_NE(second, nullptr);
  ASSERT_NE(second->before, nullptr);
  EXPECT_EQ(second->before->id, "resp_1");
  EXPECT_EQ(store.bytes(), second->bytes() + second->before->bytes());
}

TEST(ResponseStore, WhatIsTooLargeIsNotKept) {
  ResponseStore store({.max_bytes = 1000});
  store.put("ann", made("resp_1", 5000));
  EXPECT_EQ(store.find("ann", "resp_1"), nullptr);
  EXPECT_EQ(store.bytes(), 0u);
}

TEST(ResponseStore, TakesALongConversationApart) {
  auto last = made("resp_0", 1);
  for (int i = 1; i < 300'000; ++i) last = made("resp", 1, std::move(last));
  last.reset();  // would overflow the stack, one frame a response
}

TEST(ResponseStore, SurvivesACrowd) {
  ResponseStore store({.max_responses = 8, .max_bytes = 10'000});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&store, t] {
      const std::string owner = "owner" + std::to_string(t % 2);
      for (int i = 0; i < 500; ++i) {
        const std::string id = "resp_" + std::to_string(i % 5);
        store.put(owner, made(id, 200, store.find(owner, "resp_" + std::to_string((i + 1) % 5))));
        if (i % 3 == 0) store.erase(owner, id);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(store.responses(), 8u);
  EXPECT_LE(store.bytes(), 10'000u);
}

}  // namespace
}  // namespace baltoro::server
