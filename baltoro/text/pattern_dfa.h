// SPDX-License-Identifier: Apache-2.0
// From a pattern to an automaton of JSON strings. Inside text/ only.
#pragma once

#include "baltoro/base/result.h"
#include "baltoro/text/byte_dfa.h"
#include "baltoro/text/regex_syntax.h"

namespace baltoro::text {

// The JSON strings, quotes and all, whose text the tree matches and whose length in code points lies in [least, most].
// Each text has one spelling: UTF-8, with escapes only where JSON demands them. kUnsupported: over 20,000 states before
// or 4,000 after determinisation. Thompson's construction, then subsets: linear in time for each state made.
Result<ByteDfas::Draft> pattern_draft(const RegexNode& pattern, std::uint32_t least, std::uint32_t most);

}  // namespace baltoro::text
