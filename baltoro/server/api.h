// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "baltoro/llm/llm.h"
#include "baltoro/server/access_log.h"
#include "baltoro/server/anthropic_messages.h"
#include "baltoro/server/api_limits.h"
#include "baltoro/server/auth.h"
#include "baltoro/server/call_options.h"
#include "baltoro/server/generation_reply.h"
#include "baltoro/server/http.h"
#include "baltoro/server/idempotent_answers.h"
#include "baltoro/server/metrics.h"
#include "baltoro/server/responses_service.h"
#include "baltoro/server/watchdog.h"

namespace baltoro::server {

struct ApiOptions {
  KeySet keys;  // open: no key needed
  std::vector<std::string>
      model_aliases;  // names of the model beside its own; one may end with '*': any that begins so
  std::vector<std::string> allowed_hosts;  // names accepted in the Host header, without port; empty: any
  ApiLimits limits;
  std::size_t max_waiting_bytes = std::size_t{4} << 20;  // of one answer that its client does not read
  llm::Sampling sampling;                                // where a request says nothing; what is absent: the family's
  CallOptions call;                                      // where a request says nothing
  StoreLimits store;                                     // of responses that clients may name again
  std::optional<SealKey> seal_key;  // of thoughts that clients keep for us; absent: one of this process, gone with it
  double max_answer_seconds = 0;    // from a request to the end of its answer; 0: no limit
  LogFormat log_format = LogFormat::kText;
  std::function<void(std::string_view)> log;  // one line per request, without newline; null: none
};

// The routes: see Api::routes() and the room's README; those of Anthropic's clients are below /anthropic, too. All but
// /health and the chat page (/, /page/NAME) need a key where keys are set.
class Api final : public Handler {
 public:
  // `backend` must outlive this and every Reply.
  Api(ApiOptions options, llm::Backend& backend);

  std::optional<Response> reject_early(const Request& head) override;
  std::unique_ptr<Reply> handle(Request request, std::function<void()> wake) override;
  Response protocol_error(const Request& head, int status, std::string_view message) override;
  void ended(const Request& request, const Ended& how) override;

  // From now on everything but /health and /metrics is refused with 503, and /health says so.
  void set_draining() { draining_ = true; }
  // While true, /health and /health/live say 503: something does not get on (see Watchdog).
  void set_stuck(bool stuck) { stuck_ = stuck; }
  // The oldest of the handle() calls under way.
  double busy_seconds() const { return handling_.oldest_seconds(); }

 private:
  using Wake = std::function<void()>;
  using Answer = Result<std::unique_ptr<Reply>>;
  struct Route {
    std::string_view method, path, endpoint;
    Answer (Api::*answer)(Request&, Wake);
    bool needs_key = true;
    bool prefix = false;           // path is a prefix, the rest a name
    std::string_view suffix = {};  // prefix: what follows the name
    bool slashes = false;          // prefix: the name may have them

    bool fits(std::string_view wanted) const;
    bool generates() const;
  };
  static std::span<const Route> routes();
  // The route for a path and, where it has one, for the method.
  static const Route* find_route(const Request& request);
  std::unique_ptr<Reply> run(const Route& route, Request& request, Wake wake);
  std::unique_ptr<Reply> refused(const Request& request, const Error& error);
  static Response refusal(const Request& head, const Error& error);
  static Response refusal(const Request& head, int status, std::string_view message);
  static std::int64_t unix_now();
  bool host_allowed(const Request& head) const;
  bool key_accepted(const Request& head) const;
  std::string tenant_of(const Request& head) const;
  Status check_model(const std::string& name) const;

  // A call that a dialect has read: what the backend shall do, one piece for each prompt, and who writes the answer.
  struct Call {
    std::vector<std::variant<llm::ChatRequest, llm::CompletionRequest>> work = {};
    std::unique_ptr<AnswerWriter> writer = {};
    bool stream = false;
    std::int32_t choices = 1;  // in all
    std::int32_t n = 1;        // per prompt
    EventQueue::Clock::time_point started = EventQueue::Clock::now();
  };
  // api_generation.cc: what the routes that generate share.
  Answer start(const Request& request, const json::Value& body, Call call, const Wake& wake);
  Result<CallOptions> options_of(const KeyAccount* account, const Request& request, const json::Value& body) const;
  void complete(Call& call, const Request& request, const CallOptions& options) const;
  Result<std::vector<std::unique_ptr<llm::Ticket>>> begin_all(Call& call, const std::shared_ptr<EventQueue>& events);
  std::shared_ptr<KeyAccount> account_of(const Request& head) const;
  Result<llm::CacheScope> scope_of(const Request& request, const json::Value& body) const;
  AnswerHead openai_head(const std::string& id, const Call& call, bool include_usage) const;
  Result<std::int64_t> count_prompts(const KeyAccount* account, const Call& call);
  std::int64_t most_answered(const Call& call, std::int64_t tokens_prompt) const;
  Result<std::unique_ptr<llm::Ticket>> begin(llm::ChatRequest work, llm::EventSink sink);
  Result<std::unique_ptr<llm::Ticket>> begin(llm::CompletionRequest work, llm::EventSink sink);

  // The routes: api_openai.cc, api_anthropic.cc, api_responses.cc; the server's own are in api.cc.
  Answer chat(Request& request, Wake wake);
  Answer completion(Request& request, Wake wake);
  Answer messages(Request& request, Wake wake);
  Answer message_tokens(Request& request, Wake wake);
  Result<MessagesCall> read_messages(Request& request, const json::Value& body, bool counting) const;
  Answer responses(Request& request, Wake wake);
  Answer response(Request& request, Wake wake);
  Answer delete_response(Request& request, Wake wake);
  Answer cancel_response(Request& request, Wake wake);
  Answer response_input(Request& request, Wake wake);
  Answer count_response(Request& request, Wake wake);
  Answer models(Request& request, Wake wake);
  Answer one_model(Request& request, Wake wake);
  Answer tokenize(Request& request, Wake wake);
  Answer detokenize(Request& request, Wake wake);
  Answer count_tokens(Request& request, Wake wake);
  Answer metrics_text(Request& request, Wake wake);
  Answer health(Request& request, Wake wake);
  Answer page(Request& request, Wake wake);
  Answer alive(Request& request, Wake wake);

  const ApiOptions options_;
  llm::Backend& backend_;
  const std::string fingerprint_;
  const SealKey seal_key_;
  ResponsesService responses_;
  const ThinkingSigner signer_;
  Metrics metrics_;
  WorkClock handling_;
  IdempotentAnswers once_;
  std::atomic<bool> draining_ = false, stuck_ = false;
};

}  // namespace baltoro::server
