// SPDX-License-Identifier: Apache-2.0
// Masks of the places where the innermost value alone decides, built once for each schema. Inside text/ only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "baltoro/text/grammar_states.h"
#include "baltoro/text/grammar_vocabulary.h"
#include "baltoro/text/mask_store.h"
#include "baltoro/text/schema_graph.h"

namespace baltoro::text {

// Whether the place has an entry: within what is regular, before a value, behind the bracket of an array.
bool has_entry(const Frame& frame);

// Finds or builds entries. Scratch of its own; single thread.
class ValueMasks {
 public:
  explicit ValueMasks(GrammarVocabulary& vocabulary) : vocabulary_(vocabulary) {}

  // `frame`: of the states' graph. What is made in them is forgotten again.
  std::shared_ptr<const MaskEntry> entry_of(const Frame& frame, GrammarStates& states);

 private:
  std::shared_ptr<MaskEntry> regular_entry(const ByteDfas& dfas, std::uint32_t state);
  std::shared_ptr<MaskEntry> value_entry(Frame frame, GrammarStates& states);
  void walk_regular(const ByteDfas& dfas, std::uint32_t begin, std::uint32_t end, std::uint32_t state);
  void walk(std::uint32_t begin, std::uint32_t end, std::size_t tops_begin, std::size_t tops_end,
            GrammarStates& states);
  void add_exits(std::uint32_t node, std::size_t spelled);

  GrammarVocabulary& vocabulary_;
  std::vector<FrameId> walk_;
  std::vector<std::pair<std::uint32_t, TokenId>> inside_;
  std::vector<TokenExit> exits_;
};

// Builds the schema's dear entries ahead of their use, those that a text meets first before others, until all are there
// or a limit is met. The others are built where they are met. Any thread.
struct WarmLimits {
  double seconds = 0.1;
  std::size_t bytes = std::size_t{8} << 20;
};
void warm_masks(GrammarVocabulary& vocabulary, const SchemaGraph& graph, const WarmLimits& limits);

}  // namespace baltoro::text
