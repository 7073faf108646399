// SPDX-License-Identifier: Apache-2.0
// The seam between those who talk (server, command line, agents) and what answers: messages in, events out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "baltoro/base/histogram.h"
#include "baltoro/base/json.h"
#include "baltoro/base/result.h"
#include "baltoro/text/message.h"

namespace baltoro::llm {

// Sampling as a request states it; what is absent takes the family's default.
struct Sampling {
  std::optional<float> temperature, top_p, min_p, presence_penalty, frequency_penalty, repetition_penalty;
  std::optional<std::int32_t> top_k;
  std::optional<std::uint64_t> seed;
  std::vector<std::pair<std::int32_t, float>> logit_bias;
};

enum class ToolChoice : std::uint8_t { kAuto, kNone, kRequired, kNamed };

// What the answer's content must be.
enum class AnswerFormat : std::uint8_t { kText, kJsonObject, kJsonSchema };
struct ResponseFormat {
  AnswerFormat kind = AnswerFormat::kText;
  std::string name;     // kJsonSchema: what the request calls it
  json::Value schema;   // kJsonSchema
  bool strict = false;  // what cannot be enforced is an error, else it is loosened
};

// Common to chat and completion.
struct Limits {
  std::int32_t n = 1;
  std::optional<std::int64_t> max_tokens;  // absent: up to the context's end
  std::vector<std::string> stop;
  std::vector<std::int32_t> stop_token_ids;
  bool ignore_eos = false;
  bool logprobs = false;
  std::int32_t top_logprobs = 0;
};

// How a request is to be handled, whatever it asks: none of this changes an answer's tokens, only when they come and
// where it ends.
struct Handling {
  std::int32_t priority = 0;              // lower is sooner
  std::optional<double> timeout_seconds;  // from its arrival to its end; then it ends with kTimeout
  // An answer that calls a tool with the very same arguments more often than this, the conversation's calls counted,
  // ends with kRepetition. 0: such calls are only counted.
  std::int32_t max_identical_calls = 0;
  bool stop_repetition = false;  // reasoning or text that goes round in circles ends with kRepetition
  std::string trace_id = {};     // 32 hex digits of the caller's trace, for logs; empty: none
};

// Whose cached work a request may use and add to: requests whose scopes differ in either part never meet in the prefix
// cache, so that nobody can learn from timing or counts what others have asked. Both empty: the common scope.
struct CacheScope {
  std::string tenant;  // the server's: who asks
  std::string salt;    // the request's: a group of its own within the tenant
};

struct ChatRequest {
  text::Conversation conversation;
  Sampling sampling;
  Limits limits;
  ToolChoice tool_choice = ToolChoice::kAuto;
  std::string tool_choice_name;            // kNamed
  std::vector<std::string> allowed_tools;  // of those declared, the ones that may be called; empty: all
  bool parallel_tool_calls = true;
  std::optional<bool> thinking;    // absent: the family's default
  bool preserve_thinking = false;  // K2.5+: keep all reasoning of the history
  bool parse_special = false;      // special strings inside contents become control tokens
  ResponseFormat response_format;
  std::optional<std::int64_t> thinking_budget;  // tokens of reasoning in this answer, then its end is forced
  Handling handling;
  CacheScope cache_scope;
};

struct CompletionRequest {
  std::variant<std::string, std::vector<std::int32_t>> prompt;
  Sampling sampling = {};
  Limits limits = {};
  bool echo = false;  // the prompt comes back in front of the completion
  Handling handling = {};
  CacheScope cache_scope = {};
};

struct Logprob {
  std::string bytes;  // the token's own bytes; may be part of a character
  std::int32_t token = 0;
  float logprob = 0;
  std::vector<std::pair<std::string, float>> top;  // bytes, logprob; best first
};

struct Usage {
  std::int64_t tokens_prompt = 0, tokens_cached = 0, tokens_output = 0, tokens_reasoning = 0;
  // How often the most repeated of this answer's calls has come in the conversation, this answer included, byte for
  // byte; 0 without calls.
  std::int64_t identical_calls = 0;
};

// The stream of one choice: any number of deltas, then one Finish. Text is always whole code points.
struct ContentDelta {
  std::string text;
};
struct ReasoningDelta {
  std::string text;
};
struct ToolCallBegin {
  std::int32_t index;
  std::string id, name;
};
struct ToolCallArguments {
  std::int32_t index;
  std::string text;
};
struct ToolCallEnd {
  std::int32_t index;
};
struct LogprobDelta {
  std::vector<Logprob> tokens;
  bool prompt = false;
};
struct PrefillProgress {
  std::int64_t tokens_done, tokens_total;
  std::int64_t tokens_cached = 0;  // of tokens_done: known before
};
// kRepetition only where the request asked for it: see Handling.
enum class Finish : std::uint8_t { kStop, kLength, kToolCalls, kCancelled, kError, kRepetition };
const char* finish_name(
    Finish finish);  // "stop", "length", "tool_calls", "cancelled", "error", "repetition": logs and --json
struct Finished {
  Finish reason = Finish::kStop;
  std::optional<std::string> stop_string;  // the stop string that ended it
  Usage usage;                             // this choice's; tokens_prompt is the shared prompt's
  Error error;                             // kError
  double queue_seconds = 0;                // from the request to the start of its work
};
struct Event {
  std::int32_t choice = 0;
  std::variant<ContentDelta, ReasoningDelta, ToolCallBegin, ToolCallArguments, ToolCallEnd, LogprobDelta,
               PrefillProgress, Finished>
      body;
};

// Called from a backend thread, one call at a time for a request; must not block. The last event of each choice is
// Finished.
using EventSink = std::function<void(const Event&)>;

// A request under way. Destroying it cancels what still runs; events may still arrive until cancel() has returned and
// the choices' Finished came.
class Ticket {
 public:
  virtual ~Ticket() = default;
  virtual void cancel() = 0;
};

struct ModelInfo {
  std::string id;      // the folder's name unless given
  std::string family;  // "k2-thinking", ...
  std::int64_t max_context_tokens = 0;
  std::int64_t created_unix_s = 0;
  std::string arithmetic = {};  // "exact", "fast, dense int8", ...; empty: the backend has none
  bool thinks = false;          // reasons before it answers, unless told otherwise
};

// Gauges and counters that a backend offers, name -> value, in Prometheus spelling without prefix.
using BackendMetrics = std::vector<std::pair<std::string, double>>;
struct BackendHistogram {
  std::string name;  // in the same spelling
  std::string help;
  Histogram values;
};

// Something that answers. Implementations: local.h (engine + text), scripted.h (fixed answers, for tests).
class Backend {
 public:
  virtual ~Backend() = default;
  // Both check the request whole before the first event; the error names the offending field. Any thread.
  virtual Result<std::unique_ptr<Ticket>> chat(ChatRequest request, EventSink sink) = 0;
  virtual Result<std::unique_ptr<Ticket>> complete(CompletionRequest request, EventSink sink) = 0;
  virtual Result<std::vector<std::int32_t>> tokenize(const std::string& text, bool parse_special) = 0;
  // The bytes of those tokens, special tokens by name. kInvalidArgument with field "tokens" for an id that is none.
  virtual Result<std::string> detokenize(const std::vector<std::int32_t>& ids);
  virtual Result<std::int64_t> count_tokens(const ChatRequest& request) = 0;
  virtual ModelInfo model() const = 0;
  virtual BackendMetrics metrics() const = 0;
  virtual std::vector<BackendHistogram> histograms() const { return {}; }
  // How long the thread that computes has been at its present piece of work; 0: it waits for some. Any thread, at once.
  virtual double busy_seconds() const { return 0; }
  // Refuses new work, waits for the running to end up to the deadline, then cancels it.
  virtual void drain(double deadline_seconds) = 0;
};

}  // namespace baltoro::llm
