// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/grammar_matcher.h"

#include <algorithm>
#include <utility>

#include "baltoro/text/json_string_states.h"

namespace baltoro::text {
namespace {

using Kind = Frame::Kind;
using Phase = Frame::Phase;

constexpr std::size_t kMaxWide = 8;  // patterns whose longer tokens are looked at in one mask

bool has_tokens(const TokenTrie::Node& node) { return node.token >= 0; }
bool has_tokens(const TokenExits::Node& node) { return node.tokens_begin < node.tokens_end; }

}  // namespace

GrammarMatcher::GrammarMatcher(std::shared_ptr<GrammarVocabulary> vocabulary, std::shared_ptr<const SchemaGraph> graph)
    : vocabulary_(std::move(vocabulary)),
      graph_(std::move(graph)),
      states_(*graph_),
      masks_(*vocabulary_),
      scratch_(vocabulary_->trie.text_tokens().size()) {
  restart(graph_);
}

void GrammarMatcher::restart(std::shared_ptr<const SchemaGraph> graph) {
  graph_ = std::move(graph);
  tops_.clear();
  states_.restart(*graph_);
  states_.begin_value(graph_->root, kFloor, tops_);
}

bool GrammarMatcher::accept(std::string_view bytes) {
  for (const char c : bytes) {
    const auto from = static_cast<std::ptrdiff_t>(tops_.size());
    states_.advance(tops_, 0, tops_.size(), static_cast<std::uint8_t>(c));
    tops_.erase(tops_.begin(), tops_.begin() + from);
  }
  states_.most_tops = kMaxTops;
  states_.compact(tops_);
  states_.keep_cheapest(tops_, 0, kMaxTops);
  return alive();
}

bool GrammarMatcher::can_end() const {
  return std::any_of(tops_.begin(), tops_.end(), [&](FrameId top) { return states_.complete(top); });
}

std::uint32_t GrammarMatcher::cost() const {
  std::uint32_t least = kNeverEnds;
  for (const FrameId top : tops_) least = std::min(least, states_.cost(top));
  return least;
}

std::uint32_t GrammarMatcher::cheapest(std::size_t begin, std::size_t end) const {
  std::uint32_t least = kNeverEnds;
  for (std::size_t t = begin; t < end; ++t) least = std::min(least, states_.cost(walk_[t]));
  return least;
}

// Each alternative by itself is exact as long as accept() follows all that they lead to: then it drops none.
void GrammarMatcher::fill(std::span<std::uint64_t> allowed, std::int64_t budget) {
  if (budget < 0 || tops_.empty()) return;
  while (fill_tops(allowed, budget) > kMaxTops) {
    std::fill(allowed.begin(), allowed.end(), 0);
    if (tops_.size() > 1) {
      states_.keep_cheapest(tops_, 0, tops_.size() / 2);
      continue;
    }
    // One alone that opens too many: byte by byte as accept() will follow it.
    walk_from(allowed, tops_, budget);
    if (std::any_of(allowed.begin(), allowed.end(), [](std::uint64_t bits) { return bits != 0; })) return;
    states_.most_tops = kManyTops;
    return walk_from(allowed, tops_, budget);
  }
}

// Returns how many alternatives any byte of an allowed token may lead to, at most.
std::size_t GrammarMatcher::fill_tops(std::span<std::uint64_t> allowed, std::int64_t budget) {
  std::size_t widest = 0, wide = 0;
  for (const FrameId top : tops_) {
    const Frame& frame = states_.frame(top);
    states_.widest = 1;
    if (frame.kind == Kind::kRegular && graph_->dfas.wide(frame.state) && ++wide > kMaxWide) {
      fill_bytes(allowed, top, budget);
    } else {
      fill_top(allowed, top, budget);
    }
    widest += states_.widest;
    if (widest > kMaxTops) break;
  }
  return widest;
}

void GrammarMatcher::fill_top(std::span<std::uint64_t> allowed, FrameId top, std::int64_t budget) {
  const Frame frame = states_.frame(top);
  if (frame.kind == Kind::kString) return fill_string(allowed, frame, budget);
  if (frame.kind == Kind::kName && frame.phase == Phase::kInside && states_.may_be_other(frame))
    return fill_name(allowed, top, budget);
  if (!has_entry(frame)) return walk_from(allowed, {&top, 1}, budget);
  const auto entry = masks_.entry_of(frame, states_);
  // Near the deepest nesting less may come than elsewhere.
  if (frame.depth - 1U + entry->deepest > kMaxValueDepth) return walk_from(allowed, {&top, 1}, budget);
  const std::int64_t inside = std::min<std::int64_t>(budget - frame.below, kNeverEnds);
  if (inside >= 0) entry->set_inside(allowed, static_cast<std::uint32_t>(inside), scratch_);
  fill_exits(allowed, entry->exits, frame.parent, budget, {});
  if (frame.kind != Kind::kRegular) states_.widest += entry->widest;  // a byte may stay inside and lead on as well
}

void GrammarMatcher::fill_string(std::span<std::uint64_t> allowed, const Frame& frame, std::int64_t budget) {
  const SchemaNode& node = graph_->nodes[frame.node];
  const std::uint32_t missing = node.least > frame.count ? node.least - frame.count : 0;
  const std::uint32_t room = node.most == SchemaNode::kNoMost ? node.most : node.most - frame.count;
  const std::size_t place = frame.phase == Phase::kBefore ? StringMasks::kBeforeQuote : frame.state;
  vocabulary_->strings.set_inside(allowed, place, missing, room, budget - frame.below);
  fill_exits(allowed, vocabulary_->strings.exits(place), frame.parent, budget, {.least = missing, .most = room});
}

// Single bytes only.
void GrammarMatcher::fill_bytes(std::span<std::uint64_t> allowed, FrameId id, std::int64_t budget) {
  const auto& nodes = vocabulary_->trie.nodes();
  for (std::uint32_t i = 0; i < nodes.size(); i = nodes[i].end)
    if (nodes[i].token >= 0 && leads_on(id, nodes[i].byte, budget)) set_bit(allowed, nodes[i].token);
}

bool GrammarMatcher::leads_on(FrameId from, std::uint8_t byte, std::int64_t budget) {
  const GrammarStates::Mark mark = states_.mark();
  walk_.assign(1, from);
  states_.advance(walk_, 0, 1, byte);
  const bool good = walk_.size() > 1 && cheapest(1, walk_.size()) <= budget;
  states_.release(mark);
  return good;
}

// A name that may be an additional member's: any characters may come, as long as there is room for two more that make
// it distinct; then single bytes only, those that lead to the end. What closes it as a declared one is walked.
void GrammarMatcher::fill_name(std::span<std::uint64_t> allowed, FrameId id, std::int64_t budget) {
  const Frame frame = states_.frame(id);
  const MaskEntry& entry = vocabulary_->strings.name(frame.state);
  const std::int64_t letters = budget - states_.other_name_cost(frame) - 2;
  if (letters < 0) {
    fill_bytes(allowed, id, budget);
  } else {
    entry.set_inside(allowed, static_cast<std::uint32_t>(std::min<std::int64_t>(letters, kNeverEnds)), scratch_);
  }
  const GrammarStates::Mark mark = states_.mark();
  Frame closed = frame;
  closed.phase = Phase::kColon;
  closed.state = kOther;
  fill_exits(allowed, entry.exits, states_.add(closed), budget, {.name = &frame});
  states_.release(mark);
  if (frame.count == kOther) return;
  states_.declared_only = frame.depth;
  walk_from(allowed, {&id, 1}, budget);
  states_.declared_only = 0;
}

// Follows the bytes of a trie's siblings [begin, end), and of all below them, from the frames
// walk_[tops_begin, tops_end): allow(node) where tokens end and what must follow fits the budget.
template <typename Node, typename Allow>
void GrammarMatcher::walk(const std::vector<Node>& nodes, std::uint32_t begin, std::uint32_t end,
                          std::size_t tops_begin, std::size_t tops_end, std::int64_t budget, const Allow& allow) {
  for (std::uint32_t i = begin; i < end; i = nodes[i].end) {
    const GrammarStates::Mark mark = states_.mark();
    states_.advance(walk_, tops_begin, tops_end, nodes[i].byte);
    const std::size_t next_end = walk_.size();
    if (next_end > tops_end) {
      if (has_tokens(nodes[i]) && cheapest(tops_end, next_end) <= budget) allow(nodes[i]);
      if (nodes[i].end > i + 1) walk(nodes, i + 1, nodes[i].end, tops_end, next_end, budget, allow);
    }
    walk_.resize(tops_end);
    states_.release(mark);
  }
}

void GrammarMatcher::walk_from(std::span<std::uint64_t> allowed, std::span<const FrameId> tops, std::int64_t budget) {
  const auto& nodes = vocabulary_->trie.nodes();
  walk_.assign(tops.begin(), tops.end());
  walk(nodes, 0, static_cast<std::uint32_t>(nodes.size()), 0, walk_.size(), budget,
       [&](const TokenTrie::Node& node) { set_bit(allowed, node.token); });
}

// Sets the tokens that end a value where `after` goes on.
void GrammarMatcher::fill_exits(std::span<std::uint64_t> allowed, const TokenExits& exits, FrameId after,
                                std::int64_t budget, const Ending& ending) {
  walk_.assign(1, after);
  if (cheapest(0, 1) <= budget) allow_exits(allowed, exits, exits.nodes.front(), ending);
  if (after == kFloor) return;
  walk(exits.nodes, 1, exits.nodes.front().end, 0, 1, budget,
       [&](const TokenExits::Node& node) { allow_exits(allowed, exits, node, ending); });
}

// A name that would be taken twice is left out.
void GrammarMatcher::allow_exits(std::span<std::uint64_t> allowed, const TokenExits& exits,
                                 const TokenExits::Node& node, const Ending& ending) {
  for (std::uint32_t t = node.tokens_begin; t < node.tokens_end; ++t) {
    if (exits.characters[t] < ending.least || exits.characters[t] > ending.most) continue;
    const TokenId token = exits.tokens[t];
    if (ending.name != nullptr) {
      const std::string_view bytes = vocabulary_->tokenizer->token_bytes(token);
      // Another name in the same token could be this one again.
      if (bytes.substr(bytes.size() - node.depth).find(",\"") != std::string_view::npos) continue;
      if (!states_.other_name_free(*ending.name, bytes.substr(0, bytes.size() - 1 - node.depth))) continue;
    }
    set_bit(allowed, token);
  }
}

}  // namespace baltoro::text
