// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/grammar_matcher.h"

#include <algorithm>
#include <utility>

#include "baltoro/text/json_string_states.h"

namespace baltoro::text {
namespace {

using Kind = Frame::Kind;
using Phase = Frame::Phase;

constexpr std::uint32_t kLongest = kMaxTrieTokenBytes;  // no token has more characters
constexpr std::uint32_t kNameKind = 100, kStringKind = 101;

void set_bit(std::span<std::uint64_t> bits, TokenId id) {
  bits[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (id % 64);
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

GrammarMatcher::GrammarMatcher(std::shared_ptr<GrammarVocabulary> vocabulary, std::shared_ptr<const SchemaGraph> graph)
    : vocabulary_(std::move(vocabulary)), graph_(std::move(graph)), states_(*graph_) {
  restart();
}

void GrammarMatcher::restart() {
  tops_.clear();
  states_.release({1, 1});
  states_.begin_value(graph_->root, kFloor, tops_);
  states_.limit(tops_, 0);
}

bool GrammarMatcher::accept(std::string_view bytes) {
  for (const char c : bytes) {
    next_.clear();
    for (const FrameId top : tops_) states_.step(top, static_cast<std::uint8_t>(c), next_);
    states_.limit(next_, 0);
    tops_.swap(next_);
  }
  states_.compact(tops_);
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

void GrammarMatcher::fill(std::span<std::uint64_t> allowed, std::int64_t budget) {
  if (budget < 0) return;
  walk_.clear();
  for (const FrameId top : tops_) {
    const Frame frame = states_.frame(top);
    if (frame.kind == Kind::kName && frame.phase == Phase::kInside && states_.may_be_other(frame)) continue;
    if (!cacheable(frame)) walk_.push_back(top);
  }
  const auto all = static_cast<std::uint32_t>(vocabulary_->trie.nodes().size());
  if (!walk_.empty()) walk(allowed, 0, all, 0, walk_.size(), budget);
  for (const FrameId top : tops_) {
    const Frame frame = states_.frame(top);
    if (frame.kind == Kind::kName && frame.phase == Phase::kInside && states_.may_be_other(frame)) {
      fill_name(allowed, top, budget);
    } else if (cacheable(frame)) {
      const auto entry = entry_of(frame);
      if (frame.depth - 1U + entry->deepest <= kMaxValueDepth) {
        fill_entry(allowed, frame, *entry, budget);
      } else {  // near the deepest nesting less may come than elsewhere
        walk_.assign(1, top);
        walk(allowed, 0, all, 0, 1, budget);
      }
    }
  }
}

// Tokens of the trie's siblings [begin, end) from the frames walk_[tops_begin, tops_end).
void GrammarMatcher::walk(std::span<std::uint64_t> allowed, std::uint32_t begin, std::uint32_t end,
                          std::size_t tops_begin, std::size_t tops_end, std::int64_t budget) {
  const auto& nodes = vocabulary_->trie.nodes();
  for (std::uint32_t i = begin; i < end; i = nodes[i].end) {
    const GrammarStates::Mark mark = states_.mark();
    for (std::size_t t = tops_begin; t < tops_end; ++t) states_.step(walk_[t], nodes[i].byte, walk_);
    states_.limit(walk_, tops_end);
    const std::size_t next_end = walk_.size();
    if (next_end > tops_end) {
      if (nodes[i].token >= 0 && cheapest(tops_end, next_end) <= budget) set_bit(allowed, nodes[i].token);
      if (nodes[i].end > i + 1) walk(allowed, i + 1, nodes[i].end, tops_end, next_end, budget);
    }
    walk_.resize(tops_end);
    states_.release(mark);
  }
}

bool GrammarMatcher::try_bytes(FrameId from, std::string_view bytes, std::int64_t budget) {
  const GrammarStates::Mark mark = states_.mark();
  tried_.assign(1, from);
  for (const char c : bytes) {
    next_.clear();
    for (const FrameId top : tried_) states_.step(top, static_cast<std::uint8_t>(c), next_);
    states_.limit(next_, 0);
    tried_.swap(next_);
  }
  const bool good = std::any_of(tried_.begin(), tried_.end(), [&](FrameId top) { return states_.cost(top) <= budget; });
  states_.release(mark);
  return good;
}

// ---- entries

bool GrammarMatcher::cacheable(const Frame& frame) const {
  switch (frame.kind) {
    case Kind::kRegular:
    case Kind::kString:
      return true;
    case Kind::kArray:
    case Kind::kObject:
      return frame.phase == Phase::kBefore || (frame.kind == Kind::kArray && frame.phase == Phase::kFirst);
    case Kind::kDone:
    case Kind::kName:
      break;
  }
  return false;
}

MaskKey GrammarMatcher::key_of(const Frame& frame) const {
  const auto phase = static_cast<std::uint32_t>(frame.phase);
  if (frame.kind == Kind::kName) return {.kind = kNameKind, .a = frame.state};
  if (frame.kind == Kind::kRegular) return {.graph = graph_->id, .kind = 0, .b = frame.state};
  if (frame.kind != Kind::kString)
    return {.graph = graph_->id, .kind = static_cast<std::uint32_t>(frame.kind) * 16 + phase, .a = frame.node};
  // Strings of any schema are alike when as many characters are missing and as many may come.
  const SchemaNode& node = graph_->nodes[frame.node];
  const std::uint32_t missing = missing_characters(frame);
  const std::uint32_t room = node.most == SchemaNode::kNoMost ? kLongest : std::min(node.most - frame.count, kLongest);
  return {.kind = kStringKind + phase, .a = frame.state, .b = std::min(missing, kLongest), .c = room};
}

std::uint32_t GrammarMatcher::missing_characters(const Frame& frame) const {
  if (frame.kind != Kind::kString) return 0;
  const std::uint32_t least = graph_->nodes[frame.node].least;
  return least > frame.count ? least - frame.count : 0;
}

std::shared_ptr<const MaskEntry> GrammarMatcher::entry_of(const Frame& frame) {
  const MaskKey key = key_of(frame);
  if (auto found = vocabulary_->masks.find(key)) return found;
  const bool in_string = frame.kind == Kind::kString && frame.phase == Phase::kInside && frame.state == kWhole;
  auto entry = in_string ? vocabulary_->strings.entry(key.b, key.c) : build(frame);
  vocabulary_->masks.keep(key, entry);
  return entry;
}

// The frame is set on a floor of its own: what steps on that floor has left the value.
std::shared_ptr<const MaskEntry> GrammarMatcher::build(Frame frame) {
  const GrammarStates::Mark mark = states_.mark();
  inside_.clear();
  exits_.clear();
  frame.parent = kFloor;
  frame.below = 0;
  frame.depth = 1;
  if (missing_characters(frame) > kLongest)
    frame.count = graph_->nodes[frame.node].least - kLongest;  // as its key says
  walk_.assign(1, states_.add(frame));
  states_.deepest = 0;
  build_from(0, static_cast<std::uint32_t>(vocabulary_->trie.nodes().size()), 0, 1);
  auto entry = make_mask_entry(inside_, exits_, vocabulary_->trie.text_tokens().size());
  entry->deepest = states_.deepest;
  states_.release(mark);
  return entry;
}

void GrammarMatcher::build_from(std::uint32_t begin, std::uint32_t end, std::size_t tops_begin, std::size_t tops_end) {
  const auto& nodes = vocabulary_->trie.nodes();
  for (std::uint32_t i = begin; i < end; i = nodes[i].end) {
    const GrammarStates::Mark mark = states_.mark();
    bool left = false;
    for (std::size_t t = tops_begin; t < tops_end; ++t) {
      const Frame& from = states_.frame(walk_[t]);
      // A number may be over without a byte that says so: this byte is then what follows it.
      const bool over = states_.complete(walk_[t]) && from.kind == Kind::kRegular &&
                        graph_->dfas.next(from.state, nodes[i].byte) == kDeadState;
      if (over && !left) add_exits(i, nodes[i].depth), left = true;
      states_.step(walk_[t], nodes[i].byte, walk_);
    }
    states_.limit(walk_, tops_end);
    const auto floor = std::remove(walk_.begin() + static_cast<std::ptrdiff_t>(tops_end), walk_.end(), kFloor);
    if (floor != walk_.end() && !left) add_exits(i, nodes[i].depth + 1U);
    walk_.erase(floor, walk_.end());
    const std::size_t next_end = walk_.size();
    if (next_end > tops_end) {
      if (nodes[i].token >= 0) inside_.emplace_back(cheapest(tops_end, next_end), nodes[i].token);
      if (nodes[i].end > i + 1) build_from(i + 1, nodes[i].end, tops_end, next_end);
    }
    walk_.resize(tops_end);
    states_.release(mark);
  }
}

// The tokens at and below a node of the trie end the value: `spelled` bytes of them belong to it.
void GrammarMatcher::add_exits(std::uint32_t node, std::size_t spelled) {
  const auto& nodes = vocabulary_->trie.nodes();
  for (std::uint32_t i = node; i < nodes[node].end; ++i) {
    if (nodes[i].token < 0) continue;
    const std::string_view rest = vocabulary_->tokenizer->token_bytes(nodes[i].token).substr(spelled);
    // Nothing else follows a value.
    if (rest.empty() || rest[0] == ',' || rest[0] == ']' || rest[0] == '}') exits_.push_back({rest, nodes[i].token});
  }
}

// ---- masks from entries

void GrammarMatcher::fill_entry(std::span<std::uint64_t> allowed, const Frame& frame, const MaskEntry& entry,
                                std::int64_t budget) {
  // No token brings more than kLongest characters; those missing beyond are a cost of their own.
  const std::uint32_t missing = missing_characters(frame);
  const std::int64_t inside = budget - frame.below - (missing > kLongest ? missing - kLongest : 0);
  if (inside >= 0) entry.set_inside(allowed, static_cast<std::uint32_t>(std::min<std::int64_t>(inside, kNeverEnds)));
  const MaskEntry::Exit& whole = entry.exits.front();
  if (budget >= frame.below) allow_exits(allowed, entry, whole, 0, nullptr);
  if (frame.parent == kFloor) return;
  walk_.assign(1, frame.parent);
  fill_exits(allowed, entry, 1, whole.end, 0, 1, budget, nullptr);
}

// Sets the exit's tokens. `name`: they close that name and spell so many bytes behind the quote; one that would be
// taken twice is left out.
void GrammarMatcher::allow_exits(std::span<std::uint64_t> allowed, const MaskEntry& entry, const MaskEntry::Exit& exit,
                                 std::size_t spelled, const Frame* name) {
  for (std::uint32_t t = exit.tokens_begin; t < exit.tokens_end; ++t) {
    const TokenId token = entry.exit_tokens[t];
    if (name != nullptr) {
      const std::string_view bytes = vocabulary_->tokenizer->token_bytes(token);
      // Another name in the same token could be this one again.
      if (bytes.substr(bytes.size() - spelled).find(",\"") != std::string_view::npos) continue;
      if (!states_.other_name_free(*name, bytes.substr(0, bytes.size() - 1 - spelled))) continue;
    }
    set_bit(allowed, token);
  }
}

void GrammarMatcher::fill_exits(std::span<std::uint64_t> allowed, const MaskEntry& entry, std::uint32_t begin,
                                std::uint32_t end, std::size_t tops_begin, std::size_t tops_end, std::int64_t budget,
                                const Frame* name) {
  for (std::uint32_t i = begin; i < end; i = entry.exits[i].end) {
    const MaskEntry::Exit& exit = entry.exits[i];
    const GrammarStates::Mark mark = states_.mark();
    for (std::size_t t = tops_begin; t < tops_end; ++t) states_.step(walk_[t], exit.byte, walk_);
    states_.limit(walk_, tops_end);
    const std::size_t next_end = walk_.size();
    if (next_end > tops_end) {
      if (exit.tokens_begin < exit.tokens_end && cheapest(tops_end, next_end) <= budget)
        allow_exits(allowed, entry, exit, exit.depth, name);
      if (exit.end > i + 1) fill_exits(allowed, entry, i + 1, exit.end, tops_end, next_end, budget, name);
    }
    walk_.resize(tops_end);
    states_.release(mark);
  }
}

// Tokens within a name that holds no escapes, and those that close it: their spelling is what stands behind the quote.
std::shared_ptr<const MaskEntry> GrammarMatcher::name_entry(const Frame& frame) {
  const MaskKey key = key_of(frame);
  if (auto found = vocabulary_->masks.find(key)) return found;
  inside_.clear();
  exits_.clear();
  for (const TokenTrie::Node& node : vocabulary_->trie.nodes()) {
    if (node.token < 0) continue;
    const std::string_view bytes = vocabulary_->tokenizer->token_bytes(node.token);
    auto state = static_cast<StringState>(frame.state);
    std::size_t at = 0;
    while (at < bytes.size() && state != kNoState && bytes[at] != '\\' && !(bytes[at] == '"' && state == kWhole))
      state = next_in_string(state, static_cast<std::uint8_t>(bytes[at++]));
    if (state == kNoState) continue;
    if (at == bytes.size()) {
      inside_.emplace_back(bytes_to_whole(state), node.token);
    } else if (bytes[at] == '"' && (at + 1 == bytes.size() || bytes[at + 1] == ':')) {
      exits_.push_back({bytes.substr(at + 1), node.token});
    }
  }
  auto entry = make_mask_entry(inside_, exits_, vocabulary_->trie.text_tokens().size());
  vocabulary_->masks.keep(key, entry);
  return entry;
}

// A name that may be an additional member's: any characters may come, as long as there is room for two more that make
// it distinct; then single bytes only, those that lead to the end.
void GrammarMatcher::fill_name(std::span<std::uint64_t> allowed, FrameId id, std::int64_t budget) {
  const Frame frame = states_.frame(id);
  const auto all = static_cast<std::uint32_t>(vocabulary_->trie.nodes().size());
  const auto entry = name_entry(frame);
  const std::int64_t letters = budget - states_.other_name_cost(frame) - 2;
  if (letters >= 0) {
    entry->set_inside(allowed, static_cast<std::uint32_t>(std::min<std::int64_t>(letters, kNeverEnds)));
  } else {
    for (std::uint32_t i = 0; i < all; i = vocabulary_->trie.nodes()[i].end) {
      const TokenTrie::Node& node = vocabulary_->trie.nodes()[i];
      const char byte = static_cast<char>(node.byte);
      if (node.token >= 0 && try_bytes(id, {&byte, 1}, budget)) set_bit(allowed, node.token);
    }
  }
  if (frame.count != kOther) {  // what closes it may be a declared name, and those may hold escapes
    for (const TokenId token : entry->exit_tokens)
      if (try_bytes(id, vocabulary_->tokenizer->token_bytes(token), budget)) set_bit(allowed, token);
    states_.others_allowed = false;
    walk_.assign(1, id);
    walk(allowed, 0, all, 0, 1, budget);
    states_.others_allowed = true;
    return;
  }
  const GrammarStates::Mark mark = states_.mark();
  Frame closed = frame;
  closed.phase = Phase::kColon;
  closed.state = kOther;
  walk_.assign(1, states_.add(closed));
  if (cheapest(0, 1) <= budget) allow_exits(allowed, *entry, entry->exits.front(), 0, &frame);
  fill_exits(allowed, *entry, 1, entry->exits.front().end, 0, 1, budget, &frame);
  states_.release(mark);
}

}  // namespace baltoro::text
