// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace baltoro::server {

// What the system says of this process. 0 where it does not.
struct ProcessFigures {
  double cpu_seconds = 0;         // user and system
  double start_unix_seconds = 0;  // of this program's measuring, at its first call
  std::int64_t open_files = 0, max_files = 0;
};
ProcessFigures process_figures();

}  // namespace baltoro::server
