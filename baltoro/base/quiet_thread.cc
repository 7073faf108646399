// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/quiet_thread.h"

#include <pthread.h>
#include <signal.h>

#include <string>
#include <system_error>
#include <utility>

namespace baltoro {

Result<std::thread> start_quiet_thread(std::function<void()> body) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  Result<std::thread> started = Error{Errc::kResourceExhausted, {}};
  try {
    started = std::thread(std::move(body));
  } catch (const std::system_error& e) {
    started = Error{Errc::kResourceExhausted, std::string("[threads] no thread to be had: ") + e.what()};
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

}  // namespace baltoro
