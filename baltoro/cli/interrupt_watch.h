// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "baltoro/cli/signal_watch.h"

namespace baltoro::cli {

// While one exists, Ctrl-C (SIGINT), SIGTERM and SIGHUP do not end the program: they make fd() readable. One at a time.
class InterruptWatch {
 public:
  InterruptWatch() : signals_(SignalWatch::Calls::kInterrupted) {}

  // Readable from the signal until clear().
  int fd() const { return signals_.fd(); }
  bool interrupted() const;  // one of them came since the last clear()
  bool terminated() const;   // SIGTERM or SIGHUP ever came
  void clear();              // forgets an interrupt; a termination stays

 private:
  SignalWatch signals_;
};

}  // namespace baltoro::cli
