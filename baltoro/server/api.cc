// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/api.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <span>

#include "baltoro/base/sha256.h"
#include "baltoro/base/utf8.h"
#include "baltoro/server/access_log.h"
#include "baltoro/server/anthropic_errors.h"
#include "baltoro/server/anthropic_models.h"
#include "baltoro/server/field_reader.h"
#include "baltoro/server/hex.h"
#include "baltoro/server/openai_chat.h"
#include "baltoro/server/openai_completions.h"
#include "baltoro/server/openai_errors.h"
#include "baltoro/server/page.h"

namespace baltoro::server {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

// The host of a Host header, without port, in lower case.
std::string host_name(std::string_view host) {
  if (host.starts_with('[')) return lower(host.substr(0, host.find(']') + 1));
  return lower(host.substr(0, host.find(':')));
}

bool is_json(std::string_view content_type) {
  std::string type = lower(content_type);
  std::erase_if(type, [](char c) { return c == ' ' || c == '\t' || c == '"'; });
  return type == "application/json" || type == "application/json;charset=utf-8";
}

std::string percent_decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape =
        text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0;
    if (escape) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::int64_t unix_now() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

json::Value model_json(const llm::ModelInfo& model) {
  json::Object out;
  out.emplace_back("id", model.id);
  out.emplace_back("object", "model");
  out.emplace_back("created", model.created_unix_s);
  out.emplace_back("owned_by", "baltoro");
  out.emplace_back("root", model.id);
  out.emplace_back("parent", nullptr);
  out.emplace_back("context_length", model.max_context_tokens);  // Moonshot's name, then vLLM's
  out.emplace_back("max_model_len", model.max_context_tokens);
  out.emplace_back("supports_reasoning", model.thinks);
  out.emplace_back("supports_image_in", false);
  out.emplace_back("supports_video_in", false);
  if (!model.arithmetic.empty()) out.emplace_back("arithmetic", model.arithmetic);
  return out;
}

// What may be read may be asked for without its body, too (RFC 9110 9.1).
bool fits_method(std::string_view method, std::string_view wanted) {
  return method == wanted || (method == "HEAD" && wanted == "GET");
}

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

// Names what decides an answer beside the request: model, family and arithmetic.
std::string fingerprint_of(const llm::ModelInfo& model) {
  const std::string text =
      fmt::format("{}\n{}\n{}\n{}", model.id, model.family, model.arithmetic, model.created_unix_s);
  return "fp_" + to_hex(sha256(std::as_bytes(std::span(text)))).substr(0, 12);
}

std::unique_ptr<Reply> json_reply(const json::Value& body) { return make_reply({.body = json::dump(body)}); }

}  // namespace

Api::Api(ApiOptions options, llm::Backend& backend)
    : options_(std::move(options)),
      backend_(backend),
      fingerprint_(fingerprint_of(backend.model())),
      seal_key_(options_.seal_key ? *options_.seal_key : SealKey::random()),
      responses_({.limits = options_.limits,
                  .store = options_.store,
                  .seal = Seal(seal_key_.derive("responses: reasoning")),
                  .now_unix_s = unix_now}),
      signer_(seal_key_) {
  // The JSON library sets itself up at its first use, where it cannot bear to be out of memory.
  BALTORO_CHECK(json::parse("{}").ok(), "an empty object is JSON");
}

std::span<const Api::Route> Api::routes() {
  static constexpr Route kRoutes[] = {
      {"POST", "/v1/chat/completions", "chat_completions", &Api::chat},
      {"POST", "/v1/completions", "completions", &Api::completion},
      {"POST", "/v1/messages", "messages", &Api::messages},
      {"POST", "/v1/messages/count_tokens", "count_tokens", &Api::message_tokens},
      {"POST", "/v1/responses", "responses", &Api::responses},
      {"POST", "/v1/responses/input_tokens", "count_tokens", &Api::count_response},
      {"GET", "/v1/responses/", "responses", &Api::response_input, true, true, "/input_items"},
      {"POST", "/v1/responses/", "responses", &Api::cancel_response, true, true, "/cancel"},
      {"GET", "/v1/responses/", "responses", &Api::response, true, true},
      {"DELETE", "/v1/responses/", "responses", &Api::delete_response, true, true},
      {"GET", "/v1/models", "models", &Api::models},
      {"GET", "/v1/models/", "models", &Api::one_model, true, true, "", true},
      {"POST", "/v1/tokenize", "tokenize", &Api::tokenize},
      {"POST", "/v1/detokenize", "detokenize", &Api::detokenize},
      {"POST", "/v1/tokenizers/estimate-token-count", "count_tokens", &Api::count_tokens},
      {"GET", "/metrics", "metrics", &Api::metrics_text},
      {"GET", "/health", "health", &Api::health, false},
      {"GET", "/", "page", &Api::page, false},
      {"GET", "/page/", "page", &Api::page, false, true},
      {"GET", "/health/ready", "health", &Api::health, false},
      {"GET", "/health/live", "health", &Api::alive, false},
  };
  return kRoutes;
}

bool Api::Route::fits(std::string_view wanted) const {
  if (!prefix) return wanted == path;
  if (wanted.size() <= path.size() + suffix.size() || !wanted.starts_with(path) || !wanted.ends_with(suffix))
    return false;
  wanted.remove_prefix(path.size());
  wanted.remove_suffix(suffix.size());
  return slashes || wanted.find('/') == wanted.npos;
}

// Whether the model is at work for it.
bool Api::Route::generates() const {
  return answer == &Api::chat || answer == &Api::completion || answer == &Api::messages || answer == &Api::responses;
}

const Api::Route* Api::find_route(const Request& request) {
  const Route* other_method = nullptr;
  const std::string_view path = anthropic_route(request.path);
  for (const Route& route : routes()) {
    if (!route.fits(path)) continue;
    if (fits_method(request.method, route.method)) return &route;
    if (other_method == nullptr) other_method = &route;
  }
  return other_method;
}

bool Api::host_allowed(const Request& head) const {
  if (options_.allowed_hosts.empty()) return true;
  const std::string* host = head.header("host");
  return host != nullptr && std::ranges::find(options_.allowed_hosts, host_name(*host)) != options_.allowed_hosts.end();
}

bool Api::key_accepted(const Request& head) const {
  return options_.keys.open() || options_.keys.accepts(presented_key(head));
}

// Errors in the shape that the client knows.
Response Api::refusal(const Request& head, const Error& error) {
  return speaks_anthropic(head) ? anthropic_error_response(error, head.id) : openai_error_response(error);
}
Response Api::refusal(const Request& head, int status, std::string_view message) {
  return speaks_anthropic(head) ? anthropic_status_response(status, message, head.id)
                                : openai_status_response(status, message);
}

// One tenant a key, by a digest that says nothing of it; without keys all share.
std::string Api::tenant_of(const Request& head) const {
  if (options_.keys.open()) return {};
  const std::string_view key = presented_key(head);
  return to_hex(sha256(std::as_bytes(std::span(key))));
}

std::optional<Response> Api::reject_early(const Request& head) {
  const Route* route = find_route(head);
  if (!host_allowed(head)) {
    return refusal(head, {Errc::kPermissionDenied, "this Host is not served here (see --allow-host)"});
  }
  if ((route == nullptr || route->needs_key) && !key_accepted(head)) {
    return refusal(head,
                   {Errc::kUnauthenticated, "a valid API key is needed: Authorization: Bearer KEY, or x-api-key: KEY"});
  }
  if (route == nullptr) return refusal(head, {Errc::kNotFound, "no such path here"});
  if (!fits_method(head.method, route->method)) {
    std::string methods;
    for (const Route& other : routes()) {
      if (other.path != route->path || other.suffix != route->suffix) continue;
      methods.append(methods.empty() ? "" : ", ").append(other.method == "GET" ? "GET, HEAD" : other.method);
    }
    Response response = refusal(head, 405, fmt::format("{} is needed here", route->method));
    response.headers.emplace_back("Allow", methods);
    return response;
  }
  if (draining_ && route->method == "POST") {
    return refusal(head, {Errc::kUnavailable, "the server is shutting down"});
  }
  if (const std::string* encoding = head.header("content-encoding"); encoding && lower(*encoding) != "identity") {
    return refusal(head, 415, "Content-Encoding is not accepted: send the body as it is");
  }
  const std::string* type = head.header("content-type");
  if (route->method == "POST" && type != nullptr && !is_json(*type)) {
    return refusal(head, 415, "Content-Type application/json (UTF-8) is needed");
  }
  return {};
}

std::unique_ptr<Reply> Api::handle(Request request, std::function<void()> wake) {
  const Route* route = find_route(request);
  BALTORO_CHECK(route != nullptr, "a request without a route was not rejected");
  const WorkClock::Piece timed(handling_);
  const std::string* key = route->generates() ? request.header("idempotency-key") : nullptr;
  if (key == nullptr) return run(*route, request, std::move(wake));
  Sha256 digest;
  digest.update(std::as_bytes(std::span(request.body)));
  const IdempotentAnswers::Asked asked{
      .whose = fmt::format("{} {}", tenant_of(request), route->path), .key = *key, .body = digest.finish()};
  auto given = once_.answer(asked, std::move(wake), [&](Wake woken) { return run(*route, request, std::move(woken)); });
  if (given.reply) return std::move(given.reply);
  Response response = refusal(request, given.status, given.message);
  response.headers.emplace_back("X-Should-Retry", "false");  // SDKs send a 409 again
  return make_reply(std::move(response));
}

std::unique_ptr<Reply> Api::run(const Route& route, Request& request, Wake wake) {
  Answer answer = (this->*route.answer)(request, std::move(wake));
  return answer.ok() ? *std::move(answer) : refused(request, answer.error());
}

std::unique_ptr<Reply> Api::refused(const Request& request, const Error& error) {
  metrics_.failed(error.code);
  if (http_status(error.code) == 500 && options_.log) {
    options_.log(fmt::format("{} error {}", request.id, log_safe(error.message)));
  }
  Response response = refusal(request, error);
  if (const auto account = account_of(request))
    std::ranges::copy(account->headers(), std::back_inserter(response.headers));
  return make_reply(std::move(response));
}

Response Api::protocol_error(const Request& head, int status, std::string_view message) {
  return refusal(head, status, message);
}

void Api::ended(const Request& request, const Ended& how) {
  const Route* route = find_route(request);
  const std::string_view endpoint = route == nullptr ? "other" : route->endpoint;
  metrics_.request_ended(endpoint, how.status, how.seconds);
  if (options_.log) options_.log(access_line(options_.log_format, utc_now(), endpoint, request, how));
}

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

// The part of an answer's making that no dialect sees. `call` was read from `body`, which `request` carried.
Api::Answer Api::start(const Request& request, const json::Value& body, Call call, const Wake& wake) {
  const auto account = account_of(request);
  if (!account && !options_.keys.open()) return Error{Errc::kUnauthenticated, "the API key is not valid any more"};
  CallOptions defaults = options_.call;
  if (account) defaults.handling.priority = account->limits().priority;
  BALTORO_TRY(CallOptions options, read_call_options(request, body, defaults));
  // A request may ask for a later place than its key's, never for a sooner one.
  if (account) options.handling.priority = std::max(options.handling.priority, account->limits().priority);
  const llm::CacheScope scope{.tenant = tenant_of(request), .salt = options.cache_salt};
  const auto complete = [&](auto& work) {
    work.handling = options.handling;
    work.handling.trace_id = request.trace.trace_id;
    work.cache_scope = scope;
    fill_sampling(work.sampling, options_.sampling);
  };
  for (auto& work : call.work) std::visit(complete, work);
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
    parts.tickets.push_back(*std::move(ticket));
    offset += call.n;
  }
  return std::make_unique<GenerationReply>(std::move(parts), metrics_);
}

// The account of the request's key; null where no keys are set.
std::shared_ptr<KeyAccount> Api::account_of(const Request& head) const {
  return options_.keys.open() ? nullptr : options_.keys.account(presented_key(head));
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

AnswerHead Api::openai_head(const std::string& id, const Call& call, bool include_usage) const {
  return {.id = id,
          .model = backend_.model().id,
          .created_unix_s = unix_now(),
          .system_fingerprint = fingerprint_,
          .n = call.n,
          .choices = call.choices,
          .include_usage = include_usage};
}

Api::Answer Api::chat(Request& request, Wake wake) {
  Call call;
  BALTORO_TRY(const json::Value body, parse_body(request.body, options_.limits));
  request.body = {};
  BALTORO_TRY(ChatCall read, parse_chat(body, options_.limits));
  BALTORO_TRY_STATUS(check_model(read.model));
  call.n = call.choices = read.request.limits.n;
  call.stream = read.stream;
  const AnswerHead head = openai_head("chatcmpl-" + request.id.substr(4), call, read.include_usage);
  call.writer = read.stream ? make_chat_stream_writer(head) : make_chat_writer(head);
  call.work.emplace_back(std::move(read.request));
  return start(request, body, std::move(call), wake);
}

Api::Answer Api::completion(Request& request, Wake wake) {
  Call call;
  BALTORO_TRY(const json::Value body, parse_body(request.body, options_.limits));
  request.body = {};
  BALTORO_TRY(CompletionCall read, parse_completion(body, options_.limits));
  BALTORO_TRY_STATUS(check_model(read.model));
  call.n = read.requests.front().limits.n;
  call.choices = static_cast<std::int32_t>(read.requests.size()) * call.n;
  call.stream = read.stream;
  const AnswerHead head = openai_head("cmpl-" + request.id.substr(4), call, read.include_usage);
  call.writer = read.stream ? make_completion_stream_writer(head) : make_completion_writer(head);
  for (llm::CompletionRequest& one : read.requests) call.work.emplace_back(std::move(one));
  return start(request, body, std::move(call), wake);
}

Api::Answer Api::models(Request& request, Wake) {
  if (speaks_anthropic(request)) {
    BALTORO_TRY(const json::Value page, anthropic_models(backend_.model(), request.query));
    return json_reply(page);
  }
  json::Value out;
  out.set("object", "list");
  out.set("data", json::Array{model_json(backend_.model())});
  return json_reply(out);
}

Api::Answer Api::one_model(Request& request, Wake) {
  constexpr std::string_view kPrefix = "/v1/models/";
  BALTORO_TRY_STATUS(check_model(percent_decode(anthropic_route(request.path).substr(kPrefix.size()))));
  if (speaks_anthropic(request)) return json_reply(anthropic_model(backend_.model()));
  return json_reply(model_json(backend_.model()));
}

Api::Answer Api::tokenize(Request& request, Wake) {
  BALTORO_TRY(json::Value body, parse_body(request.body, options_.limits));
  FieldReader reader(body, "");
  const std::string* text = reader.string("prompt");
  if (text == nullptr) text = reader.string("text");
  if (text == nullptr) reader.missing("prompt", "a string");
  if (!reader.ok()) return reader.status().error();
  BALTORO_TRY(std::vector<std::int32_t> ids, backend_.tokenize(*text, false));
  json::Value out;
  out.set("count", static_cast<std::int64_t>(ids.size()));
  out.set("max_model_len", backend_.model().max_context_tokens);
  json::Array tokens(ids.begin(), ids.end());
  out.set("tokens", std::move(tokens));
  return json_reply(out);
}

Api::Answer Api::detokenize(Request& request, Wake) {
  BALTORO_TRY(json::Value body, parse_body(request.body, options_.limits));
  FieldReader reader(body, "");
  const json::Array* tokens = reader.array("tokens", options_.limits.max_json_values);
  if (tokens == nullptr) reader.missing("tokens", "an array of token ids");
  std::vector<std::int32_t> ids;
  for (std::size_t i = 0; reader.ok() && i < tokens->size(); ++i) {
    const json::Value& id = (*tokens)[i];
    if (id.kind() != json::Kind::kInt || id.as_int() < 0 || id.as_int() > INT32_MAX) {
      reader.fail_with(field_error(reader.path("tokens", i), "a token id is needed"));
    } else {
      ids.push_back(static_cast<std::int32_t>(id.as_int()));
    }
  }
  if (!reader.ok()) return reader.status().error();
  BALTORO_TRY(const std::string text, backend_.detokenize(ids));
  return json_reply(json::Object{{"prompt", utf8_sanitize(text)}});
}

Api::Answer Api::count_tokens(Request& request, Wake) {
  BALTORO_TRY(json::Value body, parse_body(request.body, options_.limits));
  BALTORO_TRY(ChatCall call, parse_chat(body, options_.limits));
  BALTORO_TRY_STATUS(check_model(call.model));
  BALTORO_TRY(call.request.cache_scope, scope_of(request, body));
  BALTORO_TRY(std::int64_t count, backend_.count_tokens(call.request));
  json::Value out;
  out.set("data", json::Object{{"total_tokens", count}});
  return json_reply(out);
}

Api::Answer Api::metrics_text(Request&, Wake) {
  return make_reply(
      {.content_type = "text/plain; version=0.0.4; charset=utf-8", .body = metrics_.text(counters(), backend_)});
}

Api::Answer Api::page(Request& request, Wake) {
  BALTORO_TRY(Response response, page_response(request));
  return make_reply(std::move(response));
}

// Alive is not ready: who restarts servers looks here, who sends them work looks at health.
Api::Answer Api::alive(Request&, Wake) {
  if (stuck_) return make_reply({.status = 503, .body = R"({"status":"stuck"})"});
  return make_reply({.body = R"({"status":"alive"})"});
}

Api::Answer Api::health(Request&, Wake) {
  if (stuck_) return make_reply({.status = 503, .body = R"({"status":"stuck"})"});
  if (draining_) return make_reply({.status = 503, .body = R"({"status":"draining"})"});
  return make_reply({.body = R"({"status":"ok"})"});
}

}  // namespace baltoro::server
