// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/line_log.h"

#include <fmt/format.h>
#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace baltoro::cli {

void LineLog::write(std::string_view line) {
  const std::lock_guard lock(mutex_);
  const auto taken = [&] {
    if (cut_ && !put("\n")) return false;
    cut_ = false;
    if (dropped_ > 0 && !put(fmt::format("{} log lines dropped: nobody read them\n", dropped_))) return false;
    dropped_ = 0;
    return put(fmt::format("{}\n", line));
  };
  if (!taken()) ++dropped_;
}

// A pipe that takes anything takes PIPE_BUF bytes without waiting, and no more than that is sure.
bool LineLog::put(std::string_view text) {
  for (bool first = true; !text.empty();) {
    pollfd state{.fd = fd_, .events = POLLOUT, .revents = 0};
    const bool room = ::poll(&state, 1, 0) == 1 && (state.revents & POLLOUT) != 0;
    const ssize_t wrote = room ? ::write(fd_, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF)) : 0;
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) {
      cut_ = cut_ || !first;
      return false;
    }
    text.remove_prefix(static_cast<std::size_t>(wrote));
    first = false;
  }
  return true;
}

}  // namespace baltoro::cli
