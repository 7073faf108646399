// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "baltoro/base/worker_plan.h"

namespace baltoro {

// A fixed set of worker threads for data-parallel steps. The calling thread takes part as worker 0.
// Workers spin for a bounded time (longer while steps follow each other closely), then sleep: an idle pool uses no CPU.
// One caller at a time. A worker that other load keeps off its CPU in the middle of a range is taken over to the CPU of
// the one who waits for it.
class ThreadPool {
 public:
  // place_workers on this machine; it is a bug to ask for what that refuses. threads == 1 starts none.
  explicit ThreadPool(int threads) : ThreadPool(PoolOptions{.threads = threads}) {}
  explicit ThreadPool(const PoolOptions& options);
  // One worker a place. The thread that calls stays where it is, whatever places[0] says.
  explicit ThreadPool(std::vector<WorkerPlace> places);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;
  int node_of(int worker) const;  // index into NumaTopology::nodes

  // Calls body(begin, end, worker) on disjoint ranges that cover [0, count), each a multiple of `grain` (but the last),
  // and returns when all are done. Allocates nothing. `body` must not throw.
  //
  // Results must not depend on which worker ran what, but memory does: [0, count) is split in the same contiguous
  // shares every time, one for each worker. A worker takes its share range by range, so that it reads memory on from
  // where it was, and helps the others, its own node's first, when it is done. So row i of a matrix is read from the
  // same node in every step unless that one is late.
  template <typename Body>
  void parallel_for(std::int64_t count, std::int64_t grain, const Body& body) {
    run(
        count, grain,
        [](const void* context, std::int64_t begin, std::int64_t end, int worker) {
          (*static_cast<const Body*>(context))(begin, end, worker);
        },
        &body);
  }

 private:
  using Trampoline = void (*)(const void* context, std::int64_t begin, std::int64_t end, int worker);
  void run(std::int64_t count, std::int64_t grain, Trampoline trampoline, const void* context);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace baltoro
