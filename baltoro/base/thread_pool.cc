// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "baltoro/base/check.h"
#include "baltoro/base/quiet_thread.h"
#include "baltoro/base/thread_control.h"
#include "baltoro/base/worker_teams.h"

namespace baltoro {
namespace {

using std::chrono::microseconds;

constexpr int kMostThreads = 1024;
constexpr microseconds kSpin{50};           // longer than the serial steps between two layers' parallel steps
constexpr microseconds kLongestSpin{1000};  // longer than what lies between two tokens' steps
constexpr microseconds kLookAgain{200};     // between looks at one who keeps us waiting

struct alignas(64) Worker {
  std::thread thread;  // none for the caller
  int team = 0;
  int home = -1;              // the CPU it is pinned to; its own thread's to change
  microseconds spin = kSpin;  // its own thread's
  std::atomic<bool> inside{false};
  std::atomic<bool> moved{false};  // away from home, by one who waited for it
  std::atomic<bool> started{false};
  pid_t id = 0;  // before `started`; the caller's: before `inside`
  clockid_t clock = 0;
};

}  // namespace

// A step is published in three moves: fill `job`, open the gate, count `epoch` up. A worker that sees a new epoch
// passes the gate (which counts it), takes ranges until none is left and leaves. The caller does the same, then closes
// the gate and waits for those inside; a worker that woke too late finds it closed and waits for the next epoch. So the
// caller never waits for a sleeper, and `job` is only rewritten when nobody reads it.
struct ThreadPool::Impl {
  static constexpr std::uint32_t kOpen = 1u << 31;

  struct Job {
    std::int64_t count = 0;
    std::int64_t grain = 1;
    std::int64_t ranges = 0;
    Trampoline trampoline = nullptr;
    const void* context = nullptr;
  };

  Job job;
  alignas(64) std::atomic<std::uint32_t> gate{0};  // kOpen | workers inside
  std::atomic<bool> caller_sleeps{false};          // until the gate is empty
  alignas(64) std::atomic<std::uint32_t> epoch{0};
  alignas(64) std::atomic<int> sleepers{0};  // workers waiting for an epoch
  std::atomic<bool> swapping{false};         // one worker at a time helps the caller
  CpuMask caller_mask;                       // of the thread that calls
  std::atomic<int> caller_cpu{-1};           // the one that no worker has, if pinned
  std::atomic<bool> stop{false};
  std::atomic<bool> busy{false};
  bool spin = true;    // workers have CPUs enough
  bool pinned = true;  // one to each
  std::vector<WorkerPlace> places;
  std::vector<WorkerTeam> teams;
  std::vector<Worker> workers;  // [0] is the caller
  int size = 1;                 // workers there are; places may be more when the system gave no more threads

  // What is left of the share of the team's worker number `member`.
  void take_share(WorkerTeam& team, int member, int worker) {
    const int owner = team.first_worker + member;
    const auto all = static_cast<std::int64_t>(places.size());
    const std::int64_t first = share_begin(job.ranges, owner, all);
    const std::int64_t ranges = share_begin(job.ranges, owner + 1, all) - first;
    std::atomic<std::int64_t>& next = team.next[static_cast<std::size_t>(member)];
    while (next.load(std::memory_order_relaxed) < ranges) {
      if (worker == 0) keep_caller_away();
      const std::int64_t range = next.fetch_add(1, std::memory_order_relaxed);
      if (range >= ranges) return;
      const std::int64_t begin = (first + range) * job.grain;
      job.trampoline(job.context, begin, begin + std::min(job.grain, job.count - begin), worker);
    }
  }

  void take_ranges(int worker) {
    const WorkerTeam& own = teams[static_cast<std::size_t>(workers[static_cast<std::size_t>(worker)].team)];
    for (const int other : own.order) {  // each begins elsewhere, its own team with itself
      WorkerTeam& team = teams[static_cast<std::size_t>(other)];
      for (int i = 0; i < team.workers; ++i) {
        take_share(team, (worker - own.first_worker + i) % team.workers, worker);
      }
    }
  }

  bool enter() {
    std::uint32_t seen = gate.load(std::memory_order_relaxed);
    while ((seen & kOpen) != 0) {
      if (gate.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    }
    return false;
  }

  void leave() {
    const bool last = gate.fetch_sub(1) == 1;  // closed, and the last one inside
    if (last && caller_sleeps.load()) wake_all(gate);
  }

  // Puts a worker whose CPU is taken in the middle of a range on this one, which waits for it. True if there was one.
  bool take_over_workers() {
    bool any = false;
    const int here = sched_getcpu();
    for (std::size_t i = 1; pinned && here >= 0 && i < static_cast<std::size_t>(size); ++i) {
      Worker& worker = workers[i];
      if (!worker.inside.load(std::memory_order_acquire) || worker.moved.load() || !off_cpu(worker.clock)) continue;
      move_to(worker.id, CpuMask::of({&here, 1}));
      worker.moved.store(true);
      any = true;
    }
    return any;
  }

  // Puts the caller on `cpu`, free to be moved on from there, if its own mask has it.
  bool steer_caller(int cpu) {
    const Worker& caller = workers[0];
    if (!caller_mask.has(cpu)) return false;
    move_to(caller.id, CpuMask::of({&cpu, 1}));
    move_to(caller.id, caller_mask);
    return true;
  }

  // By the caller, before each of its ranges: off the CPU of a worker, where the system may put it at any time, and
  // where systems that fill one CPU before the next leave it.
  void keep_caller_away() {
    const int cpu = caller_cpu.load(std::memory_order_relaxed);
    if (pinned && sched_getcpu() != cpu) steer_caller(cpu);
  }

  // The other way round: the caller's CPU is taken while this worker's is idle. They change places.
  void change_with_caller(Worker& self) {
    const Worker& caller = workers[0];
    if (!pinned || swapping.exchange(true)) return;
    const int mine = self.home;
    if (caller.inside.load(std::memory_order_acquire) && off_cpu(caller.clock) && steer_caller(mine)) {
      self.home = caller_cpu.exchange(mine);
      move_to(0, CpuMask::of({&self.home, 1}));
    }
    swapping.store(false);
  }

  void wait_for_epoch(Worker& self, std::uint32_t last) {
    const auto arrived = [&] { return epoch.load(std::memory_order_acquire) != last; };
    const auto begin = std::chrono::steady_clock::now();
    if (spin && spin_until(arrived, self.spin)) return;
    while (!arrived()) {
      const bool caller_works = spin && workers[0].inside.load(std::memory_order_acquire);
      if (caller_works) change_with_caller(self);
      sleepers.fetch_add(1);
      sleep_while(epoch, last, caller_works ? kLookAgain : kForever);
      sleepers.fetch_sub(1);
    }
    const auto waited = std::chrono::duration_cast<microseconds>(std::chrono::steady_clock::now() - begin);
    self.spin = waited < kLongestSpin ? std::clamp(2 * waited, kSpin, kLongestSpin) : std::max(self.spin / 2, kSpin);
  }

  void wait_for_empty_gate() {
    const auto empty = [this] { return gate.load(std::memory_order_acquire) == 0; };
    if (spin && spin_until(empty, kSpin)) return;
    bool taken_over = false;
    for (int look = 0; !empty(); ++look) {
      if (spin && !taken_over) {
        taken_over = take_over_workers();
        if (!taken_over && look < 8 && spin_until(empty, kSpin)) return;
      }
      const std::uint32_t inside = gate.load(std::memory_order_acquire);
      if (inside == 0) return;
      caller_sleeps.store(true);
      sleep_while(gate, inside, spin && !taken_over ? kLookAgain : kForever);
      caller_sleeps.store(false);
    }
  }

  void work(int number) {
    Worker& self = workers[static_cast<std::size_t>(number)];
    self.id = gettid();
    pthread_getcpuclockid(pthread_self(), &self.clock);
    const std::vector<int>& cpus = places[static_cast<std::size_t>(number)].cpus;
    if (!cpus.empty()) move_to(0, CpuMask::of(cpus));
    self.started.store(true);
    self.started.notify_one();
    std::uint32_t last = 0;
    for (;;) {
      if (self.moved.load(std::memory_order_relaxed)) {
        self.moved.store(false);
        move_to(0, CpuMask::of({&self.home, 1}));
      }
      wait_for_epoch(self, last);
      last = epoch.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_acquire)) return;
      if (!enter()) continue;
      self.inside.store(true, std::memory_order_relaxed);
      take_ranges(number);
      self.inside.store(false, std::memory_order_release);
      leave();
    }
  }

  // Who calls, and from where.
  void begin_caller() {
    Worker& caller = workers[0];
    thread_local const pid_t id = gettid();
    if (caller.id != id) {
      while (swapping.exchange(true)) pause_cpu();  // somebody may still look at the caller before
      caller.id = id;
      pthread_getcpuclockid(pthread_self(), &caller.clock);
      caller_mask = CpuMask::of_this_thread();
      swapping.store(false);
    }
    caller.inside.store(true, std::memory_order_release);
  }

  void step(const Job& next) {
    job = next;
    job.ranges = (job.count - 1) / job.grain + 1;
    for (WorkerTeam& team : teams) {
      for (auto& handed_out : team.next) handed_out.store(0, std::memory_order_relaxed);
    }
    begin_caller();
    gate.fetch_or(kOpen, std::memory_order_release);
    epoch.fetch_add(1);
    if (sleepers.load() > 0) wake_all(epoch);
    take_ranges(0);
    workers[0].inside.store(false, std::memory_order_release);
    gate.fetch_and(~kOpen, std::memory_order_relaxed);
    wait_for_empty_gate();
  }
};

namespace {

std::vector<WorkerPlace> places_here(PoolOptions options) {
  options.threads = std::min(options.threads, kMostThreads);
  auto places = place_workers(cpu_facts(), options);
  BALTORO_CHECK(places.ok(), "options that place_workers accepts");
  return *std::move(places);
}

bool one_cpu_each(const std::vector<WorkerPlace>& places) {
  return std::all_of(places.begin(), places.end(), [](const WorkerPlace& place) { return place.cpus.size() == 1; });
}

}  // namespace

ThreadPool::ThreadPool(const PoolOptions& options) : ThreadPool(places_here(options)) {}

ThreadPool::ThreadPool(std::vector<WorkerPlace> places) : impl_(std::make_unique<Impl>()) {
  BALTORO_CHECK(!places.empty(), "a place for the caller");
  if (places.size() > kMostThreads) places.resize(kMostThreads);
  Impl& impl = *impl_;
  WorkerTeams made = make_teams(places);
  impl.teams = std::move(made.teams);
  impl.workers = std::vector<Worker>(places.size());
  // Spinning without a core of one's own only takes time from those who work.
  impl.spin = std::none_of(places.begin(), places.end(), [](const WorkerPlace& place) { return place.cpus.empty(); });
  impl.pinned = one_cpu_each(places);
  if (impl.pinned) impl.caller_cpu = places[0].cpus[0];
  impl.places = std::move(places);
  for (std::size_t i = 0; i < impl.workers.size(); ++i) impl.workers[i].team = made.team_of[i];
  for (int number = 1; number < static_cast<int>(impl.workers.size()); ++number) {
    Worker& worker = impl.workers[static_cast<std::size_t>(number)];
    if (impl.pinned) worker.home = impl.places[static_cast<std::size_t>(number)].cpus[0];
    auto thread = start_quiet_thread([impl = &impl, number] { impl->work(number); });
    if (!thread.ok()) break;  // the system gives no more threads: work with those we have
    worker.thread = *std::move(thread);
    impl.size = number + 1;
  }
  for (int number = 1; number < impl.size; ++number) {
    impl.workers[static_cast<std::size_t>(number)].started.wait(false);
  }
}

ThreadPool::~ThreadPool() {
  impl_->stop.store(true, std::memory_order_release);
  impl_->epoch.fetch_add(1);
  wake_all(impl_->epoch);
  for (Worker& worker : impl_->workers) {
    if (worker.thread.joinable()) worker.thread.join();
  }
}

int ThreadPool::size() const { return impl_->size; }
int ThreadPool::node_of(int worker) const { return impl_->places[static_cast<std::size_t>(worker)].node; }

void ThreadPool::run(std::int64_t count, std::int64_t grain, Trampoline trampoline, const void* context) {
  BALTORO_CHECK(grain > 0, "parallel_for needs a positive grain");
  BALTORO_CHECK(!impl_->busy.exchange(true, std::memory_order_acquire),
                "parallel_for inside parallel_for, or two callers");
  if (impl_->size == 1 || count <= grain) {
    for (std::int64_t begin = 0; begin < count; begin += grain) {
      trampoline(context, begin, std::min(begin + grain, count), 0);
    }
  } else {
    impl_->step({.count = count, .grain = grain, .trampoline = trampoline, .context = context});
  }
  impl_->busy.store(false, std::memory_order_release);
}

}  // namespace baltoro
