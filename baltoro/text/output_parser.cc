// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/output_parser.h"

#include <algorithm>

#include "baltoro/base/utf8.h"
#include "baltoro/text/call_arguments.h"
#include "baltoro/text/tool_ids.h"

namespace baltoro::text {
namespace {

constexpr std::string_view kThinkBeginText = "<think>";
constexpr std::string_view kThinkEndText = "</think>";
constexpr std::size_t kMaxHeadBytes = 1024;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// The declared tool that a mangled id such as "functions_x_1" or "functionsexec5" means, or an empty view.
std::string_view tool_of_mangled_id(std::string_view id, const std::vector<std::string>& tool_names) {
  constexpr std::string_view kPrefix = "functions";
  if (id.starts_with(kPrefix)) id.remove_prefix(kPrefix.size());
  std::string_view best;
  for (const std::string& name : tool_names) {
    if (name.size() <= best.size()) continue;
    const std::size_t at = !id.empty() && (id[0] == '_' || id[0] == '.' || id[0] == '-') ? 1 : 0;
    for (const std::size_t skip : {std::size_t{0}, at}) {
      if (!id.substr(skip).starts_with(name)) continue;
      const std::string_view rest = id.substr(skip + name.size());
      if (rest.find_first_not_of("_.-0123456789") == std::string_view::npos) best = name;
    }
  }
  return best;
}

// Works byte by byte, so that how the stream was cut cannot matter.
class MarkupParser : public OutputParser {
 public:
  explicit MarkupParser(ParserSettings settings)
      : settings_(std::move(settings)), arguments_(settings_.deepseek_calls), in_reasoning_(settings_.in_reasoning) {}

  void push(TokenId token, std::string_view bytes, bool special, std::vector<ParsedEvent>& out) override {
    begin(out);
    if (special) {
      end_text();
      const auto known = std::find_if(settings_.markers.begin(), settings_.markers.end(),
                                      [&](const auto& marker) { return marker.first == token; });
      if (known != settings_.markers.end()) {
        on_marker(known->second, bytes);
      } else {
        clean_ = false;
        settle();
      }
    } else {
      undecoded_.append(bytes);
      const std::size_t whole = undecoded_.size() - utf8_incomplete_suffix(undecoded_);
      on_text(utf8_sanitize(std::string_view(undecoded_).substr(0, whole)));
      undecoded_.erase(0, whole);
    }
    out_ = nullptr;
  }

  void finish(std::vector<ParsedEvent>& out) override {
    begin(out);
    end_text();
    settle();
    close_call();
    state_ = State::kText;
    out_ = nullptr;
  }

  bool in_reasoning() const override {
    return in_reasoning_ && (state_ == State::kText || state_ == State::kMaybeSection);
  }
  bool saw_tool_calls() const override { return calls_ > 0; }
  bool clean() const override { return clean_; }

 private:
  enum class State {
    kText,          // reasoning or content
    kMaybeSection,  // after the section's begin written as text: text again unless a call follows
    kSection,       // between calls
    kHead,          // after kCallBegin
    kName,          // DeepSeek V3/R1: after "function" and the separator, the line with the name
    kArguments,
    kBadCall,  // the rest of a malformed call, as content
  };

  void begin(std::vector<ParsedEvent>& out) {
    out_ = &out;
    first_ = out.size();
  }

  // ---- events
  void emit(std::string_view text, bool reasoning) {
    if (text.empty()) return;
    if (reasoning) {
      append_to<ParsedReasoning>(text);
    } else {
      append_to<ParsedContent>(text);
    }
  }

  // Joins text to this push's last event where that is of the same kind.
  template <typename Event>
  void append_to(std::string_view text) {
    if (out_->size() == first_ || !std::holds_alternative<Event>(out_->back())) out_->push_back(Event{});
    std::get<Event>(out_->back()).text += text;
  }

  void emit_arguments() {
    if (argument_text_.empty()) return;
    has_arguments_ = true;
    out_->push_back(ParsedCallArguments{calls_ - 1, argument_text_});
    argument_text_.clear();
  }

  void begin_call(std::string id, std::string name) {
    out_->push_back(ParsedCallBegin{calls_++, std::move(id), std::move(name)});
    head_.clear();
    arguments_ = CallArguments(settings_.deepseek_calls);
    has_arguments_ = false;
    state_ = State::kArguments;
  }

  void end_call(bool complete) {
    arguments_.finish(argument_text_);
    if (complete && !has_arguments_ && argument_text_.empty()) argument_text_ = "{}";
    emit_arguments();
    out_->push_back(ParsedCallEnd{calls_ - 1});
  }

  // ---- text
  void end_text() {  // a control token or the end cuts off what a code point lacks
    if (!undecoded_.empty()) on_text(utf8_sanitize(undecoded_));
    undecoded_.clear();
  }

  void on_text(std::string_view text) {
    for (const char c : text) on_byte(c);
    emit_arguments();
  }

  void on_byte(char c) {
    switch (state_) {
      case State::kText:
      case State::kSection:
        return scan(c);
      case State::kMaybeSection:
        if (is_space(c)) {
          held_ += c;
          return;
        }
        settle();
        return scan(c);
      case State::kHead:
        return on_head(c);
      case State::kName:
        return on_name(c);
      case State::kArguments:
        return arguments_.push(c, argument_text_);
      case State::kBadCall:
        return emit({&c, 1}, false);
    }
  }

  bool begins_text_marker(std::string_view text) const {
    if (state_ == State::kSection) return after_call_ && settings_.text_section_end.starts_with(text);
    return (settings_.think_as_text && at_start_ && kThinkBeginText.starts_with(text)) ||
           (settings_.think_as_text && in_reasoning_ && kThinkEndText.starts_with(text)) ||
           settings_.text_section_begin.starts_with(text);
  }

  // Text outside of calls, watching for markers spelled as text; `held_` is what may become one.
  void scan(char c) {
    held_ += c;
    if (!begins_text_marker(held_)) {
      held_.pop_back();
      release_held();
      held_ = c;
      if (!begins_text_marker(held_)) release_held();
    } else if (held_ == kThinkBeginText || held_ == kThinkEndText) {
      const Marker marker = held_ == kThinkBeginText ? Marker::kThinkBegin : Marker::kThinkEnd;
      held_.clear();
      on_marker(marker, {});
    } else if (state_ == State::kSection && held_ == settings_.text_section_end) {
      held_.clear();
      on_marker(Marker::kSectionEnd, {});
    } else if (state_ == State::kText && held_ == settings_.text_section_begin) {
      state_ = State::kMaybeSection;
    }
  }

  void release_held() {
    for (const char c : held_) plain(c);
    held_.clear();
  }

  // Gives up on a marker spelled as text.
  void settle() {
    if (state_ == State::kMaybeSection) state_ = State::kText;
    if (state_ == State::kText || state_ == State::kSection) release_held();
    release_lead();
  }

  void release_lead() {
    emit(lead_, in_reasoning_);
    lead_.clear();
  }

  void plain(char c) {
    if (is_space(c)) {
      if (after_call_) return;
      if (at_start_) {
        lead_ += c;
        return;
      }
    }
    release_lead();
    at_start_ = false;
    after_call_ = false;
    emit({&c, 1}, in_reasoning_ && state_ == State::kText);
  }

  // ---- calls
  void on_head(char c) {
    if (c == '{' && begin_call_from_head()) return on_byte(c);  // the separator is missing
    head_ += c;
    if (head_.size() > kMaxHeadBytes) reject_head();
  }

  void on_name(char c) {
    const std::string_view name = trim(head_);
    if (c == '{' || c == '`' || (c == '\n' && !name.empty())) {
      begin_call({}, std::string(name.empty() ? "function" : name));
      return on_byte(c);
    }
    head_ += c;
    if (head_.size() > kMaxHeadBytes) reject_head();
  }

  void reject_head() {
    clean_ = false;
    emit(head_, false);
    head_.clear();
    state_ = State::kBadCall;
  }

  // Begins the call that `head_` names; false when it names none.
  bool begin_call_from_head() {
    const std::string_view head = trim(head_);
    std::string_view name = settings_.deepseek_calls ? head : call_name_of_id(head);
    if (!settings_.deepseek_calls && head.find(':') == std::string_view::npos && !is_declared(name)) {
      if (const auto meant = tool_of_mangled_id(head, settings_.tool_names); !meant.empty()) name = meant;
    }
    if (name.empty()) return false;
    begin_call(settings_.deepseek_calls ? std::string() : std::string(head), std::string(name));
    return true;
  }

  void on_separator() {
    if (state_ != State::kHead) return;
    if (settings_.deepseek_calls && trim(head_) == "function") {
      head_.clear();
      state_ = State::kName;
    } else if (!begin_call_from_head()) {
      reject_head();
    }
  }

  bool is_declared(std::string_view name) const {
    return std::find(settings_.tool_names.begin(), settings_.tool_names.end(), name) != settings_.tool_names.end();
  }

  // A head that a call's end follows at once is a call without arguments, if it plainly names a tool.
  void end_head() {
    const std::string_view head = trim(head_);
    const std::string_view name = settings_.deepseek_calls ? head : call_name_of_id(head);
    const bool plain = state_ == State::kName ? !head.empty() : is_declared(name) || is_native_call_id(head, name);
    if (!plain) return reject_head();
    if (state_ == State::kName) {
      begin_call({}, std::string(head));
    } else {
      static_cast<void>(begin_call_from_head());
    }
    end_call(true);
  }

  // Ends a call whose end marker is missing. What a head without arguments was meant to be nobody knows: dropped.
  void close_call() {
    clean_ = clean_ && state_ != State::kArguments && state_ != State::kHead && state_ != State::kName;
    if (state_ == State::kArguments) end_call(false);
    head_.clear();
  }

  void on_marker(Marker marker, std::string_view bytes) {
    const bool is_think = marker == Marker::kThinkBegin || marker == Marker::kThinkEnd;
    clean_ = clean_ && !(is_think && state_ != State::kText && state_ != State::kSection);
    if (is_think && state_ == State::kArguments) return on_text(bytes);
    if (is_think && (state_ == State::kHead || state_ == State::kName || state_ == State::kBadCall)) return;
    if (state_ == State::kMaybeSection && (marker == Marker::kCallBegin || marker == Marker::kSectionBegin)) {
      held_.clear();
      in_section_ = true;
    }
    if (marker == Marker::kThinkBegin && at_start_ && held_.empty()) lead_.clear();
    clean_ = clean_ && expects(marker);
    settle();
    at_start_ = false;
    if (is_think) return on_think(marker);
    on_call_marker(marker);
  }

  // Whether the marker means something where it stands; else it is dropped.
  bool expects(Marker marker) const {
    switch (marker) {
      case Marker::kThinkBegin:
        return at_start_;
      case Marker::kThinkEnd:
        return in_reasoning_;
      case Marker::kSectionBegin:
        return !in_section_;
      case Marker::kSectionEnd:
        return in_section_;
      case Marker::kCallSeparator:
        return state_ == State::kHead;
      case Marker::kCallEnd:
        return state_ == State::kArguments || state_ == State::kHead || state_ == State::kName;
      case Marker::kCallBegin:
        break;
    }
    return true;
  }

  void on_think(Marker marker) {
    in_reasoning_ = marker == Marker::kThinkBegin;
    if (in_reasoning_) in_section_ = false;
    if (!in_section_) {
      state_ = State::kText;
      after_call_ = false;
    }
  }

  void on_call_marker(Marker marker) {
    switch (marker) {
      case Marker::kSectionBegin:
      case Marker::kSectionEnd:
        close_call();
        in_section_ = marker == Marker::kSectionBegin;
        state_ = in_section_ ? State::kSection : State::kText;
        after_call_ = true;
        break;
      case Marker::kCallBegin:
        close_call();
        state_ = State::kHead;
        break;
      case Marker::kCallSeparator:
        on_separator();
        break;
      case Marker::kCallEnd:
        if (state_ == State::kArguments) {
          end_call(true);
        } else if (state_ == State::kHead || state_ == State::kName) {
          end_head();
        }
        state_ = in_section_ ? State::kSection : State::kText;
        after_call_ = true;
        break;
      case Marker::kThinkBegin:
      case Marker::kThinkEnd:
        break;
    }
  }

  ParserSettings settings_;
  CallArguments arguments_;
  State state_ = State::kText;
  bool in_reasoning_;
  bool in_section_ = false;
  bool at_start_ = true;     // nothing but white space (in lead_) came so far
  bool after_call_ = false;  // white space is dropped
  bool has_arguments_ = false;
  bool clean_ = true;
  std::int32_t calls_ = 0;
  std::string undecoded_;                    // at most 3 bytes of an unfinished code point
  std::string lead_, held_;                  // text not yet told apart
  std::string head_;                         // at most kMaxHeadBytes + 1
  std::string argument_text_;                // of the current push
  std::vector<ParsedEvent>* out_ = nullptr;  // during push and finish
  std::size_t first_ = 0;                    // the first event of this push: earlier ones are the caller's
};

}  // namespace

AnswerSyntax answer_syntax_of(const ParserSettings& settings) {
  AnswerSyntax syntax;
  syntax.in_reasoning = settings.in_reasoning;
  syntax.think_as_text = settings.think_as_text;
  const auto take = [&](Marker marker, std::optional<TokenId>& token) {
    const auto found = std::find_if(settings.markers.begin(), settings.markers.end(),
                                    [&](const auto& known) { return known.second == marker; });
    if (found != settings.markers.end()) token = found->first;
  };
  take(Marker::kThinkBegin, syntax.think_begin);
  take(Marker::kThinkEnd, syntax.think_end);
  take(Marker::kSectionBegin, syntax.section_begin);
  take(Marker::kSectionEnd, syntax.section_end);
  take(Marker::kCallBegin, syntax.call_begin);
  take(Marker::kCallSeparator, syntax.separator);
  take(Marker::kCallEnd, syntax.call_end);
  return syntax;
}

std::unique_ptr<OutputParser> make_output_parser(ParserSettings settings) {
  return std::make_unique<MarkupParser>(std::move(settings));
}

}  // namespace baltoro::text
