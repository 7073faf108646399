// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/volatile_headers.h"

#include <gtest/gtest.h>

namespace baltoro::llm {
namespace {

constexpr std::string_view kHeader =
    "x-anthropic-billing-header: cc_version=2.1.100.7b4; cc_entrypoint=cli; cch=eb6c6;";

TEST(VolatileHeaders, OnlyThoseAtTheStartGo) {
  const std::string header(kHeader);
  EXPECT_EQ(without_volatile_headers(header + "\nYou are"), "You are");
  EXPECT_EQ(without_volatile_headers(header + "\r\nYou are"), "You are");
  EXPECT_EQ(without_volatile_headers(header + "\n" + header + "\n\n a\n"), "\n a\n");
  EXPECT_EQ(without_volatile_headers(header), "");
  EXPECT_EQ(without_volatile_headers(header + "You are; a=b\nrest"), "You are; a=b\nrest");  // joined without a line
  EXPECT_EQ(without_volatile_headers("x-anthropic-billing-header: cc_version=2\nYou are"), "You are");
  EXPECT_EQ(without_volatile_headers("x-anthropic-billing-header: v=2 (cli); cch=1; \n\nYou"), "\nYou");
  EXPECT_EQ(without_volatile_headers("x-anthropic-billing-header:"), "");
  EXPECT_EQ(without_volatile_headers("x-anthropic-billing-header: a"), "a");
  EXPECT_EQ(without_volatile_headers("x-anthropic-billing-header: a="), "");
  for (const std::string& kept :
       {std::string(), "You are\n" + header, " " + header, "X" + header,
        std::string("x-anthropic-billing-header without a colon"), std::string("x-anthropic")})
    EXPECT_EQ(without_volatile_headers(kept), kept);
}

TEST(VolatileHeaders, SystemMessagesAloneAreTouchedAndEmptyOnesGo) {
  const std::string header(kHeader);
  text::Conversation conversation;
  conversation.messages = {{.role = text::Role::kSystem, .content = header},
                           {.role = text::Role::kSystem, .content = header + "\nYou are"},
                           {.role = text::Role::kSystem, .content = ""},
                           {.role = text::Role::kUser, .content = header + "\nwhat is that?"}};
  EXPECT_TRUE(strip_volatile_headers(conversation));
  ASSERT_EQ(conversation.messages.size(), 3u);
  EXPECT_EQ(conversation.messages[0].content, "You are");
  EXPECT_EQ(conversation.messages[1].content, "");  // it came empty
  EXPECT_EQ(conversation.messages[2].content, header + "\nwhat is that?");
  EXPECT_FALSE(strip_volatile_headers(conversation));
}

}  // namespace
}  // namespace baltoro::llm
