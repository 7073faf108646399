// SPDX-License-Identifier: Apache-2.0
// What the routes that generate share: from a call that a dialect has read to the reply that it becomes.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "baltoro/base/utf8.h"
#include "baltoro/server/api.h"

namespace baltoro::server {
namespace {

// What a request leaves open is the server's to say, and after it the family's.
void fill_sampling(llm::Sampling& sampling, const llm::Sampling& defaults) {
  const auto fill = [](auto& value, const auto& otherwise) {
    if (!value) value = otherwise;
  };
  fill(sampling.temperature, defaults.temperature);
  fill(sampling.top_p, defaults.top_p);
  fill(sampling.min_p, defaults.min_p);
  fill(sampling.top_k, defaults.top_k);
  fill(sampling.presence_penalty, defaults.presence_penalty);
  fill(sampling.frequency_penalty, defaults.frequency_penalty);
  fill(sampling.repetition_penalty, defaults.repetition_penalty);
}

}  // namespace

Status Api::check_model(const std::string& name) const {
  const std::string id = backend_.model().id;
  const auto means_it = [&](std::string_view alias) {
    return alias.ends_with('*') ? name.starts_with(alias.substr(0, alias.size() - 1)) : name == alias;
  };
  if (name.empty() || name == id || std::ranges::any_of(options_.model_aliases, means_it)) return {};
  Error error{Errc::kNotFound,
              fmt::format("the model \"{}\" is not served here, \"{}\" is", utf8_sanitize(name.substr(0, 128)), id)};
  error.field = "model";
  return error;
}

// What the client asks for in any dialect, within what its key allows.
Result<CallOptions> Api::options_of(const KeyAccount* account, const Request& request, const json::Value& body) const {
  CallOptions defaults = options_.call;
  if (account != nullptr) defaults.handling.priority = account->limits().priority;
  BALTORO_TRY(CallOptions options, read_call_options(request, body, defaults));
  // A request may ask for a later place than its key's, never for a sooner one.
  if (account != nullptr) options.handling.priority = std::max(options.handling.priority, account->limits().priority);
  return options;
}

// What no dialect reads.
void Api::complete(Call& call, const Request& request, const CallOptions& options) const {
  const llm::CacheScope scope{.tenant = tenant_of(request), .salt = options.cache_salt};
  const auto complete_one = [&](auto& work) {
    work.handling = options.handling;
    work.handling.trace_id = request.trace.trace_id;
    work.cache_scope = scope;
    fill_sampling(work.sampling, options_.sampling);
  };
  for (auto& work : call.work) std::visit(complete_one, work);
}

// Begins all of the call's work, each piece's choices counted on from those before; all or nothing.
Result<std::vector<std::unique_ptr<llm::Ticket>>> Api::begin_all(Call& call,
                                                                 const std::shared_ptr<EventQueue>& events) {
  std::vector<std::unique_ptr<llm::Ticket>> tickets;
  std::int32_t offset = 0;
  const auto send = [&](auto& work) {
    return begin(std::move(work), [events, offset](const llm::Event& event) {
      llm::Event moved = event;
      moved.choice += offset;
      events->push(moved);
    });
  };
  for (auto& work : call.work) {
    auto ticket = std::visit(send, work);
    if (!ticket.ok()) {
      events->detach();
      return std::move(ticket).error();
    }
    tickets.push_back(*std::move(ticket));
    offset += call.n;
  }
  return tickets;
}

// The part of an answer's making that no dialect sees. `call` was read from `body`, which `request` carried.
Api::Answer Api::start(const Request& request, const json::Value& body, Call call, const Wake& wake) {
  const auto account = account_of(request);
  if (!account && !options_.keys.open()) return Error{Errc::kUnauthenticated, "the API key is not valid any more"};
  BALTORO_TRY(const CallOptions options, options_of(account.get(), request, body));
  complete(call, request, options);
  BALTORO_TRY(const std::int64_t tokens_prompt, count_prompts(account.get(), call));
  Booking booking;
  if (account) {
    BALTORO_TRY(booking, Booking::make(account, tokens_prompt + most_answered(call, tokens_prompt)));
  }
  auto events = std::make_shared<EventQueue>(options_.max_waiting_bytes, wake);
  GenerationReply::Parts parts{.events = events,
                               .tickets = {},
                               .writer = std::move(call.writer),
                               .stream = call.stream,
                               .choices = call.choices,
                               .n = call.n,
                               .started = call.started,
                               .max_seconds = options_.max_answer_seconds,
                               .booking = std::move(booking),
                               .tokens_prompt = tokens_prompt,
                               .headers = account ? account->headers() : Headers{},
                               .progress = options.progress};
  BALTORO_TRY(parts.tickets, begin_all(call, events));
  return std::make_unique<GenerationReply>(std::move(parts), metrics_);
}

// Whose earlier answers stand in a prompt as they were sampled: counted with the same scope as it is answered.
Result<llm::CacheScope> Api::scope_of(const Request& request, const json::Value& body) const {
  BALTORO_TRY(CallOptions options, read_call_options(request, body, options_.call));
  return llm::CacheScope{.tenant = tenant_of(request), .salt = std::move(options.cache_salt)};
}

// The prompts' tokens; 0 without looking where nobody counts them.
Result<std::int64_t> Api::count_prompts(const KeyAccount* account, const Call& call) {
  if (account == nullptr || !account->limits().counts_tokens()) return 0;
  std::int64_t total = 0;
  for (const auto& work : call.work) {
    if (const auto* chat = std::get_if<llm::ChatRequest>(&work)) {
      BALTORO_TRY(const std::int64_t tokens, backend_.count_tokens(*chat));
      total += tokens;
      continue;
    }
    const auto& prompt = std::get<llm::CompletionRequest>(work).prompt;
    if (const auto* text = std::get_if<std::string>(&prompt)) {
      BALTORO_TRY(const std::vector<std::int32_t> ids, backend_.tokenize(*text, false));
      total += std::ssize(ids);
    } else {
      total += std::ssize(std::get<std::vector<std::int32_t>>(prompt));
    }
  }
  return total;
}

// The longest answers that a call allows, all choices together.
std::int64_t Api::most_answered(const Call& call, std::int64_t tokens_prompt) const {
  const std::int64_t context = backend_.model().max_context_tokens;
  std::int64_t total = 0;
  for (const auto& work : call.work) {
    const llm::Limits& limits = std::visit([](const auto& one) -> const llm::Limits& { return one.limits; }, work);
    const std::int64_t room = std::max<std::int64_t>(0, context - (call.work.size() == 1 ? tokens_prompt : 0));
    total += std::min(limits.max_tokens.value_or(room), room) * limits.n;
  }
  return total;
}

Result<std::unique_ptr<llm::Ticket>> Api::begin(llm::ChatRequest work, llm::EventSink sink) {
  return backend_.chat(std::move(work), std::move(sink));
}

Result<std::unique_ptr<llm::Ticket>> Api::begin(llm::CompletionRequest work, llm::EventSink sink) {
  return backend_.complete(std::move(work), std::move(sink));
}

}  // namespace baltoro::server
