// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace baltoro::model {

// Counts since the start. A unit is what is read and dropped as one: an expert, or some small neighbours.
struct ExpertStats {
  std::int64_t hits = 0;                 // units of a step's layer that were in memory when it was begun
  std::int64_t late = 0;                 // that were being read ahead
  std::int64_t misses = 0;               // that had to be asked for
  std::int64_t read_ahead = 0;           // units asked for before a step did
  std::int64_t read_ahead_used = 0;      // of those, units a step then used
  std::int64_t read_ahead_given_up = 0;  // units that turned out wrong before they were read whole
  std::int64_t bytes_read = 0;
  std::int64_t bytes_used = 0;    // of the units read for a step that wanted them
  double read_seconds = 0;        // while any read was under way
  std::int64_t read_retries = 0;  // pieces that the disk failed and that were tried once more
  double stall_seconds = 0;       // the steps waited for reads
  std::int64_t slots = 0;         // units that fit
  std::int64_t cache_bytes = 0;
  bool io_uring = false;  // how it is read: see BlockReaderStats
  bool direct = false;
};

}  // namespace baltoro::model
