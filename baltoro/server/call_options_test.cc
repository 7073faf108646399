// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/call_options.h"

#include <gtest/gtest.h>

namespace baltoro::server {
namespace {

Result<CallOptions> read(std::string_view body, Headers headers = {}, const CallOptions& defaults = {}) {
  Request head;
  head.headers = std::move(headers);
  return read_call_options(head, *json::parse(body), defaults);
}

TEST(CallOptions, DefaultsThenHeadersThenMembers) {
  CallOptions defaults;
  defaults.handling.priority = 7;
  defaults.handling.timeout_seconds = 60;
  EXPECT_EQ(read("{}", {}, defaults)->handling.priority, 7);
  EXPECT_EQ(read("{}", {}, defaults)->handling.timeout_seconds, 60);
  const Headers headers{{"x-priority", "-3"}, {"x-request-timeout", "2.5"}, {"x-prefill-progress", "1"}};
  const CallOptions from_headers = *read("{}", headers, defaults);
  EXPECT_EQ(from_headers.handling.priority, -3);
  EXPECT_EQ(from_headers.handling.timeout_seconds, 2.5);
  EXPECT_TRUE(from_headers.progress);
  const CallOptions from_body =
      *read(R"({"priority":4,"timeout":9,"prefill_progress":false,"max_identical_calls":3,"stop_repetition":true,)"
            R"("cache_salt":"mine"})",
            headers);
  EXPECT_EQ(from_headers.cache_salt, "");
  EXPECT_EQ(from_body.cache_salt, "mine");
  EXPECT_EQ(from_body.handling.priority, 4);
  EXPECT_EQ(from_body.handling.timeout_seconds, 9);
  EXPECT_FALSE(from_body.progress);
  EXPECT_EQ(from_body.handling.max_identical_calls, 3);
  EXPECT_TRUE(from_body.handling.stop_repetition);
}

TEST(CallOptions, RefusesWhatIsOutOfRangeByName) {
  for (const char* body :
       {R"({"priority":1001})", R"({"priority":1.5})", R"({"priority":"1"})", R"({"timeout":0})", R"({"timeout":-1})",
        R"({"timeout":1e9})", R"({"prefill_progress":1})", R"({"max_identical_calls":-1})",
        R"({"stop_repetition":"yes"})", R"({"cache_salt":""})", R"({"cache_salt":5})"}) {
    const auto result = read(body);
    ASSERT_FALSE(result.ok()) << body;
    EXPECT_EQ(result.error().code, Errc::kInvalidArgument);
    EXPECT_NE(std::string_view(body).find(result.error().field), std::string_view::npos) << body;
  }
  for (const auto& [name, value] : Headers{{"x-priority", "1001"},
                                           {"x-priority", ""},
                                           {"x-priority", "1 "},
                                           {"x-request-timeout", "nan"},
                                           {"x-request-timeout", "inf"},
                                           {"x-request-timeout", "0"},
                                           {"x-request-timeout", "-5"},
                                           {"x-prefill-progress", "maybe"}}) {
    EXPECT_FALSE(read("{}", {{name, value}}).ok()) << name << " " << value;
  }
}

}  // namespace
}  // namespace baltoro::server
