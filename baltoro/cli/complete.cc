// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "baltoro/base/clock.h"
#include "baltoro/base/json.h"
#include "baltoro/base/process_memory.h"
#include "baltoro/base/progress.h"
#include "baltoro/base/terminal.h"
#include "baltoro/cli/command.h"
#include "baltoro/cli/event_queue.h"
#include "baltoro/cli/failure.h"
#include "baltoro/cli/interrupt_watch.h"
#include "baltoro/cli/local_model.h"
#include "baltoro/cli/model_options.h"
#include "baltoro/cli/sampling_options.h"

namespace baltoro::cli {
namespace {

constexpr std::size_t kMaxPromptBytes = 256 << 20;

struct CompleteOptions {
  ModelOptions model;
  SamplingOptions sampling;
  std::string prompt = "-";  // "-": standard input
  bool json = false, stats = false, echo = false;
};

Result<std::string> prompt_text(const CompleteOptions& options) {
  if (options.prompt != "-") return options.prompt;
  std::string text;
  std::array<char, 65536> buffer;  // NOLINT: filled by fread
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), stdin)) {
    text.append(buffer.data(), count);
    if (text.size() > kMaxPromptBytes) {
      return Error{Errc::kTooLarge, "[complete] a prompt of at most 256 MiB needed, standard input has more"};
    }
  }
  return text;
}

// "experts: 41 of 96 in memory, 1.37 GB read at 2.3 GB/s (io_uring, O_DIRECT), ..."; nothing without experts.
std::string streaming_line(const llm::BackendMetrics& metrics) {
  const auto get = [&](std::string_view name) {
    for (const auto& [key, value] : metrics) {
      if (key == name) return value;
    }
    return 0.0;
  };
  const double hits = get("expert_cache_hits_total"), late = get("expert_cache_late_total");
  const double wanted = hits + late + get("expert_cache_misses_total");
  if (wanted == 0) return "experts: none used";
  const double bytes = get("expert_read_bytes_total"), seconds = get("expert_read_seconds_total");
  return fmt::format(
      "experts: {:.0f} of {:.0f} reads of a layer found in memory ({:.1f} %), {:.0f} on their way; {} read at {}/s "
      "({}, "
      "{}); {:.0f} of {:.0f} read ahead were used; {:.2f} s waited for the disk; {:.0f} kept in {}",
      hits, wanted, 100 * hits / wanted, late, format_bytes(static_cast<std::uint64_t>(bytes)),
      format_bytes(static_cast<std::uint64_t>(seconds > 0 ? bytes / seconds : 0)),
      get("expert_reader_io_uring") > 0 ? "io_uring" : "pread",
      get("expert_reader_direct") > 0 ? "O_DIRECT" : "page cache", get("expert_read_ahead_used_total"),
      get("expert_read_ahead_total"), get("expert_stall_seconds_total"), get("expert_cache_slots"),
      format_bytes(static_cast<std::uint64_t>(get("expert_cache_bytes"))));
}

// Follows one completion and writes it as it comes: plain text, or JSON lines.
class Completion {
 public:
  explicit Completion(const CompleteOptions& options)
      : options_(options), escaped_(is_terminal(STDOUT_FILENO)), start_(steady_seconds()) {}

  void apply(const llm::Event& event, double seconds) {
    if (const auto* prefill = std::get_if<llm::PrefillProgress>(&event.body)) {
      show_prefill(*prefill);
    } else if (const auto* content = std::get_if<llm::ContentDelta>(&event.body)) {
      progress_.reset();
      if (first_ == 0) first_ = seconds;
      text(event.choice, content->text);
    } else if (const auto* finished = std::get_if<llm::Finished>(&event.body)) {
      progress_.reset();
      end_ = seconds;
      if (first_ == 0) first_ = end_;
      finished_ = *finished;
      if (options_.json) end_line(event.choice);
    }
  }
  bool done() const { return finished_.has_value(); }

  int finish(const llm::BackendMetrics& metrics) {
    if (!options_.json && open_line_ && escaped_) write("\n");
    if (options_.stats) print_stats();
    if (options_.model.memory > 0 && !options_.json) fmt::print(stderr, "{}\n", streaming_line(metrics));
    if (finished_->reason == llm::Finish::kError) return report_error("complete", finished_->error);
    return finished_->reason == llm::Finish::kCancelled ? kExitInterrupted : 0;
  }

 private:
  // On stderr, and only where that is a terminal and the prompt takes its time.
  void show_prefill(const llm::PrefillProgress& prefill) {
    if (!progress_ && first_ == 0) {
      progress_.emplace(ProgressOptions{
          .label = "prompt", .total = static_cast<std::uint64_t>(prefill.tokens_total), .unit = "tokens"});
    }
    if (!progress_) return;
    progress_->add(static_cast<std::uint64_t>(prefill.tokens_done) - progress_->done());
  }

  void text(std::int32_t choice, const std::string& piece) {
    if (options_.json) {
      json::Value line(json::Object{{"event", "text"}, {"choice", choice}, {"text", piece}});
      return write(json::dump(line) + "\n");
    }
    if (!piece.empty()) open_line_ = piece.back() != '\n';
    write(escaped_ ? escape_for_terminal(piece) : piece);
  }

  void end_line(std::int32_t choice) {
    const llm::Usage& usage = finished_->usage;
    write(json::dump(json::Value(json::Object{{"event", "end"},
                                              {"choice", choice},
                                              {"finish", llm::finish_name(finished_->reason)},
                                              {"tokens_prompt", usage.tokens_prompt},
                                              {"tokens_cached", usage.tokens_cached},
                                              {"tokens_output", usage.tokens_output},
                                              {"first_token_seconds", first_ - start_},
                                              {"seconds", end_ - start_},
                                              {"resident_bytes", process_memory().resident_bytes}})) +
          "\n");
  }

  void print_stats() const {
    const llm::Usage& usage = finished_->usage;
    const double decode = end_ - first_;
    const ProcessMemory memory = process_memory();
    fmt::print(stderr,
               "prompt {} tokens ({} cached), first token after {:.3f} s; {} tokens out in {:.3f} s, {:.1f} tokens/s "
               "after the first; {:.1f} MiB resident, {:.1f} MiB at most; ended by {}\n",
               usage.tokens_prompt, usage.tokens_cached, first_ - start_, usage.tokens_output, end_ - start_,
               usage.tokens_output > 1 && decode > 0 ? static_cast<double>(usage.tokens_output - 1) / decode : 0.0,
               static_cast<double>(memory.resident_bytes) / (1 << 20),
               static_cast<double>(memory.peak_resident_bytes) / (1 << 20), llm::finish_name(finished_->reason));
  }

  static void write(std::string_view bytes) {
    (void)std::fwrite(bytes.data(), 1, bytes.size(), stdout);
    std::fflush(stdout);
  }

  const CompleteOptions& options_;
  bool escaped_;
  bool open_line_ = false;
  double start_, first_ = 0, end_ = 0;
  std::optional<llm::Finished> finished_;
  std::optional<Progress> progress_;  // while the prompt is read
};

int run_complete(const CompleteOptions& options) {
  auto prompt = prompt_text(options);
  if (!prompt.ok()) return report_error("complete", prompt.error());
  const auto backend = open_local_model(options.model);
  if (!backend.ok()) return report_error("complete", backend.error());

  llm::CompletionRequest request;
  request.prompt = *std::move(prompt);
  request.sampling = options.sampling.sampling;
  request.limits = options.sampling.limits;
  request.echo = options.echo;
  const InterruptWatch interrupt;
  const auto events = std::make_shared<EventQueue>();
  Completion completion(options);
  const auto ticket =
      (*backend)->complete(std::move(request), [events](const llm::Event& event) { events->push(event); });
  if (!ticket.ok()) return report_error("complete", ticket.error());
  bool cancelled = false;
  while (!completion.done()) {
    for (const auto& [event, seconds] : events->take(60, cancelled ? -1 : interrupt.fd())) {
      completion.apply(event, seconds);
    }
    if (!cancelled && interrupt.interrupted()) {
      cancelled = true;
      (*ticket)->cancel();
    }
  }
  return completion.finish((*backend)->metrics());
}

}  // namespace

void add_complete(CLI::App& app) {
  const auto options = std::make_shared<CompleteOptions>();
  CLI::App& complete = *app.add_subcommand("complete", "Continue a text, without a chat format");
  add_model_options(complete, options->model, ChatFlags::kNo);
  complete.add_option("--prompt", options->prompt, "The text to continue (\"-\", the default: standard input)")
      ->type_name("TEXT");
  complete.add_flag("--echo", options->echo, "Print the prompt in front");
  complete.add_flag("--json", options->json, "One JSON event a line on stdout");
  complete.add_flag("--stats", options->stats, "Time to first token, tokens/s and memory on stderr");
  add_sampling_options(complete, options->sampling);
  complete.callback([options] { finish(run_complete(*options)); });
}

}  // namespace baltoro::cli
