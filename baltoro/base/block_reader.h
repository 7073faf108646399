// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "baltoro/base/result.h"

namespace baltoro {

// Offsets, lengths and addresses of reads that pass the page cache by are multiples of this many bytes: no disk has
// larger sectors.
inline constexpr std::int64_t kReadAlignment = 4096;

// A range of a file that is to be in memory.
struct BlockRead {
  std::uint32_t tag = 0;      // names the read: at most one of a tag at a time
  int file = 0;               // as opened
  std::int64_t offset = 0;    // multiple of kReadAlignment
  std::int64_t bytes = 0;     // that must come, at least 1
  std::byte* into = nullptr;  // aligned to kReadAlignment, with room for `bytes` rounded up to it
};

enum class Urgency : std::uint8_t { kNow, kLater };  // nothing of kLater starts while something of kNow waits

// Since the reader was made.
struct BlockReaderStats {
  std::int64_t bytes_read = 0;  // from the device, with the edges that alignment adds
  double busy_seconds = 0;      // while anything was under way
  std::int64_t retries = 0;     // reads that the system failed, and that were tried once more
  bool io_uring = false;        // reads through io_uring, not by threads
  bool direct = false;          // past the page cache
};

// Reads ranges of files in the background, in the order asked. Thread-safe; allocates nothing after creation unless a
// read fails.
class BlockReader {
 public:
  // Called once for each read, from a thread of the reader's, without locks: may call the reader. An error says which
  // file and why: kIo, after a second try; kCorrupt when the file ends early; kCancelled: see cancel().
  using Done = std::function<void(std::uint32_t tag, Status status)>;

  // Forgets what has not begun, and waits for what has: no `into` is written to afterwards and no Done called.
  virtual ~BlockReader() = default;
  virtual void read(const BlockRead& read, Urgency urgency) = 0;
  virtual void hurry(std::uint32_t tag) = 0;  // a read of kLater that has not ended becomes one of kNow
  // A read is not wanted any more: what has not begun of it is dropped. True: that was all of it, and no Done comes.
  // False: Done comes, with kCancelled if anything was dropped.
  virtual bool cancel(std::uint32_t tag) = 0;
  virtual BlockReaderStats stats() const = 0;
  virtual std::string way() const = 0;  // how it reads, for logs: "io_uring, O_DIRECT"
};

// Opens files for reading. `tags`: one more than the largest that reads will have.
using OpenBlockReader = std::function<Result<std::unique_ptr<BlockReader>>(const std::vector<std::string>& paths,
                                                                           BlockReader::Done done, std::uint32_t tags)>;

}  // namespace baltoro
