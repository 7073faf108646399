// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/interrupt_watch.h"

#include <poll.h>

namespace baltoro::cli {

bool InterruptWatch::interrupted() const {
  pollfd state{.fd = fd(), .events = POLLIN, .revents = 0};
  return ::poll(&state, 1, 0) > 0;
}

bool InterruptWatch::terminated() const { return SignalWatch::terminations() + SignalWatch::hangups() > 0; }

void InterruptWatch::clear() {
  if (!terminated()) signals_.clear();
}

}  // namespace baltoro::cli
