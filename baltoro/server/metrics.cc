// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/metrics.h"

#include <algorithm>

#include "baltoro/base/process_memory.h"
#include "baltoro/server/metrics_text.h"
#include "baltoro/server/process_figures.h"

namespace baltoro::server {
namespace {

double number(std::int64_t count) { return static_cast<double>(count); }

void write_http(std::string& out, const HttpCounters& http) {
  metric_single(out, "baltoro_http_connections", "gauge", "Open connections", number(http.connections));
  metric_single(out, "baltoro_http_connections_total", "counter", "Connections accepted",
                number(http.connections_total));
  metric_single(out, "baltoro_http_connections_refused_total", "counter", "Connections over the limit",
                number(http.connections_refused));
  metric_single(out, "baltoro_http_slow_readers_total", "counter", "Connections cut because an answer was left unread",
                number(http.slow_readers));
  metric_single(out, "baltoro_http_requests_in_flight", "gauge", "Requests being answered",
                number(http.requests_in_flight));
}

void write_process(std::string& out) {
  const ProcessFigures process = process_figures();
  metric_single(out, "process_cpu_seconds_total", "counter", "Time on the CPU", process.cpu_seconds);
  metric_single(out, "process_start_time_seconds", "gauge", "When the server started, in Unix time",
                process.start_unix_seconds);
  metric_single(out, "process_resident_memory_bytes", "gauge", "Memory present, mapped weights included",
                number(process_memory().resident_bytes));
  metric_single(out, "process_anonymous_memory_bytes", "gauge", "Memory present that no file backs",
                number(process_memory().anonymous_resident_bytes));
  metric_single(out, "process_open_fds", "gauge", "Open files and sockets", number(process.open_files));
  metric_single(out, "process_max_fds", "gauge", "The limit of those", number(process.max_files));
}

void write_backend(std::string& out, const llm::Backend& backend) {
  const llm::ModelInfo model = backend.model();
  metric_head(out, "baltoro_model_info", "gauge", "What is served");
  metric_sample(out, "baltoro_model_info",
                metric_label("model", model.id) + "," + metric_label("family", model.family) + "," +
                    metric_label("arithmetic", model.arithmetic),
                1);
  for (const auto& [name, value] : backend.metrics())
    metric_single(out, metric_name(name), name.ends_with("_total") ? "counter" : "gauge", "Backend figure", value);
  for (const llm::BackendHistogram& one : backend.histograms()) {
    metric_head(out, metric_name(one.name), "histogram", one.help);
    metric_histogram(out, metric_name(one.name), {}, one.values);
  }
}

}  // namespace

void Metrics::request_ended(std::string_view endpoint, int status, double seconds) {
  const std::lock_guard lock(mutex_);
  ++requests_[{std::string(endpoint), status}];
  request_seconds_.try_emplace(std::string(endpoint), kWaitSeconds).first->second.observe(seconds);
}

void Metrics::failed(Errc code) {
  const std::lock_guard lock(mutex_);
  ++errors_.at(static_cast<std::size_t>(code));
}

void Metrics::first_token(double seconds) {
  const std::lock_guard lock(mutex_);
  first_token_seconds_.observe(seconds);
}

void Metrics::inter_token(double seconds, std::int64_t times) {
  const std::lock_guard lock(mutex_);
  inter_token_seconds_.observe(seconds, times);
}

void Metrics::answer_ended(const llm::Finished& end) {
  const std::lock_guard lock(mutex_);
  ++finishes_.at(static_cast<std::size_t>(end.reason));
  if (end.usage.identical_calls > 1) ++repeated_calls_;
}

void Metrics::tokens(const llm::Usage& usage) {
  const std::lock_guard lock(mutex_);
  usage_.tokens_prompt += usage.tokens_prompt;
  usage_.tokens_cached += usage.tokens_cached;
  usage_.tokens_output += usage.tokens_output;
  usage_.tokens_reasoning += usage.tokens_reasoning;
}

void Metrics::generations(std::int64_t change) {
  const std::lock_guard lock(mutex_);
  generations_ += change;
}

void Metrics::write_requests(std::string& out) const {
  metric_head(out, "baltoro_http_requests_total", "counter",
              "Requests answered, by endpoint and status (499: client left)");
  for (const auto& [key, count] : requests_)
    metric_sample(out, "baltoro_http_requests_total",
                  metric_label("endpoint", key.first) + "," + metric_label("status", std::to_string(key.second)),
                  number(count));
  metric_head(out, "baltoro_http_request_seconds", "histogram", "From a request's head to the end of its answer");
  for (const auto& [endpoint, values] : request_seconds_)
    metric_histogram(out, "baltoro_http_request_seconds", metric_label("endpoint", endpoint), values);
  metric_head(out, "baltoro_api_errors_total", "counter", "Requests that failed, by kind");
  for (std::size_t i = 0; i < errors_.size(); ++i)
    metric_sample(out, "baltoro_api_errors_total", metric_label("type", errc_name(static_cast<Errc>(i))),
                  number(errors_[i]));
}

void Metrics::write_answers(std::string& out) const {
  metric_single(out, "baltoro_api_generations", "gauge", "Requests being answered by the model", number(generations_));
  metric_head(out, "baltoro_api_first_token_seconds", "histogram", "From a request's body to its first text");
  metric_histogram(out, "baltoro_api_first_token_seconds", {}, first_token_seconds_);
  metric_head(out, "baltoro_api_inter_token_seconds", "histogram", "Between the pieces of a choice's answer");
  metric_histogram(out, "baltoro_api_inter_token_seconds", {}, inter_token_seconds_);
  metric_head(out, "baltoro_api_answers_total", "counter", "Choices that ended, by the reason");
  for (std::size_t i = 0; i < finishes_.size(); ++i)
    metric_sample(out, "baltoro_api_answers_total",
                  metric_label("finish", llm::finish_name(static_cast<llm::Finish>(i))), number(finishes_[i]));
  metric_single(out, "baltoro_api_repeated_calls_total", "counter",
                "Answers with a tool call that had come before, byte for byte", number(repeated_calls_));
  metric_head(out, "baltoro_api_tokens_total", "counter", "Tokens of finished requests, by kind");
  const std::pair<const char*, std::int64_t> kinds[] = {{"prompt", usage_.tokens_prompt},
                                                        {"cached", usage_.tokens_cached},
                                                        {"output", usage_.tokens_output},
                                                        {"reasoning", usage_.tokens_reasoning}};
  for (const auto& [kind, count] : kinds)
    metric_sample(out, "baltoro_api_tokens_total", metric_label("kind", kind), number(count));
}

std::string Metrics::text(const HttpCounters& http, const llm::Backend& backend) const {
  std::string out;
  {
    const std::lock_guard lock(mutex_);
    write_requests(out);
    write_answers(out);
  }
  write_http(out, http);
  write_process(out);
  write_backend(out, backend);
  return out;
}

}  // namespace baltoro::server
