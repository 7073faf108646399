// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "baltoro/text/grammar_states.h"
#include "baltoro/text/mask_store.h"
#include "baltoro/text/schema_graph.h"
#include "baltoro/text/string_masks.h"
#include "baltoro/text/token_trie.h"

namespace baltoro::text {

// What all grammars of a vocabulary share.
struct GrammarVocabulary {
  TokenTrie trie;
  StringMasks strings;
  MaskStore masks{std::size_t{64} << 20};
  std::shared_ptr<const Tokenizer> tokenizer;
};
// kUnsupported as TokenTrie::build.
Result<std::shared_ptr<GrammarVocabulary>> make_grammar_vocabulary(std::shared_ptr<const Tokenizer> tokenizer);

// One JSON value being written under a schema: compact JSON (no white space), members in any order, each name once.
// The mask is exact but for names of members that no schema declares, where it may leave out tokens: after an allowed
// token the value can still be ended within the budget. A budget at least cost() at
// the start is met by every text that follows the masks. Single thread; copies are independent.
class GrammarMatcher {
 public:
  GrammarMatcher(std::shared_ptr<GrammarVocabulary> vocabulary, std::shared_ptr<const SchemaGraph> graph);

  void restart();
  // Sets the bits of the text tokens after which at most `budget` further tokens end the value.
  void fill(std::span<std::uint64_t> allowed, std::int64_t budget);
  // False when the bytes cannot come here; nothing may follow then.
  bool accept(std::string_view bytes);
  bool can_end() const;  // the value is whole (a number may still go on)
  bool alive() const { return !tops_.empty(); }
  std::uint32_t cost() const;  // at most so many tokens to the end

 private:
  using Walk = std::vector<FrameId>;
  bool cacheable(const Frame& frame) const;
  MaskKey key_of(const Frame& frame) const;
  std::uint32_t missing_characters(const Frame& frame) const;
  std::shared_ptr<const MaskEntry> entry_of(const Frame& frame);
  std::shared_ptr<const MaskEntry> build(Frame frame);
  void build_from(std::uint32_t begin, std::uint32_t end, std::size_t tops_begin, std::size_t tops_end);
  void add_exits(std::uint32_t node, std::size_t spelled);
  void fill_entry(std::span<std::uint64_t> allowed, const Frame& frame, const MaskEntry& entry, std::int64_t budget);
  void fill_exits(std::span<std::uint64_t> allowed, const MaskEntry& entry, std::uint32_t begin, std::uint32_t end,
                  std::size_t tops_begin, std::size_t tops_end, std::int64_t budget, const Frame* name);
  std::shared_ptr<const MaskEntry> name_entry(const Frame& frame);
  void allow_exits(std::span<std::uint64_t> allowed, const MaskEntry& entry, const MaskEntry::Exit& exit,
                   std::size_t spelled, const Frame* name);
  void fill_name(std::span<std::uint64_t> allowed, FrameId id, std::int64_t budget);
  void walk(std::span<std::uint64_t> allowed, std::uint32_t begin, std::uint32_t end, std::size_t tops_begin,
            std::size_t tops_end, std::int64_t budget);
  bool try_bytes(FrameId from, std::string_view bytes, std::int64_t budget);
  std::uint32_t cheapest(std::size_t begin, std::size_t end) const;

  std::shared_ptr<GrammarVocabulary> vocabulary_;
  std::shared_ptr<const SchemaGraph> graph_;
  GrammarStates states_;
  std::vector<FrameId> tops_, next_;
  Walk walk_, tried_;
  // While an entry is built.
  std::vector<std::pair<std::uint32_t, TokenId>> inside_;
  std::vector<TokenExit> exits_;
};

}  // namespace baltoro::text
