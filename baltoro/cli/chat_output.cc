// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/chat_output.h"

#include <fmt/format.h>

#include <algorithm>

#include "baltoro/base/terminal.h"
#include "baltoro/base/utf8.h"

namespace baltoro::cli {
namespace {

constexpr std::string_view kReset = "\x1b[0m", kDim = "\x1b[2m", kCyan = "\x1b[36m", kGreen = "\x1b[32m",
                           kRed = "\x1b[31m", kBold = "\x1b[1m", kClearLine = "\r\x1b[K";
constexpr std::size_t kMaxShownBytes = 2000;  // of a tool's result
constexpr double kProgressAfterSeconds = 2;

// At most `limit` bytes, cut at a whole code point, with a note of what is left out.
std::string shortened(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  std::string_view head = text.substr(0, limit);
  head.remove_suffix(utf8_incomplete_suffix(head));
  return fmt::format("{} ... ({} bytes in all)", head, text.size());
}

class TextOutput final : public ChatOutput {
 public:
  explicit TextOutput(const TextOutputOptions& options) : options_(options) {}

  void banner(const ChatBanner& banner) override {
    const auto shown = [](const std::string& text) { return escape_for_terminal(text); };
    aside(kBold, fmt::format("{}", shown(banner.model.id)));
    const std::string& arithmetic = banner.model.arithmetic;
    aside({}, fmt::format("  {} format, {} tokens of context{}{}\n", shown(banner.model.family),
                          banner.model.max_context_tokens, arithmetic.empty() ? "" : ", ", arithmetic));
    if (!banner.tools.empty())
      aside({}, fmt::format("Tools: {}\n", shown(fmt::format("{}", fmt::join(banner.tools, ", ")))));
    for (std::size_t i = 0; i < banner.examples.size(); ++i) {
      aside({}, i == 0 ? "Try:   " : "       ");
      aside(kGreen, shown(banner.examples[i]));
      aside({}, "\n");
    }
    aside(kDim, "/help shows the commands. Ctrl-C stops an answer, Ctrl-D quits.\n");
  }

  void prefill(std::int64_t done, std::int64_t total, double seconds) override {
    if (!options_.color || seconds < kProgressAfterSeconds || done <= 0 || done >= total) return;
    const double left = seconds * static_cast<double>(total - done) / static_cast<double>(done);
    put(options_.asides,
        fmt::format("{}{}reading {} of {} tokens, about {:.0f} s left{}", kClearLine, kDim, done, total, left, kReset));
    progress_shown_ = true;
  }

  void reasoning(std::string_view text) override {
    if (!options_.show_reasoning || text.empty()) return;
    enter(State::kReasoning);
    aside(kDim, escape_for_terminal(text));
  }

  void content(std::string_view text) override {
    if (text.empty()) return;
    enter(State::kContent);
    const std::string shown = options_.answers_escaped ? escape_for_terminal(text) : std::string(text);
    put(options_.answers, shown);
    if (!shown.empty()) content_open_ = shown.back() != '\n';
  }

  void call_begin(std::string_view name) override {
    enter(State::kCall);
    aside(kCyan, fmt::format("call {} ", escape_for_terminal(name)));
  }
  void call_arguments(std::string_view text) override { aside(kCyan, one_line(text)); }
  void call_end(const text::ToolCall& /*call*/) override { enter(State::kNone); }

  void tool_result(const text::ToolCall& call, const ToolResult& result) override {
    enter(State::kNone);
    if (result.cancelled && options_.keys_echoed) aside({}, "\n");
    aside(result.failed ? kRed : kGreen, fmt::format("result {} {}\n", escape_for_terminal(call.name),
                                                     escape_for_terminal(shortened(result.text, kMaxShownBytes))));
  }

  void end_answer(const AnswerStats& stats) override {
    enter(State::kNone);
    if (stats.finish == llm::Finish::kLength) notice("(the answer reached its token limit)");
  }

  void notice(std::string_view text) override {
    enter(State::kNone);
    aside(kDim, escape_for_terminal(text) + "\n");
  }

  void error(const Error& error) override {
    enter(State::kNone);
    aside(kRed, fmt::format("error: {}\n", escape_for_terminal(error.message)));
  }

 private:
  enum class State { kNone, kReasoning, kContent, kCall };

  // Ends what was being written with a newline and begins the next.
  void enter(State next) {
    if (progress_shown_) put(options_.asides, kClearLine);
    progress_shown_ = false;
    if (state_ == next && next != State::kCall) return;
    if (state_ == State::kContent && content_open_) put(options_.answers, "\n");
    if (state_ == State::kReasoning || state_ == State::kCall) put(options_.asides, "\n");
    content_open_ = false;
    state_ = next;
    if (next == State::kReasoning && !options_.color) put(options_.asides, "(thinking) ");
  }

  // Arguments stay on the call's line: their line breaks are blanks outside JSON strings.
  static std::string one_line(std::string_view text) {
    std::string line = escape_for_terminal(text);
    std::replace(line.begin(), line.end(), '\n', ' ');
    return line;
  }

  void aside(std::string_view color, std::string_view text) {
    if (!options_.color || color.empty()) return put(options_.asides, text);
    put(options_.asides, fmt::format("{}{}{}", color, text, kReset));
  }

  static void put(std::FILE* out, std::string_view text) {
    (void)std::fwrite(text.data(), 1, text.size(), out);
    std::fflush(out);
  }

  TextOutputOptions options_;
  State state_ = State::kNone;
  bool content_open_ = false;    // the last content did not end with a newline
  bool progress_shown_ = false;  // a progress line stands where the next text goes
};

}  // namespace

std::unique_ptr<ChatOutput> make_text_output(const TextOutputOptions& options) {
  return std::make_unique<TextOutput>(options);
}

}  // namespace baltoro::cli
