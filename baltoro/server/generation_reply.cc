// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/generation_reply.h"

#include <fmt/format.h>

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
}

std::optional<Response> GenerationReply::head() {
  take_events();
  if (failure_ && !(parts_.stream && begun_)) return parts_.writer->error_response(*failure_);
  if (parts_.stream) {
    if (!begun_) return {};
    return Response{.content_type = "text/event-stream; charset=utf-8", .stream = true};
  }
  if (finished_ < parts_.choices) return {};
  Response response;
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

std::string GenerationReply::log_note() const {
  return fmt::format("prompt={} cached={} output={} first_ms={:.0f} finish={}", usage_.tokens_prompt,
                     usage_.tokens_cached, usage_.tokens_output, first_piece_seconds_ * 1e3,
                     finish_names_.empty() ? "none" : finish_names_);
}

void GenerationReply::take_events() {
  check_bounds();
  for (const EventQueue::Item& item : parts_.events->take()) {
    measure(item);
    const auto* end = std::get_if<llm::Finished>(&item.event.body);
    if (end != nullptr) finished(item.event.choice, *end);
    if (failure_) continue;
    parts_.writer->event(item.event, pending_);
    if (!std::holds_alternative<llm::PrefillProgress>(item.event.body)) begun_ = true;
  }
}

void GenerationReply::measure(const EventQueue::Item& item) {
  if (!is_piece(item.event)) return;
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
  if (end.reason == llm::Finish::kError) fail(end.error);
  if (end.reason == llm::Finish::kCancelled) {
    fail({Errc::kUnavailable, "the server is shutting down before this answer was complete"});
  }
}

// The first failure ends the whole request: the other choices stop too.
void GenerationReply::fail(Error error) {
  if (failure_) return;
  failure_ = std::move(error);
  stop();
}

}  // namespace baltoro::server
