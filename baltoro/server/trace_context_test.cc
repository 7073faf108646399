// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/trace_context.h"

#include <gtest/gtest.h>

#include <set>

namespace baltoro::server {
namespace {

const std::string kGood = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

TEST(TraceContext, TakesTheCallers) {
  const auto trace = parse_traceparent(kGood);
  ASSERT_TRUE(trace);
  EXPECT_EQ(trace->trace_id, "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(trace->parent_id, "b7ad6b7169203331");
  EXPECT_EQ(trace->flags, "01");
  const TraceContext made = make_trace(&kGood, 5, 6);
  EXPECT_EQ(made.trace_id, trace->trace_id);
  EXPECT_EQ(traceresponse(made), "00-0af7651916cd43dd8448eb211c80319c-" + made.span_id + "-01");
  EXPECT_TRUE(parse_traceparent("01" + kGood.substr(2) + "-more"));
  EXPECT_EQ(parse_traceparent("cc" + kGood.substr(2, 51) + "ff")->flags, "01");  // the one flag that is known
}

TEST(TraceContext, MalformedIsAsGoodAsNone) {
  for (const std::string& bad :
       {std::string(), std::string("00"), kGood + "-x", kGood + "0", "ff" + kGood.substr(2), "0G" + kGood.substr(2),
        "00_" + kGood.substr(3), std::string("00-00000000000000000000000000000000-b7ad6b7169203331-01"),
        std::string("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"),
        std::string("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"), "01" + kGood.substr(2) + "more",
        "01" + kGood.substr(2) + "-" + std::string(1000, 'a')}) {
    EXPECT_FALSE(parse_traceparent(bad)) << bad;
    EXPECT_EQ(make_trace(&bad, 5, 6).trace_id, make_trace(nullptr, 5, 6).trace_id);
  }
}

TEST(TraceContext, NewOnesDiffer) {
  std::set<std::string> ids;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const TraceContext trace = make_trace(nullptr, 77, i);
    EXPECT_EQ(trace.trace_id.size(), 32u);
    EXPECT_EQ(trace.span_id.size(), 16u);
    EXPECT_TRUE(parse_traceparent(traceresponse(trace)));
    ids.insert(trace.trace_id);
    ids.insert(trace.span_id);
  }
  EXPECT_EQ(ids.size(), 2000u);
  EXPECT_EQ(traceresponse({}), "");
}

}  // namespace
}  // namespace baltoro::server
