// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/pattern_dfa.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "baltoro/base/json.h"
#include "baltoro/base/utf8.h"

namespace baltoro::text {
namespace {

constexpr std::size_t kMaxNfaStates = 20'000;
constexpr std::size_t kMaxDfaStates = 4'000;
constexpr std::size_t kMaxWork = 8'000'000;  // set members handled while determinising

using Kind = RegexNode::Kind;

struct NfaState {
  std::vector<ByteEdge> edges;
  std::vector<std::uint32_t> free;  // without reading
  bool ends_character = false;      // a code point is complete on arrival
};

class Nfa {
 public:
  std::vector<NfaState> states;

  bool full() const { return states.size() > kMaxNfaStates; }
  std::uint32_t add() {
    states.emplace_back();
    return static_cast<std::uint32_t>(states.size() - 1);
  }
  void join(std::uint32_t from, std::uint32_t to) { states[from].free.push_back(to); }

  // The texts of `node` from state `from`; returns where they end.
  std::uint32_t add_node(const RegexNode& node, std::uint32_t from) {
    if (full()) return from;
    switch (node.kind) {
      case Kind::kEmpty:
        return from;
      case Kind::kSet:
        return add_set(node.set, from);
      case Kind::kConcat:
        for (const RegexNode& child : node.children) from = add_node(child, from);
        return from;
      case Kind::kAlternate: {
        const std::uint32_t end = add();
        for (const RegexNode& child : node.children) {
          const std::uint32_t begin = add();
          join(from, begin);
          join(add_node(child, begin), end);
        }
        return end;
      }
      case Kind::kRepeat:
        return add_repeat(node, from);
    }
    return from;
  }

 private:
  std::uint32_t add_repeat(const RegexNode& node, std::uint32_t from) {
    const RegexNode& child = node.children.front();
    for (std::uint32_t i = 0; i < node.least && !full(); ++i) from = add_node(child, from);
    const std::uint32_t end = add();
    join(from, end);
    if (node.most == kNoLimit) {
      const std::uint32_t loop = add();
      join(from, loop);
      join(add_node(child, loop), loop);
      join(loop, end);
    } else {
      for (std::uint32_t i = node.least; i < node.most && !full(); ++i) {
        from = add_node(child, from);
        join(from, end);
      }
    }
    return end;
  }

  std::uint32_t add_set(const CodePointSet& set, std::uint32_t from) {
    const std::uint32_t end = add();
    states[end].ends_character = true;
    for (const auto& [low, high] : set) add_range(low, high, from, end);
    return end;
  }

  // Control characters, the quote and the backslash by their escapes, the rest as it is.
  void add_range(std::uint32_t low, std::uint32_t high, std::uint32_t from, std::uint32_t end) {
    for (std::uint32_t c = low; c <= high && c < 0x20; ++c) {
      std::string quoted;
      json::append_quoted(quoted, std::string(1, static_cast<char>(c)));
      add_bytes(quoted.substr(1, quoted.size() - 2), from, end);
    }
    for (const char c : {'"', '\\'})
      if (low <= static_cast<std::uint32_t>(c) && static_cast<std::uint32_t>(c) <= high)
        add_bytes(std::string("\\") + c, from, end);
    constexpr CodePointRange kPlain[] = {{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x7F}};
    for (const auto& [first, last] : kPlain)
      if (std::max(low, first) <= std::min(high, last))
        states[from].edges.push_back(
            {static_cast<std::uint8_t>(std::max(low, first)), static_cast<std::uint8_t>(std::min(high, last)), end});
    constexpr CodePointRange kLong[] = {{0x80, 0x7FF}, {0x800, 0xFFFF}, {0x10000, 0x10FFFF}};
    for (const auto& [first, last] : kLong)
      if (std::max(low, first) <= std::min(high, last)) add_utf8(std::max(low, first), std::min(high, last), from, end);
  }

  void add_bytes(const std::string& bytes, std::uint32_t from, std::uint32_t end) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const std::uint32_t to = i + 1 == bytes.size() ? end : add();
      const auto byte = static_cast<std::uint8_t>(bytes[i]);
      states[from].edges.push_back({byte, byte, to});
      from = to;
    }
  }

  // Code points of one encoded length: cut until each byte's range is free of the others'.
  void add_utf8(std::uint32_t low, std::uint32_t high, std::uint32_t from, std::uint32_t end) {
    if (full()) return;
    std::string first, last;
    utf8_append(first, low);
    utf8_append(last, high);
    for (std::size_t tail = 1; tail < first.size(); ++tail) {
      const std::uint32_t mask = (std::uint32_t{1} << (6 * tail)) - 1;
      if ((low & ~mask) == (high & ~mask)) continue;
      if ((low & mask) != 0) {
        add_utf8(low, low | mask, from, end);
        return add_utf8((low | mask) + 1, high, from, end);
      }
      if ((high & mask) != mask) {
        add_utf8(low, (high & ~mask) - 1, from, end);
        return add_utf8(high & ~mask, high, from, end);
      }
    }
    for (std::size_t i = 0; i < first.size(); ++i) {
      const std::uint32_t to = i + 1 == first.size() ? end : add();
      states[from].edges.push_back({static_cast<std::uint8_t>(first[i]), static_cast<std::uint8_t>(last[i]), to});
      from = to;
    }
  }
};

// Subsets of an NFA's states, with the number of code points read where lengths are bounded.
class Subsets {
 public:
  Subsets(const Nfa& nfa, std::uint32_t end, std::uint32_t least, std::uint32_t most)
      : nfa_(nfa),
        end_(end),
        least_(least),
        most_(most),
        counts_(least > 0 || most != kNoLimit),
        mark_(nfa.states.size()) {}

  Result<ByteDfas::Draft> draft(std::uint32_t start) {
    // State 0 reads the opening quote, state 1 stands behind the closing one.
    draft_.states.resize(2);
    draft_.states[1].accepts = true;
    const std::uint32_t first = state_of({start}, 0);
    draft_.states[0].edges.push_back({'"', '"', first});
    for (std::size_t i = 0; i < open_.size(); ++i) {
      expand(i);
      if (draft_.states.size() > kMaxDfaStates || work_ > kMaxWork)
        return Error{Errc::kUnsupported,
                     fmt::format("[pattern] an automaton of at most {} states needed", kMaxDfaStates)};
    }
    return std::move(draft_);
  }

 private:
  using Set = std::vector<std::uint32_t>;

  std::uint32_t state_of(Set set, std::uint32_t count) {
    close(set);
    std::sort(set.begin(), set.end());
    work_ += set.size();
    const auto [found, added] = places_.try_emplace({count, set}, static_cast<std::uint32_t>(draft_.states.size()));
    if (!added) return found->second;
    draft_.states.emplace_back();
    if (std::binary_search(set.begin(), set.end(), end_) && count >= least_)
      draft_.states.back().edges.push_back({'"', '"', 1});
    open_.push_back(found);
    return found->second;
  }

  void close(Set& set) {
    ++round_;
    Set out;
    for (const std::uint32_t s : set) mark(s, out);
    for (std::size_t i = 0; i < out.size(); ++i)
      for (const std::uint32_t s : nfa_.states[out[i]].free) mark(s, out);
    work_ += out.size();
    set.clear();
    // States that only lead on say nothing themselves.
    for (const std::uint32_t s : out)
      if (s == end_ || !nfa_.states[s].edges.empty()) set.push_back(s);
  }
  void mark(std::uint32_t s, Set& out) {
    if (std::exchange(mark_[s], round_) != round_) out.push_back(s);
  }

  void expand(std::size_t at) {
    const auto& [key, place] = *open_[at];
    std::array<bool, 257> cut{};
    for (const std::uint32_t s : key.second) {
      for (const ByteEdge& edge : nfa_.states[s].edges) {
        cut[edge.low] = true;
        cut[edge.high + 1U] = true;
      }
    }
    for (unsigned low = 0; low < 256;) {
      unsigned high = low;
      while (high < 255 && !cut[high + 1]) ++high;
      Set next, next_whole;
      for (const std::uint32_t s : key.second) {
        for (const ByteEdge& edge : nfa_.states[s].edges)
          if (edge.low <= low && low <= edge.high)
            (nfa_.states[edge.next].ends_character ? next_whole : next).push_back(edge.next);
        work_ += nfa_.states[s].edges.size();
      }
      add_edge(place, low, high, std::move(next), std::move(next_whole), key.first);
      low = high + 1;
    }
  }

  // All that one byte leads to ends a character or none does, as UTF-8 and escapes are prefix codes.
  void add_edge(std::uint32_t from, unsigned low, unsigned high, Set next, Set whole, std::uint32_t count) {
    if (next.empty() && whole.empty()) return;
    const bool ends = !whole.empty();
    if (ends && counts_) {
      if (most_ != kNoLimit && count == most_) return;
      if (most_ != kNoLimit || count < least_) ++count;
    }
    const std::uint32_t to = state_of(ends ? std::move(whole) : std::move(next), count);
    draft_.states[from].edges.push_back({static_cast<std::uint8_t>(low), static_cast<std::uint8_t>(high), to});
  }

  using Places = std::map<std::pair<std::uint32_t, Set>, std::uint32_t>;
  const Nfa& nfa_;
  std::uint32_t end_, least_, most_;
  bool counts_;
  ByteDfas::Draft draft_;
  Places places_;
  std::vector<Places::const_iterator> open_;
  std::vector<std::uint32_t> mark_;
  std::uint32_t round_ = 0;
  std::size_t work_ = 0;
};

}  // namespace

Result<ByteDfas::Draft> pattern_draft(const RegexNode& pattern, std::uint32_t least, std::uint32_t most) {
  Nfa nfa;
  const std::uint32_t start = nfa.add();
  const std::uint32_t end = nfa.add_node(pattern, start);
  if (nfa.full()) return Error{Errc::kUnsupported, fmt::format("[pattern] at most {} positions needed", kMaxNfaStates)};
  return Subsets(nfa, end, least, most).draft(start);
}

}  // namespace baltoro::text
