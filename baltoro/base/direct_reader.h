// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "baltoro/base/block_reader.h"

namespace baltoro {

struct DirectReaderOptions {
  std::uint32_t tags = 1024;           // reads that may be under way or wait
  int depth = 16;                      // pieces handed to the kernel at a time
  std::int64_t piece_bytes = 1 << 20;  // a read is cut into pieces; multiple of kReadAlignment
  bool io_uring = true;                // false: as if the system refused it
  bool direct = true;                  // false: as if the file system did
};

// Reads through io_uring and past the page cache (O_DIRECT): what is read once and kept in memory of our own must not
// push other pages out. Where the system refuses io_uring (seccomp, an old kernel) `depth` threads read instead; where
// a file system has no O_DIRECT its files are read through the page cache. way() says which it is. Errors: those of
// open_regular.
Result<std::unique_ptr<BlockReader>> open_direct_reader(const std::vector<std::string>& paths, BlockReader::Done done,
                                                        const DirectReaderOptions& options = {});

}  // namespace baltoro
