// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/file_ranges.h"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "baltoro/base/block_reader.h"
#include "baltoro/base/round_up.h"

namespace baltoro::model {
namespace {

// Reading over a hole this small costs less than a read of its own.
constexpr std::int64_t kMaxHole = 64 << 10;

}  // namespace

RangeLayout lay_out_ranges(std::span<const FileRange> ranges) {
  std::vector<std::size_t> order(ranges.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::tie(ranges[a].file, ranges[a].offset) < std::tie(ranges[b].file, ranges[b].offset);
  });
  RangeLayout layout;
  layout.at.resize(ranges.size());
  for (const std::size_t i : order) {
    const FileRange& range = ranges[i];
    if (range.bytes == 0) continue;
    const std::int64_t end = range.offset + range.bytes;
    Extent* last = layout.extents.empty() ? nullptr : &layout.extents.back();
    if (last == nullptr || last->file != range.file || range.offset > last->offset + last->bytes + kMaxHole) {
      if (last != nullptr) layout.bytes = last->at + round_up(last->bytes, kReadAlignment);
      const std::int64_t begin = round_down(range.offset, kReadAlignment);
      last = &layout.extents.emplace_back(
          Extent{.file = range.file, .offset = begin, .bytes = end - begin, .at = layout.bytes});
    }
    last->bytes = std::max(last->bytes, end - last->offset);
    layout.at[i] = last->at + range.offset - last->offset;
  }
  if (!layout.extents.empty())
    layout.bytes = layout.extents.back().at + round_up(layout.extents.back().bytes, kReadAlignment);
  return layout;
}

}  // namespace baltoro::model
