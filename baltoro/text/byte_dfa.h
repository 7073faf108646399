// SPDX-License-Identifier: Apache-2.0
// Deterministic automata over bytes: what is regular in a JSON text (numbers in a range, strings of a pattern,
// literals). Inside text/ only.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/text/token_trie.h"

namespace baltoro::text {

inline constexpr std::uint32_t kDeadState = 0xFFFFFFFF;
// A cost (in tokens) that no budget meets; sums saturate here.
inline constexpr std::uint32_t kNeverEnds = std::uint32_t{1} << 28;
inline std::uint32_t add_costs(std::uint32_t a, std::uint32_t b) { return a + b < kNeverEnds ? a + b : kNeverEnds; }

struct ByteEdge {
  std::uint8_t low, high;  // inclusive
  std::uint32_t next;
};

// Many automata in one table; a state's number tells which.
class ByteDfas {
 public:
  struct State {
    std::uint32_t edges_begin = 0, edges_end = 0;  // ascending, disjoint
    std::uint32_t cost = kNeverEnds;               // at most so many tokens from here to an accepting state
    bool accepts = false;
    bool wide = false;  // most bytes lead on, each by itself nearer to an end
  };

  // One automaton before it is added: state 0 is its start.
  struct Draft {
    struct DraftState {
      std::vector<ByteEdge> edges;
      bool accepts = false;
    };
    std::vector<DraftState> states;
  };

  // Adds the draft without the states that lead nowhere, and gives its start, or kDeadState when it accepts nothing.
  // Costs are in single bytes.
  std::uint32_t add(const Draft& draft);
  // An automaton of exactly these texts (not empty). Costs are exact in tokens of `trie`.
  std::uint32_t add_literals(const std::vector<std::string>& texts, const TokenTrie& trie);

  std::uint32_t next(std::uint32_t state, std::uint8_t byte) const {
    const State& s = states_[state];
    for (std::uint32_t i = s.edges_begin; i < s.edges_end; ++i) {
      if (byte < edges_[i].low) break;
      if (byte <= edges_[i].high) return edges_[i].next;
    }
    return kDeadState;
  }
  bool accepts(std::uint32_t state) const { return states_[state].accepts; }
  // Accepting and without a way on: the text is over.
  bool ends(std::uint32_t state) const {
    return states_[state].accepts && states_[state].edges_begin == states_[state].edges_end;
  }
  std::uint32_t cost(std::uint32_t state) const { return states_[state].cost; }
  bool wide(std::uint32_t state) const { return states_[state].wide; }
  std::bitset<256> bytes_from(std::uint32_t state) const;
  // Calls use(next state) for every edge.
  template <typename Use>
  void for_next(std::uint32_t state, const Use& use) const {
    for (std::uint32_t i = states_[state].edges_begin; i < states_[state].edges_end; ++i) use(edges_[i].next);
  }
  // Whether the whole text is accepted from `state`.
  bool matches(std::uint32_t state, std::string_view text) const;
  std::size_t size() const { return states_.size(); }
  std::size_t bytes() const { return states_.size() * sizeof(State) + edges_.size() * sizeof(ByteEdge); }

 private:
  void cost_literals(std::uint32_t begin, const TokenTrie& trie);

  std::vector<State> states_;
  std::vector<ByteEdge> edges_;
};

}  // namespace baltoro::text
