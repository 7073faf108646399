// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "baltoro/base/result.h"

namespace baltoro::server {

// Looks from a thread of its own whether others still get on. What it sees it says in one line, with the state of every
// thread as the kernel knows it; to end a process that is stuck is its supervisor's part. Steady clock.
class Watchdog {
 public:
  struct Watched {
    std::string name;                      // "the engine"
    std::function<double()> busy_seconds;  // at its present piece of work; 0: at none. Any thread, must not block
  };
  struct Options {
    double limit_seconds = 600;  // a piece of work longer than this is stuck
    double look_seconds = 1;
    std::function<void(std::string_view)> notice;  // one line, when something gets stuck and when it goes on
    std::function<void(bool)> stuck;               // whether anything is; when that changes
  };
  // kResourceExhausted: no thread to be had.
  static Result<std::unique_ptr<Watchdog>> start(Options options, std::vector<Watched> watched);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  Watchdog(Options options, std::vector<Watched> watched);
  void run();
  void look();

  const Options options_;
  const std::vector<Watched> watched_;
  std::vector<bool> stuck_;  // of the watched ones
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ending_ = false;
  std::thread thread_;
};

// How long the oldest piece of work that any of several threads is at has taken. Any thread.
class WorkClock {
 public:
  class Piece {
   public:
    explicit Piece(WorkClock& clock);
    ~Piece();
    Piece(const Piece&) = delete;
    Piece& operator=(const Piece&) = delete;

   private:
    WorkClock& clock_;
    std::multiset<double>::iterator began_;
  };
  double oldest_seconds() const;  // 0: none

 private:
  mutable std::mutex mutex_;
  std::multiset<double> began_;
};

// This process's threads: "4711 R, 4712 S futex_wait_queue, ...", 64 at most.
std::string thread_states();

}  // namespace baltoro::server
