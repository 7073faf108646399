// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "baltoro/cli/signal_watch.h"

namespace baltoro::cli {

// While one exists, SIGINT, SIGTERM and SIGHUP do not end the program but are told by wait(). One at a time.
class ServeSignals {
 public:
  ServeSignals();

  enum class Came : unsigned char { kNothing, kStop, kReload };
  // The next signal that was not told yet: kStop for SIGINT and SIGTERM, kReload for SIGHUP. kNothing after that many
  // seconds; below 0: waits for ever. One thread.
  Came wait(double seconds);

 private:
  SignalWatch signals_;
  int stops_told_, reloads_told_;
};

}  // namespace baltoro::cli
