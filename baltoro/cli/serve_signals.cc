// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/serve_signals.h"

#include <poll.h>

#include <algorithm>

#include "baltoro/base/clock.h"

namespace baltoro::cli {
namespace {

int stops() { return SignalWatch::interrupts() + SignalWatch::terminations(); }

}  // namespace

ServeSignals::ServeSignals()
    : signals_(SignalWatch::Calls::kRestarted), stops_told_(stops()), reloads_told_(SignalWatch::hangups()) {}

ServeSignals::Came ServeSignals::wait(double seconds) {
  const double until = steady_seconds() + seconds;
  while (true) {
    signals_.clear();
    if (stops() != stops_told_) return ++stops_told_, Came::kStop;
    if (const int reloads = SignalWatch::hangups(); reloads != reloads_told_) {
      reloads_told_ = reloads;  // many are as good as one
      return Came::kReload;
    }
    const double left = until - steady_seconds();
    if (seconds >= 0 && left <= 0) return Came::kNothing;
    pollfd state{.fd = signals_.fd(), .events = POLLIN, .revents = 0};
    (void)::poll(&state, 1, seconds < 0 ? -1 : static_cast<int>(std::min(left, 3600.0) * 1000) + 1);
  }
}

}  // namespace baltoro::cli
