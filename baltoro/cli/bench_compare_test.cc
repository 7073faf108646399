// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/bench_compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "baltoro/base/json.h"

namespace baltoro::cli {
namespace {

using testing::HasSubstr;

// A report with one decode row of these seconds.
std::string report(const std::string& seconds, const std::string& kind = "decode") {
  return R"({"format":"baltoro-bench-2","rows":[{"kind":")" + kind +
         R"(","batch":4,"context":1024,"tokens":60,"seconds":)" + seconds +
         R"(,"limit_percent":50.0}],"starts":[{"cache":"warm","prompt_tokens":32,"ready_seconds":[1.0],)"
         R"("first_token_seconds":[2.0,3.0,4.0]}]})";
}

std::vector<FiguresOfCase> read(const std::string& text) {
  const auto figures = read_bench_json(text, "r.json");
  EXPECT_TRUE(figures.ok()) << figures.error().message;
  return figures.ok() ? *figures : std::vector<FiguresOfCase>();
}

TEST(BenchCompare, RatiosAndTheirRange) {
  const Comparison comparison = compare(read(report("[2.0,3.0,4.0]")), read(report("[1.0,1.5,1.2]")));
  ASSERT_EQ(comparison.cases.size(), 3U);
  const ComparedCase& decode = comparison.cases[0];
  EXPECT_EQ(decode.a.name, "decode batch 4 context 1024");
  EXPECT_DOUBLE_EQ(decode.ratio, 2.5);      // 3 s against 1.2 s
  EXPECT_DOUBLE_EQ(decode.low, 2.0 / 1.5);  // A's best against B's worst
  EXPECT_DOUBLE_EQ(decode.high, 4.0);
  EXPECT_FALSE(decode.overlap());
  EXPECT_DOUBLE_EQ(comparison.cases[2].ratio, 1);  // starts: the same seconds
  EXPECT_TRUE(comparison.cases[2].overlap());
  EXPECT_THAT(comparison_table(comparison), HasSubstr("overlap: no difference shown"));
  const auto document = json::parse(comparison_json(comparison));
  ASSERT_TRUE(document.ok());
  EXPECT_EQ(document->find("cases")->as_array()[0].find("ratio")->as_double(), 2.5);
  EXPECT_FALSE(document->find("cases")->as_array()[0].find("overlap")->as_bool());
}

TEST(BenchCompare, ASlowerSecondIsUnderOne) {
  const Comparison comparison = compare(read(report("[1.0]")), read(report("[2.0]")));
  EXPECT_DOUBLE_EQ(comparison.cases[0].ratio, 0.5);
  EXPECT_FALSE(comparison.cases[0].overlap());
}

TEST(BenchCompare, CasesThatOneReportLacksAreNamed) {
  const Comparison comparison = compare(read(report("[1.0]")), read(report("[1.0]", "prefill")));
  EXPECT_EQ(comparison.cases.size(), 2U);  // the starts
  EXPECT_THAT(comparison.only_a, testing::ElementsAre("decode batch 4 context 1024"));
  EXPECT_THAT(comparison.only_b, testing::ElementsAre("prefill 1024"));
  EXPECT_THAT(comparison_table(comparison), HasSubstr("only in B"));
}

TEST(BenchCompare, WhatIsNoReportIsRefusedWithItsPlace) {
  const auto message = [](const std::string& text) {
    const auto figures = read_bench_json(text, "r.json");
    if (!figures.ok()) {
      EXPECT_EQ(figures.error().code, Errc::kInvalidArgument);
    }
    return figures.ok() ? std::string("ok") : figures.error().message;
  };
  EXPECT_THAT(message(""), HasSubstr("r.json: a report of `bench --format json` expected"));
  EXPECT_THAT(message("{"), HasSubstr("expected"));
  EXPECT_THAT(message("[]"), HasSubstr("a string expected for \"format\", found none"));
  EXPECT_THAT(message(R"({"format":"baltoro-bench-1"})"), HasSubstr("found \"baltoro-bench-1\""));
  EXPECT_THAT(message(R"({"format":"baltoro-bench-2"})"), HasSubstr("an array expected for \"rows\""));
  EXPECT_THAT(message(R"({"format":"baltoro-bench-2","rows":[7]})"),
              HasSubstr("rows[0]: a string expected for \"kind\""));
  EXPECT_THAT(message(R"({"format":"baltoro-bench-2","rows":[]})"), HasSubstr("\"starts\""));
  EXPECT_THAT(message(report("[]")), HasSubstr("rows[0]: \"seconds\" is empty"));
  for (const char* seconds : {"[0]", "[-1.0]", "[\"1\"]", "[null]", "[[1]]", "[1.0,0.0]"}) {
    EXPECT_THAT(message(report(seconds)), HasSubstr("numbers over 0 expected for \"seconds\"")) << seconds;
  }
  EXPECT_THAT(message(report("1.0")), HasSubstr("an array expected for \"seconds\", found"));
  EXPECT_THAT(message(report("[1e999]")), HasSubstr("expected"));
  std::string text = report("[1.0]");
  for (std::size_t cut = 0; cut < text.size(); ++cut) EXPECT_NE(message(text.substr(0, cut)), "ok");
}

}  // namespace
}  // namespace baltoro::cli
