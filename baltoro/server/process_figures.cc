// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/process_figures.h"

#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <system_error>

namespace baltoro::server {
namespace {

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

double unix_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

ProcessFigures process_figures() {
  static const double start = unix_seconds();
  ProcessFigures out{.start_unix_seconds = start};
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) == 0) out.cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) out.max_files = static_cast<std::int64_t>(files.rlim_cur);
  std::error_code failed;
  std::filesystem::directory_iterator entry("/proc/self/fd", failed);
  for (; !failed && entry != std::filesystem::directory_iterator(); entry.increment(failed)) ++out.open_files;
  return out;
}

}  // namespace baltoro::server
