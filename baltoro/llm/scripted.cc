// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/scripted.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

namespace baltoro::llm {
namespace {

using Clock = std::chrono::steady_clock;

template <typename Delta>
Script cut(std::string_view text, double pause_seconds) {
  Script out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size() - 1) + 1;
    out.push_back({pause_seconds, Delta{std::string(text.substr(0, end))}});
    text.remove_prefix(end);
  }
  return out;
}

Clock::duration seconds(double count) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(count));
}

bool is_token(const ScriptedStep& step) {
  return std::holds_alternative<ContentDelta>(step.body) || std::holds_alternative<ReasoningDelta>(step.body) ||
         std::holds_alternative<ToolCallArguments>(step.body);
}

struct Choice {
  Script script;
  std::size_t next = 0;
  Clock::time_point due;
  Usage usage;
  bool called_tools = false, finished = false;
};

struct Run {
  std::vector<Choice> choices;
  EventSink sink;
  std::int64_t max_tokens = INT64_MAX;
  bool cancelled = false;  // asked to end
  bool cut = false;        // ended by that
};

}  // namespace

Script script_content(std::string_view text, double pause_seconds) { return cut<ContentDelta>(text, pause_seconds); }
Script script_reasoning(std::string_view text, double pause_seconds) {
  return cut<ReasoningDelta>(text, pause_seconds);
}

Script script_tool_call(std::int32_t index, std::string id, std::string name, std::string_view arguments) {
  Script out;
  out.push_back({0, ToolCallBegin{.index = index, .id = std::move(id), .name = std::move(name)}});
  for (std::size_t i = 0; i < arguments.size(); i += 4) {
    out.push_back({0, ToolCallArguments{.index = index, .text = std::string(arguments.substr(i, 4))}});
  }
  out.push_back({0, ToolCallEnd{.index = index}});
  return out;
}

void append(Script& script, Script more) {
  script.insert(script.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

struct ScriptedBackend::Impl {
  explicit Impl(ScriptedOptions chosen) : options(std::move(chosen)) {}

  // Plays what is due. Sinks are called without the lock, by this thread only.
  void play() {
    std::unique_lock lock(mutex);
    while (!closing) {
      const auto now = Clock::now();
      auto wake = Clock::time_point::max();
      std::vector<std::uint64_t> numbers;
      for (const auto& [number, run] : runs) numbers.push_back(number);
      for (const std::uint64_t number : numbers) wake = std::min(wake, play_run(number, now, lock));
      if (wake > Clock::now() && !closing && !changed) {
        const auto ready = [&] { return closing || changed; };
        if (wake == Clock::time_point::max()) {
          condition.wait(lock, ready);
        } else {
          condition.wait_until(lock, wake, ready);
        }
      }
      changed = false;
    }
  }

  // Emits the due events of one run; returns when it is due again.
  Clock::time_point play_run(std::uint64_t number, Clock::time_point now, std::unique_lock<std::mutex>& lock) {
    auto found = runs.find(number);
    auto wake = Clock::time_point::max();
    Run& run = found->second;
    for (std::size_t i = 0; i < run.choices.size(); ++i) {
      Choice& choice = run.choices[i];
      if (choice.finished) continue;
      if (run.cancelled || choice.due <= now) {
        const Event event{.choice = static_cast<std::int32_t>(i), .body = next_event(run, choice, now)};
        lock.unlock();
        run.sink(event);  // map nodes stay where they are, and only this thread removes them
        lock.lock();
      }
      if (!choice.finished) wake = std::min(wake, choice.due);
    }
    if (std::ranges::all_of(run.choices, &Choice::finished)) {
      ++(run.cut ? requests_cancelled : requests_finished);
      runs.erase(found);
      condition.notify_all();
    }
    return wake;
  }

  decltype(Event::body) next_event(Run& run, Choice& choice, Clock::time_point now) {
    const auto end = [&](Finish reason) {
      choice.finished = true;
      return Finished{.reason = reason, .stop_string = {}, .usage = choice.usage, .error = {}};
    };
    if (run.cancelled) {
      run.cut = true;
      return end(Finish::kCancelled);
    }
    if (choice.next == choice.script.size()) return end(choice.called_tools ? Finish::kToolCalls : Finish::kStop);
    if (choice.usage.tokens_output >= run.max_tokens) return end(Finish::kLength);
    const ScriptedStep& step = choice.script[choice.next++];
    if (is_token(step)) ++choice.usage.tokens_output;
    if (std::holds_alternative<ReasoningDelta>(step.body)) ++choice.usage.tokens_reasoning;
    choice.called_tools |= std::holds_alternative<ToolCallBegin>(step.body);
    const bool more = choice.next < choice.script.size();
    choice.due = now + seconds(more ? choice.script[choice.next].pause_seconds : 0);
    auto body = step.body;
    if (auto* finished = std::get_if<Finished>(&body)) {
      choice.finished = true;
      finished->usage = choice.usage;
    }
    return body;
  }

  Result<std::uint64_t> start(std::vector<Script> scripts, const Limits& limits, std::int64_t tokens_prompt,
                              EventSink sink) {
    if (scripts.empty()) return Error{Errc::kInternal, "[scripted] no script for this request"};
    const std::lock_guard lock(mutex);
    if (draining) return Error{Errc::kUnavailable, "[scripted] draining"};
    if (static_cast<std::int64_t>(runs.size()) >= options.max_running) {
      return Error{Errc::kOverloaded, "[scripted] the queue is full"};
    }
    Run run{.choices = {}, .sink = std::move(sink), .max_tokens = limits.max_tokens.value_or(INT64_MAX)};
    const auto now = Clock::now();
    for (std::int32_t i = 0; i < limits.n; ++i) {
      Choice choice{.script = scripts[std::min(static_cast<std::size_t>(i), scripts.size() - 1)],
                    .due = now,
                    .usage = {.tokens_prompt = tokens_prompt}};
      if (!choice.script.empty()) choice.due += seconds(choice.script.front().pause_seconds);
      run.choices.push_back(std::move(choice));
    }
    const std::uint64_t number = ++last_number;
    runs.emplace(number, std::move(run));
    changed = true;
    condition.notify_all();
    return number;
  }

  void cancel(std::uint64_t number) {
    const std::lock_guard lock(mutex);
    const auto found = runs.find(number);
    if (found == runs.end()) return;
    found->second.cancelled = true;
    changed = true;
    condition.notify_all();
  }

  const ScriptedOptions options;
  mutable std::mutex mutex;
  std::condition_variable condition;
  std::map<std::uint64_t, Run> runs;
  std::uint64_t last_number = 0;
  std::int64_t requests_finished = 0, requests_cancelled = 0;
  bool changed = false, closing = false, draining = false;
  std::thread player;
};

namespace {

template <typename Impl>
class ScriptedTicket final : public Ticket {
 public:
  ScriptedTicket(std::shared_ptr<Impl> impl, std::uint64_t number) : impl_(std::move(impl)), number_(number) {}
  ~ScriptedTicket() override { impl_->cancel(number_); }
  void cancel() override { impl_->cancel(number_); }

 private:
  std::shared_ptr<Impl> impl_;
  std::uint64_t number_;
};

}  // namespace

ScriptedBackend::ScriptedBackend(ScriptedOptions options) : impl_(std::make_shared<Impl>(std::move(options))) {
  impl_->player = std::thread([impl = impl_.get()] { impl->play(); });
}

ScriptedBackend::~ScriptedBackend() {
  drain(0);
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->closing = true;
    impl_->condition.notify_all();
  }
  impl_->player.join();
}

Result<std::unique_ptr<Ticket>> ScriptedBackend::chat(ChatRequest request, EventSink sink) {
  if (!impl_->options.chat) return Error{Errc::kUnsupported, "[scripted] no chat here"};
  BALTORO_TRY(auto scripts, impl_->options.chat(request));
  BALTORO_TRY(const std::int64_t tokens, count_tokens(request));
  BALTORO_TRY(const std::uint64_t number, impl_->start(std::move(scripts), request.limits, tokens, std::move(sink)));
  return std::make_unique<ScriptedTicket<Impl>>(impl_, number);
}

Result<std::unique_ptr<Ticket>> ScriptedBackend::complete(CompletionRequest request, EventSink sink) {
  if (!impl_->options.complete) return Error{Errc::kUnsupported, "[scripted] no completion here"};
  BALTORO_TRY(auto scripts, impl_->options.complete(request));
  const auto tokens =
      static_cast<std::int64_t>(std::visit([](const auto& prompt) { return prompt.size(); }, request.prompt));
  BALTORO_TRY(const std::uint64_t number, impl_->start(std::move(scripts), request.limits, tokens, std::move(sink)));
  return std::make_unique<ScriptedTicket<Impl>>(impl_, number);
}

Result<std::vector<std::int32_t>> ScriptedBackend::tokenize(const std::string& text, bool) {
  std::vector<std::int32_t> out;
  for (char c : text) out.push_back(static_cast<unsigned char>(c));
  return out;
}

Result<std::string> ScriptedBackend::detokenize(const std::vector<std::int32_t>& ids) {
  std::string out;
  for (const std::int32_t id : ids) out += static_cast<char>(id);
  return out;
}

Result<std::int64_t> ScriptedBackend::count_tokens(const ChatRequest& request) {
  std::size_t bytes = 0;
  for (const text::Message& message : request.conversation.messages) bytes += message.content.size();
  return static_cast<std::int64_t>(bytes);
}

ModelInfo ScriptedBackend::model() const { return impl_->options.model; }

BackendMetrics ScriptedBackend::metrics() const {
  const std::lock_guard lock(impl_->mutex);
  return {{"requests_running", static_cast<double>(impl_->runs.size())},
          {"requests_finished_total", static_cast<double>(impl_->requests_finished)},
          {"requests_cancelled_total", static_cast<double>(impl_->requests_cancelled)}};
}

void ScriptedBackend::drain(double deadline_seconds) {
  std::unique_lock lock(impl_->mutex);
  impl_->draining = true;
  const auto idle = [&] { return impl_->runs.empty(); };
  if (impl_->condition.wait_for(lock, seconds(deadline_seconds), idle)) return;
  for (auto& [number, run] : impl_->runs) run.cancelled = true;
  impl_->changed = true;
  impl_->condition.notify_all();
  impl_->condition.wait(lock, idle);
}

}  // namespace baltoro::llm
