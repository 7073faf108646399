// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/generation_reply.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "baltoro/server/openai_sampling.h"

namespace baltoro::server {
namespace {

double seconds_between(EventQueue::Clock::time_point from, EventQueue::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

bool is_piece(const llm::Event& event) {
  return std::holds_alternative<llm::ContentDelta>(event.body) ||
         std::holds_alternative<llm::ReasoningDelta>(event.body) ||
         std::holds_alternative<llm::ToolCallBegin>(event.body) ||
         std::holds_alternative<llm::ToolCallArguments>(event.body);
}

}  // namespace

GenerationReply::GenerationReply(Parts parts, Metrics& metrics)
    : parts_(std::move(parts)), metrics_(metrics), last_piece_(static_cast<std::size_t>(parts_.choices)) {
  metrics_.generations(1);
}

GenerationReply::~GenerationReply() {
  parts_.events->detach();
  parts_.tickets.clear();
  metrics_.tokens(usage_);
  metrics_.generations(-1);
  parts_.booking.use(finished_ == parts_.choices ? usage_.tokens_prompt + usage_.tokens_output
                                                 : parts_.tokens_prompt + pieces_);
}

std::optional<Response> GenerationReply::head() {
  take_events();
  if (failure_ && !(parts_.stream && begun_)) {
    Response response = parts_.writer->error_response(*failure_);
    std::ranges::copy(parts_.headers, std::back_inserter(response.headers));
    return response;
  }
  if (parts_.stream) {
    if (!begun_) return {};
    return Response{.content_type = "text/event-stream; charset=utf-8", .headers = parts_.headers, .stream = true};
  }
  if (finished_ < parts_.choices) return {};
  Response response{.headers = parts_.headers};
  parts_.writer->end(response.body);
  return response;
}

bool GenerationReply::pull(std::string& out) {
  take_events();
  out += pending_;
  pending_.clear();
  if (failure_) {
    parts_.writer->failed(*failure_, out);
    return true;
  }
  if (finished_ < parts_.choices) return false;
  parts_.writer->end(out);
  return true;
}

void GenerationReply::idle() {
  check_bounds();
  if (!parts_.stream || failure_) return;
  begun_ = true;
  parts_.writer->keep_alive(pending_);
}

void GenerationReply::woken() { check_bounds(); }

void GenerationReply::check_bounds() {
  if (parts_.max_seconds > 0 && seconds_between(parts_.started, EventQueue::Clock::now()) > parts_.max_seconds) {
    fail({Errc::kTimeout, fmt::format("the answer took longer than {:g} seconds", parts_.max_seconds)});
  }
  if (parts_.events->overflowed()) {
    fail({Errc::kTimeout, "the client reads more slowly than the model writes; too much was waiting"});
  }
}

void GenerationReply::stop() {
  for (const auto& ticket : parts_.tickets) ticket->cancel();
}

LogFields GenerationReply::log_fields() const {
  LogFields out;
  if (parts_.booking.account() != nullptr) out.emplace_back("key", parts_.booking.account()->name());
  out.emplace_back("prompt_tokens", usage_.tokens_prompt);
  out.emplace_back("cached_tokens", usage_.tokens_cached);
  out.emplace_back("output_tokens", usage_.tokens_output);
  if (usage_.identical_calls > 1) out.emplace_back("identical_calls", usage_.identical_calls);
  out.emplace_back("queue_ms", std::round(queue_seconds_ * 1e4) / 10);
  if (first_piece_seconds_ >= 0) out.emplace_back("first_ms", std::round(first_piece_seconds_ * 1e4) / 10);
  out.emplace_back("finish", finish_names_.empty() ? std::string("none") : finish_names_);
  if (failure_) out.emplace_back("error", std::string(errc_name(failure_->code)));
  return out;
}

void GenerationReply::take_events() {
  check_bounds();
  for (const EventQueue::Item& item : parts_.events->take()) {
    measure(item);
    const auto* end = std::get_if<llm::Finished>(&item.event.body);
    if (end != nullptr) finished(item.event.choice, *end);
    if (failure_) continue;
    if (const auto* progress = std::get_if<llm::PrefillProgress>(&item.event.body)) {
      report_progress(*progress, item.last);
      parts_.writer->event(item.event, pending_);
      continue;
    }
    parts_.writer->event(item.event, pending_);
    begun_ = true;
  }
}

// An SSE comment: every client's parser passes over it.
void GenerationReply::report_progress(const llm::PrefillProgress& progress, EventQueue::Clock::time_point when) {
  if (!parts_.progress || !parts_.stream) return;
  begun_ = true;
  if (!first_progress_) first_progress_ = {progress.tokens_done, when};
  const std::int64_t done = progress.tokens_done - first_progress_->first;
  const double took = seconds_between(first_progress_->second, when);
  pending_ += fmt::format(": prefill {}/{}", progress.tokens_done, progress.tokens_total);
  if (done > 0) {
    const std::int64_t left = progress.tokens_total - progress.tokens_done;
    pending_ += fmt::format(" left_s={:.1f}", took * static_cast<double>(left) / static_cast<double>(done));
  }
  pending_ += "\n\n";
}

void GenerationReply::measure(const EventQueue::Item& item) {
  if (!is_piece(item.event)) return;
  pieces_ += item.merged;
  if (first_piece_seconds_ < 0) {
    first_piece_seconds_ = seconds_between(parts_.started, item.first);
    metrics_.first_token(first_piece_seconds_);
  }
  auto& last = last_piece_.at(static_cast<std::size_t>(item.event.choice));
  if (last) metrics_.inter_token(seconds_between(*last, item.first), 1);
  if (const std::int64_t more = item.merged - 1; more > 0) {
    metrics_.inter_token(seconds_between(item.first, item.last) / static_cast<double>(more), more);
  }
  last = item.last;
}

void GenerationReply::finished(std::int32_t choice, const llm::Finished& end) {
  ++finished_;
  add_usage(usage_, end.usage, choice, parts_.n);
  if (!finish_names_.empty()) finish_names_ += ',';
  finish_names_ += llm::finish_name(end.reason);
  queue_seconds_ = std::max(queue_seconds_, end.queue_seconds);
  metrics_.answer_ended(end);
  if (end.reason == llm::Finish::kError) fail(end.error);
  if (end.reason == llm::Finish::kCancelled) {
    fail({Errc::kUnavailable, "the server is shutting down before this answer was complete"});
  }
}

// The first failure ends the whole request: the other choices stop too.
void GenerationReply::fail(Error error) {
  if (failure_) return;
  failure_ = std::move(error);
  metrics_.failed(failure_->code);
  stop();
}

}  // namespace baltoro::server
