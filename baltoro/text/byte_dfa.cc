// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/byte_dfa.h"

#include <algorithm>
#include <map>
#include <utility>

#include "baltoro/base/check.h"

namespace baltoro::text {
namespace {

constexpr std::size_t kManyBytes = 64;

// Bytes from each state to the nearest accepting one.
std::vector<std::uint32_t> distances(const ByteDfas::Draft& draft) {
  const std::size_t n = draft.states.size();
  std::vector<std::vector<std::uint32_t>> before(n);
  std::vector<std::uint32_t> cost(n, kNeverEnds), queue;
  for (std::uint32_t s = 0; s < n; ++s) {
    for (const ByteEdge& edge : draft.states[s].edges) before[edge.next].push_back(s);
    if (!draft.states[s].accepts) continue;
    cost[s] = 0;
    queue.push_back(s);
  }
  for (std::size_t at = 0; at < queue.size(); ++at) {
    for (const std::uint32_t s : before[queue[at]]) {
      if (cost[s] != kNeverEnds) continue;
      cost[s] = cost[queue[at]] + 1;
      queue.push_back(s);
    }
  }
  return cost;
}

}  // namespace

std::uint32_t ByteDfas::add(const Draft& draft) {
  const std::vector<std::uint32_t> cost = distances(draft);
  if (draft.states.empty() || cost[0] >= kNeverEnds) return kDeadState;
  std::vector<std::uint32_t> place(draft.states.size(), kDeadState);
  auto count = static_cast<std::uint32_t>(states_.size());
  const std::uint32_t start = count;
  for (std::size_t s = 0; s < draft.states.size(); ++s)
    if (cost[s] < kNeverEnds) place[s] = count++;
  for (std::size_t s = 0; s < draft.states.size(); ++s) {
    if (place[s] == kDeadState) continue;
    State state{.edges_begin = static_cast<std::uint32_t>(edges_.size()), .cost = cost[s]};
    state.accepts = draft.states[s].accepts;
    std::vector<ByteEdge> edges = draft.states[s].edges;
    std::sort(edges.begin(), edges.end(), [](const ByteEdge& a, const ByteEdge& b) { return a.low < b.low; });
    for (const ByteEdge& edge : edges) {
      const std::uint32_t next = place[edge.next];
      if (next == kDeadState) continue;
      ByteEdge* last = edges_.size() > state.edges_begin ? &edges_.back() : nullptr;
      if (last != nullptr && last->next == next && last->high + 1 == edge.low) {
        last->high = edge.high;
      } else {
        edges_.push_back({edge.low, edge.high, next});
      }
    }
    state.edges_end = static_cast<std::uint32_t>(edges_.size());
    states_.push_back(state);
    states_.back().wide = bytes_from(static_cast<std::uint32_t>(states_.size() - 1)).count() > kManyBytes;
  }
  return start;
}

std::bitset<256> ByteDfas::bytes_from(std::uint32_t state) const {
  std::bitset<256> bytes;
  for (std::uint32_t i = states_[state].edges_begin; i < states_[state].edges_end; ++i)
    for (unsigned byte = edges_[i].low; byte <= edges_[i].high; ++byte) bytes.set(byte);
  return bytes;
}

std::uint32_t ByteDfas::add_literals(const std::vector<std::string>& texts, const TokenTrie& trie) {
  std::vector<std::map<std::uint8_t, std::uint32_t>> children(1);
  std::vector<bool> accepts(1, false);
  for (const std::string& text : texts) {
    BALTORO_CHECK(!text.empty(), "a literal of JSON has a byte");
    std::uint32_t at = 0;
    for (const char c : text) {
      const auto byte = static_cast<std::uint8_t>(c);
      const auto [found, added] = children[at].try_emplace(byte, static_cast<std::uint32_t>(children.size()));
      at = found->second;
      if (!added) continue;
      children.emplace_back();
      accepts.push_back(false);
    }
    accepts[at] = true;
  }
  Draft draft;
  draft.states.resize(children.size());
  for (std::size_t s = 0; s < children.size(); ++s) {
    draft.states[s].accepts = accepts[s];
    for (const auto& [byte, next] : children[s]) draft.states[s].edges.push_back({byte, byte, next});
  }
  const auto begin = static_cast<std::uint32_t>(states_.size());
  const std::uint32_t start = add(draft);
  cost_literals(begin, trie);
  return start;
}

// States of a literals' automaton come after those that lead to them, so backwards every cost is known in time.
void ByteDfas::cost_literals(std::uint32_t begin, const TokenTrie& trie) {
  const auto& nodes = trie.nodes();
  struct Visit {
    std::uint32_t node, end, state;
  };
  std::vector<Visit> open;
  for (auto s = static_cast<std::uint32_t>(states_.size()); s-- > begin;) {
    states_[s].wide = false;           // one byte need not be nearer to the end
    if (states_[s].accepts) continue;  // cost 0
    open.assign(1, {0, static_cast<std::uint32_t>(nodes.size()), s});
    while (!open.empty()) {
      Visit& visit = open.back();
      if (visit.node >= visit.end) {
        open.pop_back();
        continue;
      }
      const TokenTrie::Node& node = nodes[visit.node];
      const std::uint32_t first = visit.node + 1, state = next(visit.state, node.byte);
      visit.node = node.end;
      if (state == kDeadState) continue;
      if (node.token >= 0) states_[s].cost = std::min(states_[s].cost, states_[state].cost + 1);
      open.push_back({first, node.end, state});
    }
  }
}

bool ByteDfas::matches(std::uint32_t state, std::string_view text) const {
  for (const char c : text) {
    if (state == kDeadState) return false;
    state = next(state, static_cast<std::uint8_t>(c));
  }
  return state != kDeadState && accepts(state);
}

}  // namespace baltoro::text
