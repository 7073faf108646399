// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/value_masks.h"

#include <algorithm>
#include <chrono>

namespace baltoro::text {
namespace {

using Kind = Frame::Kind;
using Phase = Frame::Phase;

// Nothing else follows a value.
bool may_follow(char byte) { return byte == ',' || byte == ']' || byte == '}'; }

// What every schema has, all of them share.
MaskKey key_of(const SchemaGraph& graph, const Frame& frame) {
  const auto kind = static_cast<std::uint32_t>(frame.kind) * 16 + static_cast<std::uint32_t>(frame.phase);
  if (frame.kind == Kind::kRegular)
    return {.graph = frame.state < graph.common_states ? 0 : graph.id, .kind = 0, .place = frame.state};
  return {.graph = frame.node < graph.common_nodes ? 0 : graph.id, .kind = kind, .place = frame.node};
}

}  // namespace

Result<std::shared_ptr<GrammarVocabulary>> make_grammar_vocabulary(std::shared_ptr<const Tokenizer> tokenizer) {
  BALTORO_TRY(TokenTrie trie, TokenTrie::build(*tokenizer));
  auto vocabulary = std::make_shared<GrammarVocabulary>();
  vocabulary->strings = StringMasks(trie, *tokenizer);
  vocabulary->trie = std::move(trie);
  vocabulary->tokenizer = std::move(tokenizer);
  return vocabulary;
}

bool has_entry(const Frame& frame) {
  switch (frame.kind) {
    case Kind::kRegular:
    case Kind::kChoice:
      return true;
    case Kind::kArray:
      return frame.phase == Phase::kBefore || frame.phase == Phase::kFirst;
    case Kind::kObject:
      return frame.phase == Phase::kBefore;
    case Kind::kString:
    case Kind::kName:
    case Kind::kDone:
      break;
  }
  return false;
}

std::shared_ptr<const MaskEntry> ValueMasks::entry_of(const Frame& frame, GrammarStates& states) {
  const MaskKey key = key_of(states.graph(), frame);
  if (auto found = vocabulary_.masks.find(key)) return found;
  inside_.clear();
  exits_.clear();
  auto entry =
      frame.kind == Kind::kRegular ? regular_entry(states.graph().dfas, frame.state) : value_entry(frame, states);
  vocabulary_.masks.keep(key, entry);
  return entry;
}

std::shared_ptr<MaskEntry> ValueMasks::regular_entry(const ByteDfas& dfas, std::uint32_t state) {
  walk_regular(dfas, 0, static_cast<std::uint32_t>(vocabulary_.trie.nodes().size()), state);
  return make_mask_entry(inside_, exits_, vocabulary_.trie.text_tokens().size());
}

void ValueMasks::walk_regular(const ByteDfas& dfas, std::uint32_t begin, std::uint32_t end, std::uint32_t state) {
  const auto& nodes = vocabulary_.trie.nodes();
  for (std::uint32_t i = begin; i < end; i = nodes[i].end) {
    const TokenTrie::Node& node = nodes[i];
    const std::uint32_t next = dfas.next(state, node.byte);
    if (next == kDeadState) {
      // A number may be over without a byte that says so: this byte is then what follows it.
      if (dfas.accepts(state) && may_follow(static_cast<char>(node.byte))) add_exits(i, node.depth);
    } else if (dfas.ends(next)) {
      add_exits(i, node.depth + 1U);
    } else {
      if (node.token >= 0) inside_.emplace_back(dfas.cost(next), node.token);
      if (node.end > i + 1) walk_regular(dfas, i + 1, node.end, next);
    }
  }
}

// The frame is set on a floor of its own: what steps on that floor has left the value.
std::shared_ptr<MaskEntry> ValueMasks::value_entry(Frame frame, GrammarStates& states) {
  const GrammarStates::Mark mark = states.mark();
  frame.parent = kFloor;
  frame.below = 0;
  frame.depth = 1;
  walk_.assign(1, states.add(frame));
  states.deepest = 0;
  const std::size_t widest = std::exchange(states.widest, 1);
  walk(0, static_cast<std::uint32_t>(vocabulary_.trie.nodes().size()), 0, 1, states);
  auto entry = make_mask_entry(inside_, exits_, vocabulary_.trie.text_tokens().size());
  entry->deepest = states.deepest;
  entry->widest = static_cast<std::uint32_t>(std::exchange(states.widest, widest));
  states.release(mark);
  return entry;
}

void ValueMasks::walk(std::uint32_t begin, std::uint32_t end, std::size_t tops_begin, std::size_t tops_end,
                      GrammarStates& states) {
  const auto& nodes = vocabulary_.trie.nodes();
  for (std::uint32_t i = begin; i < end; i = nodes[i].end) {
    const GrammarStates::Mark mark = states.mark();
    bool over = false;
    for (std::size_t t = tops_begin; t < tops_end && may_follow(static_cast<char>(nodes[i].byte)); ++t)
      over = over || (states.complete(walk_[t]) &&
                      states.graph().dfas.next(states.frame(walk_[t]).state, nodes[i].byte) == kDeadState);
    if (over) add_exits(i, nodes[i].depth);
    states.advance(walk_, tops_begin, tops_end, nodes[i].byte);
    const auto floor = std::remove(walk_.begin() + static_cast<std::ptrdiff_t>(tops_end), walk_.end(), kFloor);
    if (floor != walk_.end() && !over) add_exits(i, nodes[i].depth + 1U);
    walk_.erase(floor, walk_.end());
    const std::size_t next_end = walk_.size();
    if (next_end > tops_end) {
      std::uint32_t least = kNeverEnds;
      for (std::size_t t = tops_end; t < next_end; ++t) least = std::min(least, states.cost(walk_[t]));
      if (nodes[i].token >= 0) inside_.emplace_back(least, nodes[i].token);
      if (nodes[i].end > i + 1) walk(i + 1, nodes[i].end, tops_end, next_end, states);
    }
    walk_.resize(tops_end);
    states.release(mark);
  }
}

// The tokens at and below a node of the trie end the value: `spelled` bytes of them belong to it.
void ValueMasks::add_exits(std::uint32_t node, std::size_t spelled) {
  const auto& nodes = vocabulary_.trie.nodes();
  for (std::uint32_t i = node; i < nodes[node].end; ++i) {
    if (nodes[i].token < 0) continue;
    const std::string_view rest = vocabulary_.tokenizer->token_bytes(nodes[i].token).substr(spelled);
    if (rest.empty() || may_follow(rest[0])) exits_.push_back({rest, nodes[i].token});
  }
}

void warm_masks(GrammarVocabulary& vocabulary, const SchemaGraph& graph, const WarmLimits& limits) {
  using Clock = std::chrono::steady_clock;
  const auto end =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(limits.seconds));
  GrammarStates states(graph);
  ValueMasks masks(vocabulary);
  std::size_t bytes = 0;
  const auto build = [&](const Frame& frame) {
    bytes += masks.entry_of(frame, states)->bytes();
    return bytes < limits.bytes && Clock::now() < end;
  };
  std::vector<std::uint32_t> open;
  std::vector<bool> met(graph.dfas.size());
  const auto meet = [&](std::uint32_t state) {
    if (state == kDeadState || met[state] || graph.dfas.ends(state)) return;
    met[state] = true;
    open.push_back(state);
  };
  for (NodeId id = 0; id < graph.nodes.size(); ++id) {
    const SchemaNode& node = graph.nodes[id];
    if (node.cost >= kNeverEnds) continue;
    if (node.kind == SchemaNode::Kind::kRegular) {
      meet(node.dfa);
      continue;
    }
    std::vector<FrameId> tops;
    states.begin_value(id, kFloor, tops);
    for (const FrameId top : tops) {
      Frame frame = states.frame(top);
      if (has_entry(frame) && !build(frame)) return;
      frame.phase = Frame::Phase::kFirst;
      if (frame.kind == Frame::Kind::kArray && !build(frame)) return;
    }
  }
  for (std::size_t i = 0; i < open.size(); ++i) {
    if (graph.dfas.wide(open[i]) && !build({.kind = Frame::Kind::kRegular, .depth = 1, .state = open[i]})) return;
    graph.dfas.for_next(open[i], meet);
  }
}

}  // namespace baltoro::text
