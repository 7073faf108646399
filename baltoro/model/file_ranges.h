// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace baltoro::model {

// Bytes of a checkpoint's file.
struct FileRange {
  std::int32_t file = 0;
  std::int64_t offset = 0;
  std::int64_t bytes = 0;  // 0: nothing
};

// One read of whole aligned blocks: [offset, offset + bytes) of a file to `at` in a block of memory. Offset and `at`
// are multiples of kReadAlignment; the read may fill memory up to the next multiple after its end.
struct Extent {
  std::int32_t file = 0;
  std::int64_t offset = 0;
  std::int64_t bytes = 0;
  std::int64_t at = 0;
};

// Where ranges lie in a block of memory that few large reads fill: ranges that are close in a file share one.
struct RangeLayout {
  std::vector<Extent> extents;
  std::vector<std::int64_t> at;  // of each range
  std::int64_t bytes = 0;        // of the block, a multiple of kReadAlignment
};
RangeLayout lay_out_ranges(std::span<const FileRange> ranges);

}  // namespace baltoro::model
