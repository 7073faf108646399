// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>

namespace baltoro::cli {

// While one exists, SIGINT, SIGTERM and SIGHUP do not end the program but are told by wait(). One at a time.
class ServeSignals {
 public:
  ServeSignals();
  ~ServeSignals();  // signals as before
  ServeSignals(const ServeSignals&) = delete;
  ServeSignals& operator=(const ServeSignals&) = delete;

  enum class Came : unsigned char { kNothing, kStop, kReload };
  // The next signal that was not told yet: kStop for SIGINT and SIGTERM, kReload for SIGHUP. kNothing after that many
  // seconds; below 0: waits for ever. One thread.
  Came wait(double seconds);

 private:
  int fd_ = -1;
  int stops_told_ = 0, reloads_told_ = 0;
  struct sigaction old_int_{}, old_term_{}, old_hup_{};
};

}  // namespace baltoro::cli
