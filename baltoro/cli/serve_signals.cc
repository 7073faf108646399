// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/serve_signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>

#include "baltoro/base/check.h"
#include "baltoro/base/clock.h"

namespace baltoro::cli {
namespace {

// A signal handler can reach nothing but static storage.
std::atomic<int> wake_fd{-1}, stops{0}, reloads{0};
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int signal) {
  const int saved = errno;
  ++(signal == SIGHUP ? reloads : stops);
  const std::uint64_t one = 1;
  (void)!::write(wake_fd.load(), &one, sizeof one);
  errno = saved;
}

}  // namespace

ServeSignals::ServeSignals() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  BALTORO_CHECK(fd_ >= 0, "no descriptor left for signals");
  BALTORO_CHECK(wake_fd.exchange(fd_) == -1, "signals are waited for in two places at once");
  stops_told_ = stops.load();
  reloads_told_ = reloads.load();
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, &old_int_);
  ::sigaction(SIGTERM, &action, &old_term_);
  ::sigaction(SIGHUP, &action, &old_hup_);
}

ServeSignals::~ServeSignals() {
  ::sigaction(SIGINT, &old_int_, nullptr);
  ::sigaction(SIGTERM, &old_term_, nullptr);
  ::sigaction(SIGHUP, &old_hup_, nullptr);
  wake_fd.store(-1);
  ::close(fd_);
}

ServeSignals::Came ServeSignals::wait(double seconds) {
  const double until = steady_seconds() + seconds;
  while (true) {
    eventfd_t ignored = 0;
    (void)!::eventfd_read(fd_, &ignored);
    if (stops.load() != stops_told_) return ++stops_told_, Came::kStop;
    if (reloads.load() != reloads_told_) {
      reloads_told_ = reloads.load();  // many are as good as one
      return Came::kReload;
    }
    const double left = until - steady_seconds();
    if (seconds >= 0 && left <= 0) return Came::kNothing;
    pollfd state{.fd = fd_, .events = POLLIN, .revents = 0};
    (void)::poll(&state, 1, seconds < 0 ? -1 : static_cast<int>(std::min(left, 3600.0) * 1000) + 1);
  }
}

}  // namespace baltoro::cli
