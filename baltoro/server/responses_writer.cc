// SPDX-License-Identifier: Apache-2.0
// Events of an answer become Responses items and stream events.
#include <fmt/format.h>

#include <utility>

#include "baltoro/server/openai_errors.h"
#include "baltoro/server/openai_sampling.h"
#include "baltoro/server/responses.h"

namespace baltoro::server {
namespace {

json::Value usage_object(const llm::Usage& usage) {
  json::Object out;
  out.emplace_back("input_tokens", usage.tokens_prompt);
  out.emplace_back("input_tokens_details",
                   json::Object{{"cached_tokens", usage.tokens_cached}, {"cache_write_tokens", 0}});
  out.emplace_back("output_tokens", usage.tokens_output);
  out.emplace_back("output_tokens_details", json::Object{{"reasoning_tokens", usage.tokens_reasoning}});
  out.emplace_back("total_tokens", usage.tokens_prompt + usage.tokens_output);
  return out;
}

// Builds the items one after the other; each event of the stream is written as it happens. Without streaming the same
// happens in silence, and the response is the body.
class ResponsesWriter final : public AnswerWriter {
 public:
  explicit ResponsesWriter(ResponsesHead head) : head_(std::move(head)) {}

  void event(const llm::Event& event, std::string& out) override;
  void end(std::string& out) override;
  void failed(const Error& error, std::string& out) override;
  void keep_alive(std::string& out) override;

 private:
  enum class Open : std::uint8_t { kNothing, kReasoning, kMessage, kCall };

  void begin(std::string& out);
  void open(Open kind, json::Object item, std::string& out);
  void open_reasoning(std::string& out);
  void open_message(std::string& out);
  void open_call(const llm::ToolCallBegin& call, std::string& out);
  void close(const char* status, std::string& out);
  void close_part(json::Object part, const char* done, std::string& out);
  void text_delta(const std::string& text, std::string& out);
  json::Object text_part(const char* type) const;
  std::string item_id(const char* prefix) const;
  json::Object response(const char* status, json::Value error) const;
  void emit(const char* type, json::Object fields, std::string& out);
  void emit_response(const char* type, const char* status, std::string& out);
  json::Object place(bool with_content) const;

  ResponsesHead head_;
  json::Array output_;                                 // closed items
  Open open_ = Open::kNothing;                         // the item that is being written
  json::Object item_;                                  // its members so far
  std::string text_;                                   // its text or arguments
  std::vector<llm::Logprob> logprobs_, new_logprobs_;  // of text_; not yet sent
  llm::Usage usage_;
  const char* cut_ = nullptr;  // why it is not complete
  bool begun_ = false, finished_ = false;
  std::int64_t sequence_ = 0;
};

std::string ResponsesWriter::item_id(const char* prefix) const {
  return fmt::format("{}_{}_{}", prefix, std::string_view(head_.id).substr(5), output_.size());
}

void ResponsesWriter::emit(const char* type, json::Object fields, std::string& out) {
  if (!head_.stream) return;
  json::Object event{{"type", type}, {"sequence_number", sequence_++}};
  for (auto& field : fields) event.push_back(std::move(field));
  out.append("event: ").append(type).append("\ndata: ").append(json::dump(std::move(event))).append("\n\n");
}

json::Object ResponsesWriter::response(const char* status, json::Value error) const {
  json::Object out{{"id", head_.id}, {"object", "response"}, {"created_at", head_.created_unix_s}, {"status", status}};
  out.emplace_back("background", false);
  out.emplace_back("completed_at", finished_ && cut_ == nullptr ? json::Value(head_.now_unix_s()) : json::Value());
  out.emplace_back("error", std::move(error));
  out.emplace_back("incomplete_details",
                   finished_ && cut_ != nullptr ? json::Value(json::Object{{"reason", cut_}}) : json::Value());
  out.emplace_back("model", head_.model);
  out.emplace_back("output", output_);
  if (finished_) out.emplace_back("usage", usage_object(usage_));  // absent until then: it may not be null
  out.insert(out.end(), head_.echo.begin(), head_.echo.end());
  return out;
}

void ResponsesWriter::emit_response(const char* type, const char* status, std::string& out) {
  if (head_.stream) emit(type, {{"response", response(status, nullptr)}}, out);
}

void ResponsesWriter::begin(std::string& out) {
  if (std::exchange(begun_, true)) return;
  emit_response("response.created", "in_progress", out);
  emit_response("response.in_progress", "in_progress", out);
}

json::Object ResponsesWriter::place(bool with_content) const {
  json::Object out{{"item_id", item_.front().second}, {"output_index", static_cast<std::int64_t>(output_.size())}};
  if (with_content) out.emplace_back("content_index", 0);
  return out;
}

void ResponsesWriter::open(Open kind, json::Object item, std::string& out) {
  open_ = kind;
  item_ = std::move(item);
  json::Object fields{{"output_index", static_cast<std::int64_t>(output_.size())}};
  if (head_.stream) fields.emplace_back("item", item_);
  emit("response.output_item.added", std::move(fields), out);
  if (kind == Open::kCall) return;
  fields = place(true);
  fields.emplace_back("part", text_part(kind == Open::kReasoning ? "reasoning_text" : "output_text"));
  emit("response.content_part.added", std::move(fields), out);
}

json::Object ResponsesWriter::text_part(const char* type) const {
  json::Object part{{"type", type}, {"text", text_}};
  if (std::string_view(type) == "output_text") {
    part.emplace_back("annotations", json::Array{});
    part.emplace_back("logprobs", tokens_json(logprobs_));
  }
  return part;
}

void ResponsesWriter::open_reasoning(std::string& out) {
  if (open_ == Open::kReasoning) return;
  close("completed", out);
  json::Object item{
      {"id", item_id("rs")}, {"type", "reasoning"}, {"summary", json::Array{}}, {"content", json::Array{}}};
  item.emplace_back("encrypted_content", nullptr);
  item.emplace_back("status", "in_progress");
  open(Open::kReasoning, std::move(item), out);
}

void ResponsesWriter::open_message(std::string& out) {
  if (open_ == Open::kMessage) return;
  close("completed", out);
  json::Object item{{"id", item_id("msg")}, {"type", "message"}, {"role", "assistant"}, {"content", json::Array{}}};
  item.emplace_back("status", "in_progress");
  open(Open::kMessage, std::move(item), out);
}

void ResponsesWriter::open_call(const llm::ToolCallBegin& call, std::string& out) {
  close("completed", out);
  json::Object item{{"id", item_id("fc")}, {"type", "function_call"}, {"call_id", call.id}, {"name", call.name}};
  item.emplace_back("arguments", "");
  item.emplace_back("status", "in_progress");
  open(Open::kCall, std::move(item), out);
}

void ResponsesWriter::text_delta(const std::string& text, std::string& out) {
  text_ += text;
  json::Object fields = place(open_ != Open::kCall);
  fields.emplace_back("delta", text);
  if (open_ == Open::kMessage) {
    fields.emplace_back("logprobs", tokens_json(new_logprobs_));
    logprobs_.insert(logprobs_.end(), new_logprobs_.begin(), new_logprobs_.end());
  }
  new_logprobs_.clear();  // those of thoughts and calls have no place in this API
  emit(open_ == Open::kMessage     ? "response.output_text.delta"
       : open_ == Open::kReasoning ? "response.reasoning_text.delta"
                                   : "response.function_call_arguments.delta",
       std::move(fields), out);
}

void ResponsesWriter::close_part(json::Object part, const char* done, std::string& out) {
  json::Object fields = place(true);
  fields.emplace_back("text", text_);
  if (open_ == Open::kMessage) fields.emplace_back("logprobs", tokens_json(logprobs_));
  emit(done, std::move(fields), out);
  fields = place(true);
  fields.emplace_back("part", part);
  emit("response.content_part.done", std::move(fields), out);
  json::Value item(std::move(item_));
  item.set("content", json::Array{std::move(part)});
  item_ = std::move(item.as_object());
}

void ResponsesWriter::close(const char* status, std::string& out) {
  if (open_ == Open::kNothing) return;
  if (open_ == Open::kMessage) {
    close_part(text_part("output_text"), "response.output_text.done", out);
  } else if (open_ == Open::kReasoning) {
    close_part(text_part("reasoning_text"), "response.reasoning_text.done", out);
  } else {
    json::Object fields = place(false);
    fields.emplace_back("name", item_[3].second);
    fields.emplace_back("arguments", text_);
    emit("response.function_call_arguments.done", std::move(fields), out);
  }
  json::Value item(std::move(item_));
  if (open_ == Open::kCall) item.set("arguments", text_);
  if (open_ == Open::kReasoning && head_.seal) item.set("encrypted_content", head_.seal(text_));
  item.set("status", status);
  emit("response.output_item.done", {{"output_index", static_cast<std::int64_t>(output_.size())}, {"item", item}}, out);
  output_.push_back(std::move(item));
  open_ = Open::kNothing;
  item_.clear();
  text_.clear();
  logprobs_.clear();
}

void ResponsesWriter::event(const llm::Event& event, std::string& out) {
  begin(out);
  if (const auto* content = std::get_if<llm::ContentDelta>(&event.body)) {
    open_message(out);
    text_delta(content->text, out);
  } else if (const auto* reasoning = std::get_if<llm::ReasoningDelta>(&event.body)) {
    open_reasoning(out);
    text_delta(reasoning->text, out);
  } else if (const auto* begin = std::get_if<llm::ToolCallBegin>(&event.body)) {
    open_call(*begin, out);
  } else if (const auto* arguments = std::get_if<llm::ToolCallArguments>(&event.body)) {
    if (open_ == Open::kCall) text_delta(arguments->text, out);
  } else if (std::holds_alternative<llm::ToolCallEnd>(event.body)) {
    if (open_ == Open::kCall) close("completed", out);
  } else if (const auto* logprobs = std::get_if<llm::LogprobDelta>(&event.body)) {
    new_logprobs_.insert(new_logprobs_.end(), logprobs->tokens.begin(), logprobs->tokens.end());
  } else if (const auto* finished = std::get_if<llm::Finished>(&event.body)) {
    if (finished->reason == llm::Finish::kLength) cut_ = "max_output_tokens";
    if (finished->reason == llm::Finish::kRepetition) cut_ = "repetition";  // not OpenAI's: only who asks gets it
    usage_ = finished->usage;
    // An answer of nothing is a message of nothing.
    if (open_ == Open::kNothing && output_.empty()) open_message(out);
    close(cut_ != nullptr ? "incomplete" : "completed", out);
    finished_ = true;
  }
}

void ResponsesWriter::end(std::string& out) {
  const char* status = cut_ != nullptr ? "incomplete" : "completed";
  const json::Value whole = response(status, nullptr);
  const std::string text = json::dump(whole);
  if (head_.stream) {
    emit(cut_ != nullptr ? "response.incomplete" : "response.completed", {{"response", whole}}, out);
  } else {
    out += text;
  }
  if (head_.on_complete) head_.on_complete(text, output_);
}

void ResponsesWriter::failed(const Error& error, std::string& out) {
  begin(out);
  close("incomplete", out);
  const json::Value told = openai_error(error);
  const json::Value* inner = told.find("error");
  const bool busy = error.code == Errc::kRateLimited;
  json::Object reason{{"code", busy ? "rate_limit_exceeded" : "server_error"}, {"message", *inner->find("message")}};
  emit("response.failed", {{"response", response("failed", std::move(reason))}}, out);
}

// A comment says nothing to clients that count events against a time limit; before the first item the response may say
// again that it is in progress.
void ResponsesWriter::keep_alive(std::string& out) {
  begin(out);
  if (open_ == Open::kNothing && output_.empty() && head_.stream) {
    emit_response("response.in_progress", "in_progress", out);
  } else {
    AnswerWriter::keep_alive(out);
  }
}

}  // namespace

std::unique_ptr<AnswerWriter> make_responses_writer(ResponsesHead head) {
  return std::make_unique<ResponsesWriter>(std::move(head));
}

std::string response_of_item(std::string_view item_id) {
  const std::size_t first = item_id.find('_'), last = item_id.rfind('_');
  if (first == std::string_view::npos || first == last) return {};
  return "resp_" + std::string(item_id.substr(first + 1, last - first - 1));
}

}  // namespace baltoro::server
