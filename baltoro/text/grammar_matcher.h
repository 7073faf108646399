// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "baltoro/text/grammar_states.h"
#include "baltoro/text/grammar_vocabulary.h"
#include "baltoro/text/schema_graph.h"
#include "baltoro/text/value_masks.h"

namespace baltoro::text {

// One JSON value being written under a schema: compact JSON (no white space), members in any order, each name once.
// After an allowed token the value can still be ended within the budget, and a budget at least cost() at the start is
// met by every text that follows the masks. The mask is exact but for what it leaves out: names of members that no
// schema declares, where they may be taken or near the end of the budget; where over kMaxTops alternatives are possible
// at once, what only the dearer ones of them allow; where over kMaxWide patterns are possible at once, longer tokens of
// the others. Single thread.
class GrammarMatcher {
 public:
  GrammarMatcher(std::shared_ptr<GrammarVocabulary> vocabulary, std::shared_ptr<const SchemaGraph> graph);

  void restart(std::shared_ptr<const SchemaGraph> graph);  // another value
  // Sets the bits of the text tokens after which at most `budget` further tokens end the value. `allowed`: all zero.
  // Where alternatives are too many, fewer of them are followed from here on.
  void fill(std::span<std::uint64_t> allowed, std::int64_t budget);
  // False when the bytes cannot come here; nothing may follow then.
  bool accept(std::string_view bytes);
  bool can_end() const;  // the value is whole (a number may still go on)
  bool alive() const { return !tops_.empty(); }
  std::uint32_t cost() const;  // at most so many tokens to the end

 private:
  // Which of the tokens that end a value may come: those that add so many characters, or close this name.
  struct Ending {
    std::uint32_t least = 0, most = 0xFFFFFFFF;
    const Frame* name = nullptr;
  };

  std::size_t fill_tops(std::span<std::uint64_t> allowed, std::int64_t budget);
  void fill_top(std::span<std::uint64_t> allowed, FrameId top, std::int64_t budget);
  void fill_string(std::span<std::uint64_t> allowed, const Frame& frame, std::int64_t budget);
  void fill_name(std::span<std::uint64_t> allowed, FrameId id, std::int64_t budget);
  void fill_bytes(std::span<std::uint64_t> allowed, FrameId id, std::int64_t budget);
  void walk_from(std::span<std::uint64_t> allowed, std::span<const FrameId> tops, std::int64_t budget);
  template <typename Node, typename Allow>
  void walk(const std::vector<Node>& nodes, std::uint32_t begin, std::uint32_t end, std::size_t tops_begin,
            std::size_t tops_end, std::int64_t budget, const Allow& allow);
  void fill_exits(std::span<std::uint64_t> allowed, const TokenExits& exits, FrameId after, std::int64_t budget,
                  const Ending& ending);
  void allow_exits(std::span<std::uint64_t> allowed, const TokenExits& exits, const TokenExits::Node& node,
                   const Ending& ending);
  bool leads_on(FrameId from, std::uint8_t byte, std::int64_t budget);
  std::uint32_t cheapest(std::size_t begin, std::size_t end) const;

  std::shared_ptr<GrammarVocabulary> vocabulary_;
  std::shared_ptr<const SchemaGraph> graph_;
  GrammarStates states_;
  ValueMasks masks_;
  std::vector<FrameId> tops_, walk_;
  std::vector<std::uint64_t> scratch_;  // a mask
};

}  // namespace baltoro::text
