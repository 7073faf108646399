// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "baltoro/llm/llm.h"
#include "baltoro/server/answer_writer.h"
#include "baltoro/server/event_queue.h"
#include "baltoro/server/http.h"
#include "baltoro/server/key_account.h"
#include "baltoro/server/metrics.h"

namespace baltoro::server {

// A model's answer on its way: events in, one dialect's bytes out. Destroying it cancels the work.
// A failure before the first byte becomes an HTTP error, a later one an error event at the end of the stream.
class GenerationReply final : public Reply {
 public:
  struct Parts {
    std::shared_ptr<EventQueue> events;
    std::vector<std::unique_ptr<llm::Ticket>> tickets;  // one per prompt
    std::unique_ptr<AnswerWriter> writer;
    bool stream = false;
    std::int32_t choices = 1;  // in all
    std::int32_t n = 1;        // per prompt
    EventQueue::Clock::time_point started;
    double max_seconds = 0;          // for the whole answer; 0: no limit
    Booking booking = {};            // of the key's limits
    std::int64_t tokens_prompt = 0;  // all prompts', where the booking counts tokens
    Headers headers = {};            // for the answer's head
    bool progress = false;           // a stream says how far its prompts are
  };
  // `metrics` must outlive this.
  GenerationReply(Parts parts, Metrics& metrics);
  ~GenerationReply() override;

  std::optional<Response> head() override;
  bool pull(std::string& out) override;
  void idle() override;
  void woken() override;
  void stop() override;
  LogFields log_fields() const override;
  bool whole() const override { return !failure_ && finished_ == parts_.choices; }

 private:
  void check_bounds();
  void take_events();
  void measure(const EventQueue::Item& item);
  void report_progress(const llm::PrefillProgress& progress, EventQueue::Clock::time_point when);
  void finished(std::int32_t choice, const llm::Finished& end);
  void fail(Error error);

  Parts parts_;
  Metrics& metrics_;
  std::string pending_;  // written, not yet pulled
  std::optional<Error> failure_;
  std::vector<std::optional<EventQueue::Clock::time_point>> last_piece_;  // per choice
  llm::Usage usage_;
  std::int64_t pieces_ = 0;  // so far, about a token each
  std::string finish_names_;
  double first_piece_seconds_ = -1, queue_seconds_ = 0;
  std::optional<std::pair<std::int64_t, EventQueue::Clock::time_point>> first_progress_;  // tokens done, when
  std::int32_t finished_ = 0;
  bool begun_ = false;  // something is there to send
};

}  // namespace baltoro::server
