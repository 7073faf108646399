// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/metrics.h"

#include <gtest/gtest.h>

#include "baltoro/base/json.h"
#include "baltoro/llm/scripted.h"
#include "baltoro/server/access_log.h"
#include "baltoro/server/metrics_text.h"
#include "baltoro/server/prometheus_check.h"

namespace baltoro::server {
namespace {

// A backend with figures of its own and an odd name.
class Figures final : public llm::Backend {
 public:
  Result<std::unique_ptr<llm::Ticket>> chat(llm::ChatRequest, llm::EventSink) override { return Error{}; }
  Result<std::unique_ptr<llm::Ticket>> complete(llm::CompletionRequest, llm::EventSink) override { return Error{}; }
  Result<std::vector<std::int32_t>> tokenize(const std::string&, bool) override { return Error{}; }
  Result<std::int64_t> count_tokens(const llm::ChatRequest&) override { return Error{}; }
  llm::ModelInfo model() const override { return {.id = "a \"b\"\\c\nd", .family = "k2"}; }
  llm::BackendMetrics metrics() const override { return {{"odd name!_total", 3}, {"level", -1.5}}; }
  std::vector<llm::BackendHistogram> histograms() const override {
    Histogram values(kTokenCounts);
    values.observe(5);
    values.observe(1e9);
    return {{"prompt_tokens", "Prompts", values}};
  }
  void drain(double) override {}
};

TEST(Metrics, TheTextIsWhatPrometheusReads) {
  Metrics metrics;
  HttpCounters http;
  http.connections = 3;
  metrics.request_ended("chat_completions", 200, 0.3);
  metrics.request_ended("chat_completions", 499, 20);
  metrics.request_ended("other", 404, 0.0001);
  metrics.first_token(0.2);
  metrics.inter_token(0.03, 7);
  metrics.failed(Errc::kRateLimited);
  llm::Finished end;
  end.reason = llm::Finish::kRepetition;
  end.usage.identical_calls = 4;
  metrics.answer_ended(end);
  metrics.tokens({.tokens_prompt = 10, .tokens_cached = 4, .tokens_output = 5, .tokens_reasoning = 1});
  const std::string text = metrics.text(http, Figures());
  const MetricsText read = PrometheusCheck::check(text);
  ASSERT_EQ(read.error, "") << text;
  const auto value = [&](const std::string& series) {
    const auto found = read.samples.find(series);
    return found == read.samples.end() ? -999 : found->second;
  };
  EXPECT_EQ(value("baltoro_http_requests_total{endpoint=\"chat_completions\",status=\"499\"}"), 1);
  EXPECT_EQ(value("baltoro_http_request_seconds_count{endpoint=\"chat_completions\"}"), 2);
  EXPECT_EQ(value("baltoro_http_request_seconds_bucket{endpoint=\"chat_completions\",le=\"0.5\"}"), 1);
  EXPECT_EQ(value("baltoro_http_connections"), 3);
  EXPECT_EQ(value("baltoro_api_errors_total{type=\"rate_limited\"}"), 1);
  EXPECT_EQ(value("baltoro_api_errors_total{type=\"internal\"}"), 0);
  EXPECT_EQ(value("baltoro_api_answers_total{finish=\"repetition\"}"), 1);
  EXPECT_EQ(value("baltoro_api_repeated_calls_total"), 1);
  EXPECT_EQ(value("baltoro_api_inter_token_seconds_count"), 7);
  EXPECT_EQ(value("baltoro_api_tokens_total{kind=\"cached\"}"), 4);
  EXPECT_EQ(value("baltoro_odd_name__total"), 3);
  EXPECT_EQ(value("baltoro_level"), -1.5);
  EXPECT_EQ(value("baltoro_prompt_tokens_bucket{le=\"16\"}"), 1);
  EXPECT_EQ(value("baltoro_prompt_tokens_bucket{le=\"+Inf\"}"), 2);
  EXPECT_EQ(value("baltoro_model_info{model=\"a \\\"b\\\"\\\\c\\nd\",family=\"k2\",arithmetic=\"\"}"), 1);
  EXPECT_GT(value("process_open_fds"), 2);
  EXPECT_GT(value("process_resident_memory_bytes"), 1e6);
}

TEST(PrometheusCheck, FindsFaults) {
  const std::string head = "# HELP a b\n# TYPE a gauge\n";
  EXPECT_EQ(PrometheusCheck::check(head + "a 1\n").error, "");
  EXPECT_EQ(PrometheusCheck::check(head + "a{x=\"1\",y=\"\\n\"} 1e-5\n").error, "");
  for (const std::string& bad :
       {head + "a 1", head + "a x\n", head + "b 1\n", head + "a 1\na 1\n", head + "a{} 1\n", head + "a{x=1} 1\n",
        head + "a{x=\"1\",x=\"2\"} 1\n", head + "a{x=\"\\t\"} 1\n", head + "a 1\n" + head + "a{x=\"1\"} 1\n",
        std::string("a 1\n"), std::string("# TYPE a gauge\na 1\n"), std::string("# HELP a b\na 1\n"),
        std::string("# HELP a b\n# TYPE a counter\na 1\n"),
        std::string("# HELP a_total b\n# TYPE a_total gauge\na_total 1\n"),
        std::string("# HELP a b\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n"),
        std::string(
            "# HELP a b\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n"),
        std::string("# HELP a b\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n")}) {
    EXPECT_NE(PrometheusCheck::check(bad).error, "") << bad;
  }
}

TEST(AccessLog, OneLineWhateverCame) {
  Request request;
  request.method = "POST";
  request.path = "/v1/x\n\"\\\x1b[2J\xff" + std::string(500, 'y');
  request.peer = "127.0.0.1:5";
  request.id = "req-1";
  const std::string parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  request.trace = make_trace(&parent, 1, 2);
  const Handler::Ended how{
      .status = 200,
      .bytes_sent = 12,
      .seconds = 0.25,
      .fields = {{"key", std::string("ci")}, {"output_tokens", std::int64_t{7}}, {"first_ms", 1.5}}};
  const std::string text = access_line(LogFormat::kText, "T", "other", request, how);
  const std::string line = access_line(LogFormat::kJson, "T", "other", request, how);
  for (const std::string& one : {text, line}) {
    for (char c : one) EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
    EXPECT_LT(one.size(), 1000u);
  }
  EXPECT_TRUE(text.ends_with(" 200 12B 250.0ms req-1 key=ci output_tokens=7 first_ms=1.5")) << text;
  const auto read = json::parse(line);
  ASSERT_TRUE(read.ok()) << line;
  EXPECT_EQ(read->find("trace_id")->as_string(), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(read->find("parent_id")->as_string(), "b7ad6b7169203331");
  EXPECT_EQ(read->find("status")->as_int(), 200);
  EXPECT_EQ(read->find("output_tokens")->as_int(), 7);
  EXPECT_EQ(read->find("key")->as_string(), "ci");
  EXPECT_TRUE(read->find("path")->as_string().starts_with("/v1/x\n\""));
}

}  // namespace
}  // namespace baltoro::server
