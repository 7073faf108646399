// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "baltoro/base/histogram.h"
#include "baltoro/llm/llm.h"
#include "baltoro/server/http.h"

namespace baltoro::server {

// What the server measures of itself. Thread-safe. The number of series is bounded: every label's value comes from a
// table of ours, never from a client.
class Metrics {
 public:
  void request_ended(std::string_view endpoint, int status, double seconds);
  void failed(Errc code);  // a request, before or within its answer
  void first_token(double seconds);
  void inter_token(double seconds, std::int64_t times);
  void answer_ended(const llm::Finished& end);  // one choice
  void tokens(const llm::Usage& usage);
  void generations(std::int64_t change);  // requests being answered by the backend

  // The Prometheus text format 0.0.4: these, the HTTP server's figures, the process's, and the backend's under
  // "baltoro_".
  std::string text(const HttpCounters& http, const llm::Backend& backend) const;

 private:
  void write_requests(std::string& out) const;
  void write_answers(std::string& out) const;

  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::int64_t, std::less<>> requests_;
  std::map<std::string, Histogram, std::less<>> request_seconds_;  // by endpoint
  std::array<std::int64_t, static_cast<std::size_t>(Errc::kInternal) + 1> errors_{};
  std::array<std::int64_t, static_cast<std::size_t>(llm::Finish::kRepetition) + 1> finishes_{};
  Histogram first_token_seconds_{kWaitSeconds}, inter_token_seconds_{kStepSeconds};
  llm::Usage usage_;
  std::int64_t generations_ = 0, repeated_calls_ = 0;
};

}  // namespace baltoro::server
