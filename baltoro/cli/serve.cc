// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "baltoro/cli/command.h"
#include "baltoro/cli/failure.h"
#include "baltoro/cli/line_log.h"
#include "baltoro/cli/local_model.h"
#include "baltoro/cli/model_options.h"
#include "baltoro/cli/serve_api_options.h"
#include "baltoro/cli/serve_keys.h"
#include "baltoro/cli/serve_signals.h"
#include "baltoro/server/server.h"

namespace baltoro::cli {
namespace {

struct ServeOptions {
  ModelOptions model;
  ServeApiOptions api;
  std::string host = "127.0.0.1", model_name, script;
  int port = 8080;
  ServeKeyOptions keys;
  std::vector<std::string> allow_hosts, model_aliases;
  std::int64_t max_sequences = 32, max_batch_tokens = 512, max_queue = 256, kv_tokens = 0, max_choices = 8;
  std::int64_t max_queue_tokens = 0, max_identical_calls = 0;
  bool stop_repetition = false;
  double max_gap_ms = 1000, priority_seconds = 10, request_seconds = 0;
  std::int64_t max_body_mib = 16, max_connections = 4096;
  double drain_seconds = 30, body_seconds = 60, idle_seconds = 75, write_seconds = 30, answer_seconds = 7200;
  double watchdog_seconds = 600;
  bool quiet = false;
  std::string kv_dir;
  std::int64_t kv_disk = std::int64_t{16} << 30;
  bool no_prefix_cache = false, no_replay = false, keep_volatile_headers = false, debug_prefix = false;
  std::string log_format = "text";
};

// Whoever runs the server reads these, and must not be able to hold it up.
class ServeLog {
 public:
  void line(std::string_view text) { lines_.write(text); }
  void notice(std::string_view text) { lines_.write(fmt::format("baltoro serve: {}", text)); }

 private:
  LineLog lines_{STDERR_FILENO};
};

Result<server::ServerOptions> server_options(const ServeOptions& options, const std::shared_ptr<ServeLog>& log) {
  server::ServerOptions out;
  out.http.host = options.host;
  out.http.port = static_cast<std::uint16_t>(options.port);
  out.http.parser.max_body_bytes = static_cast<std::size_t>(options.max_body_mib) << 20;
  out.http.max_connections = static_cast<std::size_t>(options.max_connections);
  out.http.body_seconds = options.body_seconds;
  out.http.idle_seconds = options.idle_seconds;
  out.http.write_seconds = options.write_seconds;
  out.api.max_answer_seconds = options.answer_seconds;
  out.api.call.handling.max_identical_calls = static_cast<std::int32_t>(options.max_identical_calls);
  out.api.call.handling.stop_repetition = options.stop_repetition;
  if (options.request_seconds > 0) out.api.call.handling.timeout_seconds = options.request_seconds;
  out.api.allowed_hosts = options.allow_hosts;
  out.api.model_aliases = options.model_aliases;
  out.watchdog.limit_seconds = options.watchdog_seconds;
  out.watchdog.notice = [log](std::string_view text) { log->notice(text); };
  out.api.limits.max_choices = options.max_choices;
  out.api.log_format = options.log_format == "json" ? server::LogFormat::kJson : server::LogFormat::kText;
  BALTORO_TRY_STATUS(apply_serve_api_options(options.api, out.api));
  if (!options.quiet) out.api.log = [log](std::string_view text) { log->line(text); };
  BALTORO_TRY(const std::vector<server::KeyEntry> keys, read_serve_keys(options.keys));
  out.api.keys = server::KeySet::of(keys);
  if (out.api.keys.open() && !server::is_loopback(options.host)) {
    log->notice(fmt::format("warning: {} is reachable from outside and no --api-key is set", options.host));
  }
  return out;
}

Result<std::unique_ptr<llm::LocalBackend>> open_backend(const ServeOptions& options,
                                                        const std::shared_ptr<ServeLog>& log) {
  BALTORO_TRY(llm::LocalOptions local, local_options(options.model));
  local.model_id = options.model_name;
  local.max_sequences = options.max_sequences;
  local.max_batch_tokens = options.max_batch_tokens;
  local.max_queue = options.max_queue;
  local.max_queue_tokens = options.max_queue_tokens;
  local.max_gap_seconds = options.max_gap_ms / 1000;
  local.priority_seconds = options.priority_seconds;
  local.kv_tokens = options.kv_tokens;
  local.script_path = options.script;
  local.prefix_cache = !options.no_prefix_cache;
  if (options.no_replay) local.kept_turn_bytes = 0;
  local.keep_volatile_headers = options.keep_volatile_headers;
  local.kv_dir = options.kv_dir;
  local.kv_disk_bytes = options.kv_disk;
  local.log = [log](std::string_view text) { log->notice(text); };
  if (options.debug_prefix) local.prefix_log = [log](std::string_view text) { log->line(text); };
  return llm::LocalBackend::open(std::move(local));
}

void reload_keys(const ServeKeyOptions& options, server::KeySet& keys, ServeLog& log) {
  const auto entries = read_serve_keys(options);
  if (!entries.ok()) {
    log.notice("the keys stay as they are: " + entries.error().message);
  } else if (entries->empty() != keys.open()) {
    log.notice("the keys stay as they are: with or without keys is decided at the start");
  } else {
    keys.replace(*entries);
    log.notice(fmt::format("{} keys from now on", entries->size()));
  }
}

// SIGHUP reads the keys again. The first SIGINT or SIGTERM lets what runs end, the second ends it with an error that
// clients can read, the third is as without us.
void serve_until_stopped(const ServeOptions& options, server::Server& server, server::KeySet& keys,
                         ServeSignals& signals, ServeLog& log) {
  using Came = ServeSignals::Came;
  for (Came came = signals.wait(-1); came != Came::kStop; came = signals.wait(-1)) reload_keys(options.keys, keys, log);
  log.notice(fmt::format("finishing what runs, {:g} s at most; once more to end it now", options.drain_seconds));
  std::atomic<bool> drained = false;
  std::thread drain([&] {
    server.drain(options.drain_seconds);
    drained = true;
  });
  bool hurried = false;
  while (!drained) {
    if (signals.wait(0.05) != Came::kStop) continue;
    if (hurried) std::_Exit(130);
    hurried = true;
    server.hurry();
  }
  drain.join();
}

int run_serve(const ServeOptions& options) {
  std::signal(SIGPIPE, SIG_IGN);  // a reader of our output that leaves must not end the server
  const auto log = std::make_shared<ServeLog>();
  auto choices = server_options(options, log);
  if (!choices.ok()) return report_error("serve", choices.error());
  const auto backend = open_backend(options, log);
  if (!backend.ok()) return report_error("serve", backend.error());
  server::KeySet keys = choices->api.keys;  // shares its state
  ServeSignals signals;                     // its descriptor is there before clients can take the last one
  const auto server = server::Server::start(*std::move(choices), **backend);
  if (!server.ok()) return report_error("serve", server.error());
  const llm::ModelInfo model = (*backend)->model();
  const bool v6 = options.host.find(':') != std::string::npos;
  fmt::print("serving {} on http://{}{}{}:{}/v1 ({} tokens of context{})\n", model.id, v6 ? "[" : "", options.host,
             v6 ? "]" : "", (*server)->port(), model.max_context_tokens,
             model.arithmetic.empty() ? "" : ", " + model.arithmetic);
  std::fflush(stdout);
  serve_until_stopped(options, **server, keys, signals, *log);
  log->notice("done");
  return 0;
}

void add_limits(CLI::App& app, ServeOptions& options) {
  const auto positive = [&](const char* name, auto& value, const char* text) {
    app.add_option(name, value, text)->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))->capture_default_str();
  };
  positive("--max-sequences", options.max_sequences, "Answers computed at once");
  positive("--max-batch-tokens", options.max_batch_tokens, "Tokens of one step");
  positive("--max-queue", options.max_queue, "Requests that may wait; beyond: 429");
  positive("--max-choices", options.max_choices, "The largest n of a request");
  positive("--max-body-mib", options.max_body_mib, "The largest request body; beyond: 413");
  positive("--max-connections", options.max_connections, "Open connections; beyond: 503");
  app.add_option("--max-queue-tokens", options.max_queue_tokens,
                 "Prompt tokens that may wait; beyond: 429 (0: no limit)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40))
      ->capture_default_str();
  app.add_option("--max-gap-ms", options.max_gap_ms,
                 "Prompts take no more of a step than lets running answers go on after this time (0: no limit)")
      ->check(CLI::Range(0.0, 1e7))
      ->capture_default_str()
      ->type_name("MS");
  app.add_option("--kv-tokens", options.kv_tokens, "Tokens the KV cache holds (0: what memory allows)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40));
  app.add_option("--max-identical-calls", options.max_identical_calls,
                 "The same tool call more often than this in a conversation ends the answer (0: it is only counted)")
      ->check(CLI::Range(0, 1000));
  app.add_flag("--stop-repetition", options.stop_repetition, "Thinking or text that goes round in circles ends");
  const auto time = [&](const char* name, double& value, const char* text) {
    app.add_option(name, value, text)->check(CLI::Range(0.0, 86400.0))->capture_default_str()->type_name("S");
  };
  time("--drain-seconds", options.drain_seconds, "After SIGTERM: time for what runs");
  time("--body-seconds", options.body_seconds, "Time for a request body to arrive");
  time("--answer-seconds", options.answer_seconds, "Time for a whole answer (0: no limit)");
  time("--request-seconds", options.request_seconds, "Time for a request that names no timeout (0: no limit)");
  time("--priority-seconds", options.priority_seconds, "Waiting time that one step of priority is worth");
  time("--watchdog-seconds", options.watchdog_seconds,
       "A step of the model that takes longer turns /health red, with a line of what each thread does (0: never)");
  time("--idle-seconds", options.idle_seconds, "Time a connection may rest between requests");
  time("--write-seconds", options.write_seconds, "Time a client may leave its answer unread");
}

void add_cache(CLI::App& app, ServeOptions& options) {
  app.add_option("--kv-dir", options.kv_dir,
                 "Keep KV and sampled answers in this folder too, so that prompts are computed once over restarts")
      ->type_name("DIR");
  app.add_option("--kv-disk", options.kv_disk, "The most bytes that KV may take there [16GiB]")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 60))
      ->type_name("SIZE");
  app.add_flag("--no-prefix-cache", options.no_prefix_cache, "Compute every prompt whole");
  app.add_flag("--no-replay", options.no_replay, "Render earlier answers from their text, not from what was sampled");
  app.add_flag("--keep-volatile-headers", options.keep_volatile_headers,
               "Leave x-anthropic-billing-header lines in front of system prompts");
  app.add_flag(
      "--debug-prefix", options.debug_prefix,
      "A line per request on stderr: what was cached of its prompt and the token that ended it, with its text");
}

}  // namespace

void add_serve(CLI::App& app) {
  const auto options = std::make_shared<ServeOptions>();
  CLI::App& serve = *app.add_subcommand(
      "serve", "Answer the HTTP APIs of OpenAI and Anthropic: chat, completions, messages, models, metrics");
  add_model_options(serve, options->model, ChatFlags::kYes);
  serve.add_option("--host", options->host, "Address to listen on")->capture_default_str();
  serve.add_option("--port", options->port, "Port (0: any free one, printed)")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  serve.add_option("--model-name", options->model_name, "The model's name in the API (default: the folder's)");
  serve
      .add_option("--model-alias", options->model_aliases,
                  "A further name that requests may give; 'claude-*': all that begin so; may be repeated")
      ->type_name("NAME");
  add_serve_key_options(serve, options->keys);
  serve.add_option("--allow-host", options->allow_hosts, "A further name accepted in the Host header")
      ->type_name("NAME");
  serve.add_option("--log-format", options->log_format, "Lines on stderr, one for each request: text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  serve.add_flag("--quiet", options->quiet, "No line per request on stderr");
  serve
      .add_option("--scripted", options->script,
                  "For tests of clients: a TEST BACKEND that opens no weights; this script says what to answer")
      ->type_name("FILE");
  add_limits(serve, *options);
  add_cache(serve, *options);
  add_serve_api_options(serve, options->api);
  serve.callback([options] { finish(run_serve(*options)); });
}

}  // namespace baltoro::cli
