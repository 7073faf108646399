// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/regex_syntax.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <string>

#include "baltoro/base/hex.h"
#include "baltoro/base/utf8.h"
#include "baltoro/text/code_point_set.h"

namespace baltoro::text {
namespace {

constexpr int kMaxNesting = 64;
constexpr std::uint32_t kMaxCount = 100'000;

using Kind = RegexNode::Kind;

RegexNode set_node(const CodePointSet& set) { return {.kind = Kind::kSet, .set = text_only(normalized(set))}; }
RegexNode any_text() {
  RegexNode node{.kind = Kind::kRepeat, .most = kNoLimit};
  node.children.push_back(set_node({{0, kLastCodePoint}}));
  return node;
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) : rest_(pattern), size_(pattern.size()) {}

  Result<RegexNode> parse() {
    BALTORO_TRY(RegexNode node, alternatives(0, true));
    if (!rest_.empty()) return wrong("')' without '('");
    return node;
  }

 private:
  Error wrong(std::string_view what) const {
    return {Errc::kInvalidArgument, fmt::format("[pattern] {} at byte {}", what, size_ - rest_.size())};
  }
  Error unsupported(std::string_view what) const {
    return {Errc::kUnsupported, fmt::format("[pattern] {} is not supported (byte {})", what, size_ - rest_.size())};
  }
  bool take(char c) {
    if (rest_.empty() || rest_[0] != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool take(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }
  std::uint32_t code_point() {
    const CodePoint c = utf8_decode(rest_);
    rest_.remove_prefix(c.length);
    return c.value;
  }

  // `whole`: what stands here is the whole pattern's alternatives, so that anchors have a meaning.
  Result<RegexNode> alternatives(int depth, bool whole) {
    if (depth > kMaxNesting) return unsupported("nesting this deep");
    RegexNode node{.kind = Kind::kAlternate};
    do {
      BALTORO_TRY(RegexNode one, alternative(depth, whole));
      node.children.push_back(std::move(one));
    } while (take('|'));
    return node;
  }

  Result<RegexNode> alternative(int depth, bool whole) {
    RegexNode node{.kind = Kind::kConcat};
    const bool begins = whole && take('^');
    bool ends = false, closed = false;  // closed: a group that was a whole pattern itself
    while (!rest_.empty() && rest_[0] != '|' && rest_[0] != ')') {
      if (ends) return unsupported("'$' amid a pattern");
      if (whole && take('$')) {
        ends = true;
        continue;
      }
      if (rest_[0] == '^' || rest_[0] == '$') return unsupported("an anchor amid a pattern");
      const bool inner_whole = whole && node.children.empty() && !begins && group_is_rest();
      BALTORO_TRY(RegexNode one, term(depth, inner_whole));
      closed = inner_whole;
      node.children.push_back(std::move(one));
    }
    if (!whole || closed) return node;
    if (!begins) node.children.insert(node.children.begin(), any_text());
    if (!ends) node.children.push_back(any_text());
    return node;
  }

  // Whether a group begins here and nothing but '|' or ')' or the end follows it.
  bool group_is_rest() const {
    if (rest_.empty() || rest_[0] != '(') return false;
    int depth = 0;
    bool in_set = false;
    for (std::size_t i = 0; i < rest_.size(); ++i) {
      const char c = rest_[i];
      if (c == '\\') {
        ++i;
      } else if (in_set) {
        in_set = c != ']';
      } else if (c == '[') {
        in_set = true;
      } else if (c == '(') {
        ++depth;
      } else if (c == ')' && --depth == 0) {
        return i + 1 == rest_.size() || rest_[i + 1] == '|' || rest_[i + 1] == ')';
      }
    }
    return false;
  }

  Result<RegexNode> term(int depth, bool whole) {
    BALTORO_TRY(RegexNode node, atom(depth, whole));
    for (;;) {
      std::uint32_t least = 0, most = 0;
      if (take('*')) {
        most = kNoLimit;
      } else if (take('+')) {
        least = 1;
        most = kNoLimit;
      } else if (take('?')) {
        most = 1;
      } else if (!rest_.empty() && rest_[0] == '{' && counts(least, most)) {
        if (least > most) return wrong("{m,n} with m over n");
      } else {
        return node;
      }
      take('?');  // lazy: the same texts
      if (!rest_.empty() && (rest_[0] == '*' || rest_[0] == '+')) return wrong("nothing to repeat");
      RegexNode repeat{.kind = Kind::kRepeat, .least = least, .most = most};
      repeat.children.push_back(std::move(node));
      node = std::move(repeat);
    }
  }

  // {m} {m,} {m,n}; anything else is text.
  bool counts(std::uint32_t& least, std::uint32_t& most) {
    std::size_t i = 1;
    const auto number = [&](std::uint32_t& value) {
      const std::size_t from = i;
      value = 0;
      for (; i < rest_.size() && rest_[i] >= '0' && rest_[i] <= '9'; ++i)
        value = std::min(kMaxCount, value * 10 + static_cast<std::uint32_t>(rest_[i] - '0'));
      return i > from;
    };
    if (!number(least)) return false;
    most = least;
    if (i < rest_.size() && rest_[i] == ',') {
      ++i;
      if (!number(most)) most = kNoLimit;
    }
    if (i >= rest_.size() || rest_[i] != '}') return false;
    rest_.remove_prefix(i + 1);
    return true;
  }

  Result<RegexNode> atom(int depth, bool whole) {
    if (take('(')) return group(depth, whole);
    if (take('[')) return set();
    if (take('.')) return set_node(complement(kLineEnds));
    if (take('\\')) {
      BALTORO_TRY(const CodePointSet set, escape(false));
      return set_node(set);
    }
    if (rest_[0] == '*' || rest_[0] == '+' || rest_[0] == '?') return wrong("nothing to repeat");
    const std::uint32_t c = code_point();
    return set_node({{c, c}});
  }

  Result<RegexNode> group(int depth, bool whole) {
    if (take("?:")) {
    } else if (rest_.starts_with("?=") || rest_.starts_with("?!") || rest_.starts_with("?<=") ||
               rest_.starts_with("?<!")) {
      return unsupported("look-around");
    } else if (take("?<")) {
      const std::size_t end = rest_.find('>');
      if (end == std::string_view::npos) return wrong("a group's name without '>'");
      rest_.remove_prefix(end + 1);
    } else if (!rest_.empty() && rest_[0] == '?') {
      return wrong("an unknown kind of group");
    }
    BALTORO_TRY(RegexNode node, alternatives(depth + 1, whole));
    if (!take(')')) return wrong("'(' without ')'");
    return node;
  }

  std::optional<std::uint32_t> hex(std::size_t digits) {
    if (rest_.size() < digits) return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const int digit = hex_digit(rest_[i]);
      if (digit < 0) return std::nullopt;
      value = value * 16 + static_cast<std::uint32_t>(digit);
    }
    rest_.remove_prefix(digits);
    return value;
  }

  // What follows a backslash.
  Result<CodePointSet> escape(bool in_set) {
    if (rest_.empty()) return wrong("a lone backslash");
    const char c = rest_[0];
    rest_.remove_prefix(1);
    const auto one = [](std::uint32_t value) { return CodePointSet{{value, value}}; };
    switch (c) {
      case 'd':
        return kDigits;
      case 'D':
        return complement(kDigits);
      case 'w':
        return kWord;
      case 'W':
        return complement(kWord);
      case 's':
        return kSpaces;
      case 'S':
        return complement(kSpaces);
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 't':
        return one('\t');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case '0':
        return one(0);
      case 'b':
        if (in_set) return one('\b');
        return unsupported("\\b");
      case 'x':
        if (const auto value = hex(2)) return one(*value);
        return wrong("\\x without two digits");
      case 'u':
        return unicode_escape();
      case 'B':
      case 'p':
      case 'P':
      case 'k':
      case 'c':
        return unsupported(fmt::format("\\{}", c));
      default:
        break;
    }
    if (c >= '1' && c <= '9') return unsupported("a back-reference");
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return wrong(fmt::format("unknown escape \\{}", c));
    if (static_cast<signed char>(c) < 0) return wrong("an escaped character beyond ASCII");
    return one(static_cast<unsigned char>(c));
  }

  Result<CodePointSet> unicode_escape() {
    std::optional<std::uint32_t> value;
    if (take('{')) {
      std::uint32_t sum = 0;
      std::size_t digits = 0;
      while (const auto d = hex(1)) {
        sum = std::min(sum * 16 + *d, kLastCodePoint + 1);
        ++digits;
      }
      if (digits > 0 && sum <= kLastCodePoint && take('}')) value = sum;
    } else {
      value = hex(4);
      if (value && *value >= 0xD800 && *value < 0xDC00 && take("\\u")) {
        const auto low = hex(4);
        if (!low || *low < 0xDC00 || *low > 0xDFFF) return unsupported("half a surrogate pair");
        value = 0x10000 + ((*value - 0xD800) << 10) + (*low - 0xDC00);
      }
    }
    if (!value) return wrong("\\u without its digits");
    return CodePointSet{{*value, *value}};
  }

  Result<RegexNode> set() {
    const bool inverse = take('^');
    CodePointSet set;
    while (!take(']')) {
      if (rest_.empty()) return wrong("'[' without ']'");
      BALTORO_TRY(const CodePointSet low, set_item());
      const bool single = low.size() == 1 && low[0].first == low[0].second;
      if (single && rest_.size() > 1 && rest_[0] == '-' && rest_[1] != ']') {
        rest_.remove_prefix(1);
        BALTORO_TRY(const CodePointSet high, set_item());
        if (high.size() != 1 || high[0].first != high[0].second || high[0].first < low[0].first)
          return wrong("a range that ends before it begins");
        set.emplace_back(low[0].first, high[0].first);
      } else {
        set.insert(set.end(), low.begin(), low.end());
      }
    }
    return set_node(inverse ? complement(set) : set);
  }

  Result<CodePointSet> set_item() {
    if (rest_.empty()) return wrong("'[' without ']'");
    if (take('\\')) return escape(true);
    const std::uint32_t c = code_point();
    return CodePointSet{{c, c}};
  }

  std::string_view rest_;
  std::size_t size_;
};

}  // namespace

Result<RegexNode> parse_pattern(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes)
    return Error{Errc::kUnsupported,
                 fmt::format("[pattern] at most {} bytes needed, got {}", kMaxPatternBytes, pattern.size())};
  return Parser(pattern).parse();
}

}  // namespace baltoro::text
