// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>

namespace baltoro::cli {

// While one exists, SIGINT, SIGTERM and SIGHUP do not end the program: they are counted and make fd() readable. One at
// a time.
class SignalWatch {
 public:
  enum class Calls : unsigned char { kInterrupted, kRestarted };  // system calls under way
  explicit SignalWatch(Calls calls);
  ~SignalWatch();  // signals as before
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  // Readable from a signal until clear().
  int fd() const { return fd_; }
  void clear() const;
  // How often each came, since the program's start.
  static int interrupts();
  static int terminations();
  static int hangups();

 private:
  int fd_ = -1;
  struct sigaction old_int_{}, old_term_{}, old_hup_{};
};

}  // namespace baltoro::cli
