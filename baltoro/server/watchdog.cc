// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/watchdog.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "baltoro/base/clock.h"
#include "baltoro/base/quiet_thread.h"

namespace baltoro::server {

Watchdog::Watchdog(Options options, std::vector<Watched> watched)
    : options_(std::move(options)), watched_(std::move(watched)), stuck_(watched_.size()) {}

Result<std::unique_ptr<Watchdog>> Watchdog::start(Options options, std::vector<Watched> watched) {
  std::unique_ptr<Watchdog> out(new Watchdog(std::move(options), std::move(watched)));
  BALTORO_TRY(out->thread_, start_quiet_thread([dog = out.get()] { dog->run(); }));
  return out;
}

Watchdog::~Watchdog() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Watchdog::run() {
  std::unique_lock lock(mutex_);
  const std::chrono::duration<double> pause(options_.look_seconds);
  while (!wake_.wait_for(lock, pause, [this] { return ending_; })) {
    lock.unlock();
    try {
      look();
    } catch (const std::exception&) {  // no memory for the line: the next look says it
    }
    lock.lock();
  }
}

void Watchdog::look() {
  const bool before = std::ranges::find(stuck_, true) != stuck_.end();
  for (std::size_t i = 0; i < watched_.size(); ++i) {
    const double seconds = watched_[i].busy_seconds();
    const bool stuck = seconds > options_.limit_seconds;
    if (stuck == stuck_[i]) continue;
    if (options_.notice && stuck) {
      options_.notice(fmt::format("watchdog: {} has been at one piece of work for {:.0f} s; threads: {}",
                                  watched_[i].name, seconds, thread_states()));
    } else if (options_.notice) {
      options_.notice(fmt::format("watchdog: {} goes on", watched_[i].name));
    }
    stuck_[i] = stuck;
  }
  const bool now = std::ranges::find(stuck_, true) != stuck_.end();
  if (options_.stuck && now != before) options_.stuck(now);
}

WorkClock::Piece::Piece(WorkClock& clock) : clock_(clock) {
  const std::lock_guard lock(clock_.mutex_);
  began_ = clock_.began_.insert(steady_seconds());
}

WorkClock::Piece::~Piece() {
  const std::lock_guard lock(clock_.mutex_);
  clock_.began_.erase(began_);
}

double WorkClock::oldest_seconds() const {
  const std::lock_guard lock(mutex_);
  return began_.empty() ? 0 : steady_seconds() - *began_.begin();
}

std::string thread_states() {
  std::string out;
  std::error_code failed;
  int left = 64;
  std::filesystem::directory_iterator task("/proc/self/task", failed);
  for (; !failed && task != std::filesystem::directory_iterator() && left-- > 0; task.increment(failed)) {
    std::string stat, waits_in;
    std::getline(std::ifstream(task->path() / "stat"), stat);
    std::getline(std::ifstream(task->path() / "wchan"), waits_in);  // "0" where it runs, or where that is a secret
    const std::size_t name_end = stat.rfind(") ");
    const char state = name_end == std::string::npos || name_end + 2 >= stat.size() ? '?' : stat[name_end + 2];
    fmt::format_to(std::back_inserter(out), "{}{} {}{}{}", out.empty() ? "" : ", ", task->path().filename().string(),
                   state, waits_in.empty() || waits_in == "0" ? "" : " ", waits_in == "0" ? "" : waits_in);
  }
  return out;
}

}  // namespace baltoro::server
