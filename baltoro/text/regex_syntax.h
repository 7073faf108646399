// SPDX-License-Identifier: Apache-2.0
// The regular part of ECMA 262 patterns, as JSON schemas use them. Inside text/ only.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/text/code_point_set.h"

namespace baltoro::text {

struct RegexNode {
  enum class Kind : std::uint8_t { kEmpty, kSet, kConcat, kAlternate, kRepeat } kind = Kind::kEmpty;
  CodePointSet set = {};                 // kSet: ascending, disjoint, no surrogates
  std::vector<RegexNode> children = {};  // kConcat, kAlternate; one of kRepeat
  std::uint32_t least = 0, most = 0;     // kRepeat; kNoLimit
};
inline constexpr std::uint32_t kNoLimit = 0xFFFFFFFF;

inline constexpr std::size_t kMaxPatternBytes = 4096;

// The pattern as a tree that matches whole texts: where an alternative is not anchored, any text may stand around it.
// kUnsupported: assertions (^ and $ amid an alternative, \b, look-around), back-references, \p, over 4 KiB or 64 nested
// groups. kInvalidArgument: no pattern. Linear in the pattern.
Result<RegexNode> parse_pattern(std::string_view pattern);

}  // namespace baltoro::text
