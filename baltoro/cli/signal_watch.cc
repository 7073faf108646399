// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/signal_watch.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

#include "baltoro/base/check.h"

namespace baltoro::cli {
namespace {

// A signal handler can reach nothing but static storage; these are all it touches.
std::atomic<int> wake_fd{-1}, came_int{0}, came_term{0}, came_hup{0};
static_assert(std::atomic<int>::is_always_lock_free);

void on_signal(int signal) {
  const int saved = errno;
  ++(signal == SIGINT ? came_int : signal == SIGTERM ? came_term : came_hup);
  const std::uint64_t one = 1;
  (void)!::write(wake_fd.load(), &one, sizeof one);
  errno = saved;
}

}  // namespace

SignalWatch::SignalWatch(Calls calls) : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  BALTORO_CHECK(fd_ >= 0, "no descriptor left for signals");
  BALTORO_CHECK(wake_fd.exchange(fd_) == -1, "signals are waited for in two places at once");
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = calls == Calls::kRestarted ? SA_RESTART : 0;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, &old_int_);
  ::sigaction(SIGTERM, &action, &old_term_);
  ::sigaction(SIGHUP, &action, &old_hup_);
}

SignalWatch::~SignalWatch() {
  ::sigaction(SIGINT, &old_int_, nullptr);
  ::sigaction(SIGTERM, &old_term_, nullptr);
  ::sigaction(SIGHUP, &old_hup_, nullptr);
  wake_fd.store(-1);
  ::close(fd_);
}

void SignalWatch::clear() const {
  eventfd_t ignored = 0;
  (void)!::eventfd_read(fd_, &ignored);
}

int SignalWatch::interrupts() { return came_int; }
int SignalWatch::terminations() { return came_term; }
int SignalWatch::hangups() { return came_hup; }

}  // namespace baltoro::cli
