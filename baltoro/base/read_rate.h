// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "baltoro/base/direct_reader.h"

namespace baltoro {

// The buffers of a measurement.
inline constexpr std::int64_t kReadRateMemory = 64 << 20;

// What a device gives when nothing else is asked of it.
struct ReadRate {
  std::int64_t bytes = 0;
  double seconds = 0;
  std::string way;  // BlockReader::way
  double bytes_per_s() const { return seconds > 0 ? static_cast<double>(bytes) / seconds : 0; }
};

// Reads `bytes` of the files in order, from `start` bytes into them on (past the end of all: from the front again), by
// the reader that weights are streamed with, and keeps none. The errors of open_direct_reader and its reads.
Result<ReadRate> measure_read_rate(const std::vector<std::string>& paths, std::int64_t start, std::int64_t bytes,
                                   const DirectReaderOptions& options = {});

}  // namespace baltoro
