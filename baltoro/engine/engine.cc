// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/engine.h"

#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "baltoro/base/clock.h"
#include "baltoro/engine/engine_core.h"

namespace baltoro::engine {
namespace {

struct Submit {
  RequestId id;
  Request request;
  double arrival = 0;
};
struct Cancel {
  RequestId id;
};
struct CancelAll {};
using Message = std::variant<Submit, Cancel, CancelAll>;

void refuse(const Submit& submit, Errc code, const char* text) {
  for (std::int32_t choice = 0; choice < submit.request.n; ++choice) {
    TokenEvent event;
    event.request = submit.id;
    event.choice = choice;
    event.finish = FinishReason::kError;
    event.error = {.code = code, .message = text, .field = {}};
    (void)submit.request.sink->on_token(event);
  }
}

}  // namespace

struct Engine::Impl {
  Impl(std::unique_ptr<ModelRunner> runner, const EngineOptions& engine_options, std::unique_ptr<KvStore> store)
      : options(engine_options), core(std::move(runner), engine_options, std::move(store)), limits(core.limits()) {}

  void run();
  void take(Message& message);
  void step();
  void publish();
  void wait_for_work(std::unique_lock<std::mutex>& lock);
  void note_stepping(const std::vector<Message>& messages);
  void interrupt_if_unwanted();
  Status check_queue(std::int64_t tokens) const;

  const EngineOptions options;
  EngineCore core;  // engine thread only
  const RequestLimits limits;

  std::mutex mutex;  // guards what follows
  std::condition_variable wake, quiet;
  std::vector<Message> inbox;
  std::uint64_t last_id = 0;
  // Requests not ended, of those the ones not begun, and their prompts' tokens.
  std::int64_t live = 0, queued = 0, queued_tokens = 0;
  std::int64_t unwritten = 0;  // blocks that are to go to disk
  bool draining = false, stopping = false;
  bool woken = false;  // KV came from disk or can go there
  EngineStats stats;
  struct Stepping {
    RequestId id;
    bool cancelled;
  };
  std::vector<Stepping> stepping;  // requests that the step under way may serve

  std::atomic<double> busy_since = 0;  // on the steady clock; 0: it waits

  std::thread thread;  // last: runs on all of the above
};

void Engine::Impl::run() {
  std::vector<Message> messages;
  for (;;) {
    {
      std::unique_lock lock(mutex);
      publish();
      busy_since = 0;
      wait_for_work(lock);
      woken = false;
      messages.swap(inbox);
      if (stopping) break;
      core.interrupt(false);
      note_stepping(messages);
    }
    busy_since = steady_seconds();
    for (Message& message : messages) take(message);
    messages.clear();
    step();
  }
  for (Message& message : messages) take(message);  // nobody goes without a last event
  core.cancel_all();
}

// Also until a request's time is over that waits for KV from disk.
void Engine::Impl::wait_for_work(std::unique_lock<std::mutex>& lock) {
  constexpr double kLongest = 3600;
  const auto work = [this] { return stopping || woken || !inbox.empty() || core.runnable(); };
  if (const auto seconds = core.seconds_to_deadline()) {
    wake.wait_for(lock, std::chrono::duration<double>(std::min(*seconds, kLongest)), work);
  } else {
    wake.wait(lock, work);
  }
}

// Under the mutex, before `messages` are taken.
void Engine::Impl::note_stepping(const std::vector<Message>& messages) {
  stepping.clear();
  core.for_each_request([this](RequestId id) { stepping.push_back({.id = id, .cancelled = false}); });
  for (const Message& message : messages) {
    if (const auto* submit = std::get_if<Submit>(&message)) stepping.push_back({.id = submit->id, .cancelled = false});
    const auto* cancel = std::get_if<Cancel>(&message);
    for (Stepping& one : stepping) one.cancelled |= cancel != nullptr && one.id == cancel->id;
  }
}

// Under the mutex. A step may read weights from disk for minutes: when nobody waits for it any more, it ends.
void Engine::Impl::interrupt_if_unwanted() {
  const bool wanted = std::any_of(stepping.begin(), stepping.end(), [](const Stepping& s) { return !s.cancelled; });
  if (!wanted && !stepping.empty()) core.interrupt(true);
}

// Under the mutex. What others added meanwhile is in the inbox and already counted.
void Engine::Impl::publish() {
  stats = core.stats();
  live = core.num_requests();
  queued = core.num_queued();
  queued_tokens = core.tokens_queued();
  for (const Message& message : inbox) {
    const auto* submit = std::get_if<Submit>(&message);
    if (submit == nullptr) continue;
    ++live;
    ++queued;
    queued_tokens += std::ssize(submit->request.prompt);
  }
  unwritten = stats.disk ? stats.disk->blocks_unwritten : 0;
  if (live == 0) quiet.notify_all();
}

void Engine::Impl::take(Message& message) {
  if (auto* submit = std::get_if<Submit>(&message)) {
    // The engine thread's catch, here and in step(): memory that ran out ends work, not the process.
    try {
      core.add(submit->id, submit->request, submit->arrival);
    } catch (...) {
      try {
        refuse(*submit, Errc::kResourceExhausted, "[engine] no memory left to take the request");
      } catch (...) {  // nor to say so
      }
    }
  } else if (const auto* cancel = std::get_if<Cancel>(&message)) {
    core.cancel(cancel->id);
  } else {
    core.cancel_all();
  }
}

void Engine::Impl::step() {
  try {
    if (!core.runnable()) {
      core.pump();
    } else if (!core.step() && core.runnable()) {
      core.fail_all(Errc::kInternal, "[engine] requests wait and none can advance");
    }
  } catch (const std::bad_alloc&) {
    core.fail_all(Errc::kResourceExhausted, "[engine] no memory left in a step");
  } catch (...) {
    core.fail_all(Errc::kInternal, "[engine] a step failed");
  }
}

// Under the mutex. A prompt longer than max_queue_tokens may wait, but only alone.
Status Engine::Impl::check_queue(std::int64_t tokens) const {
  const std::int64_t most = options.max_queue_tokens;
  const bool many = queued >= options.max_queue;
  const bool much = most > 0 && queued_tokens > 0 && queued_tokens + tokens > most;
  if (!many && !much) return {};
  const std::int64_t done = stats.tokens_prefilled + stats.tokens_decoded;
  const double token_seconds = done > 0 ? stats.step_seconds_total / static_cast<double>(done) : 0;
  return Error{.code = Errc::kOverloaded,
               .message = many ? fmt::format("[engine] the queue is full (current: {} requests, limit: {})", queued,
                                             options.max_queue)
                               : fmt::format("[engine] too many tokens wait (current: {}, limit: {}, this prompt: {})",
                                             queued_tokens, most, tokens),
               .retry_seconds = static_cast<double>(queued_tokens) * token_seconds};
}

Engine::Engine(std::unique_ptr<ModelRunner> runner, EngineOptions options, std::unique_ptr<KvStore> store)
    : impl_(std::make_unique<Impl>(std::move(runner), options, std::move(store))) {
  impl_->core.set_wake([impl = impl_.get()] {
    {
      const std::lock_guard lock(impl->mutex);
      impl->woken = true;
    }
    impl->wake.notify_one();
  });
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

Engine::~Engine() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->draining = impl_->stopping = true;
    impl_->core.interrupt(true);
  }
  impl_->wake.notify_all();
  impl_->thread.join();
  impl_->core.set_wake(nullptr);
}

Result<RequestId> Engine::submit(Request request) {
  BALTORO_TRY_STATUS(check_request(request, impl_->limits));
  RequestId id{};
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->draining) return Error{Errc::kUnavailable, "[engine] shutting down, no new requests"};
    BALTORO_TRY_STATUS(impl_->check_queue(std::ssize(request.prompt)));
    id = RequestId{++impl_->last_id};
    impl_->queued_tokens += std::ssize(request.prompt);
    impl_->inbox.emplace_back(Submit{.id = id, .request = std::move(request), .arrival = impl_->core.now()});
    ++impl_->live;
    ++impl_->queued;
  }
  impl_->wake.notify_one();
  return id;
}

void Engine::cancel(RequestId id) {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->inbox.emplace_back(Cancel{.id = id});
    for (auto& one : impl_->stepping) one.cancelled |= one.id == id;
    impl_->interrupt_if_unwanted();
  }
  impl_->wake.notify_one();
}

void Engine::drain(double deadline_seconds) {
  constexpr double kYear = 365.0 * 24 * 3600;
  const double seconds = deadline_seconds > 0 ? std::min(deadline_seconds, kYear) : 0;
  std::unique_lock lock(impl_->mutex);
  impl_->draining = true;
  const auto ended = [this] { return impl_->live == 0 || impl_->stopping; };
  const auto written = [&] { return impl_->stopping || (impl_->live == 0 && impl_->unwritten == 0); };
  if (impl_->quiet.wait_for(lock, std::chrono::duration<double>(seconds), written)) return;
  impl_->inbox.emplace_back(CancelAll{});
  for (auto& one : impl_->stepping) one.cancelled = true;
  impl_->interrupt_if_unwanted();
  impl_->wake.notify_one();
  impl_->quiet.wait(lock, ended);
}

EngineStats Engine::stats() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->stats;
}

double Engine::busy_seconds() const {
  const double since = impl_->busy_since;
  return since > 0 ? steady_seconds() - since : 0;
}

std::int64_t Engine::vocab_size() const { return impl_->limits.vocab_size; }
std::int64_t Engine::max_context_tokens() const { return impl_->limits.max_context_tokens; }

}  // namespace baltoro::engine
