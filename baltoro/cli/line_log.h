// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <mutex>
#include <string_view>

namespace baltoro::cli {

// Lines on a descriptor whose reader may be stuck or gone. Never waits for it: what it does not take is dropped, and
// counted in a line of its own once it takes lines again. Errors are dropped lines, too. Any thread.
class LineLog {
 public:
  explicit LineLog(int fd) : fd_(fd) {}  // which must outlive it
  void write(std::string_view line);     // without its newline

 private:
  bool put(std::string_view text);

  const int fd_;
  std::mutex mutex_;
  std::int64_t dropped_ = 0;
  bool cut_ = false;  // the last line stands there without its end
};

}  // namespace baltoro::cli
