// SPDX-License-Identifier: Apache-2.0
// Sets of characters, as patterns name them. Inside text/ only.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace baltoro::text {

inline constexpr std::uint32_t kLastCodePoint = 0x10FFFF;

using CodePointRange = std::pair<std::uint32_t, std::uint32_t>;  // inclusive
using CodePointSet = std::vector<CodePointRange>;

CodePointSet normalized(CodePointSet set);        // ascending and disjoint
CodePointSet text_only(const CodePointSet& set);  // without the surrogates, which no UTF-8 text has
CodePointSet complement(const CodePointSet& set);

extern const CodePointSet kDigits, kWord, kSpaces, kLineEnds;  // of ECMA 262: \d, \w, \s, what . does not match

}  // namespace baltoro::text
