// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/code_point_set.h"

#include <algorithm>

namespace baltoro::text {

const CodePointSet kDigits = {{'0', '9'}};
const CodePointSet kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CodePointSet kSpaces = {{9, 13},          {32, 32},         {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                              {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const CodePointSet kLineEnds = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

CodePointSet normalized(CodePointSet set) {
  std::sort(set.begin(), set.end());
  CodePointSet out;
  for (const CodePointRange& range : set) {
    if (!out.empty() && range.first <= out.back().second + 1) {
      out.back().second = std::max(out.back().second, range.second);
    } else {
      out.push_back(range);
    }
  }
  return out;
}

CodePointSet text_only(const CodePointSet& set) {
  CodePointSet out;
  for (const auto& [low, high] : set) {
    if (low < 0xD800) out.emplace_back(low, std::min(high, 0xD7FFU));
    if (high > 0xDFFF) out.emplace_back(std::max(low, 0xE000U), high);
  }
  return out;
}

CodePointSet complement(const CodePointSet& set) {
  CodePointSet out;
  std::uint32_t from = 0;
  for (const auto& [low, high] : normalized(set)) {
    if (low > from) out.emplace_back(from, low - 1);
    from = high + 1;
  }
  if (from <= kLastCodePoint) out.emplace_back(from, kLastCodePoint);
  return out;
}

}  // namespace baltoro::text
