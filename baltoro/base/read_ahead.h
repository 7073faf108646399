// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace baltoro {

// Brings parts of read-only file mappings into memory and into the page tables ahead of those who will read them, with
// threads of its own that keep the disk busy. Only speed depends on it: who reads too early waits for the page as ever,
// and what cannot be read (the file was cut short) shows there. Any thread may ask.
class ReadAhead {
 public:
  // With room for so many parts of each kind: up to there, asking allocates nothing. On these CPUs (none: any): pages
  // that were not in memory come to the memory node of the thread that reads them.
  explicit ReadAhead(std::size_t parts = 0, std::span<const int> cpus = {});
  ~ReadAhead();  // forgets what waits; returns when what is under way is read, a few MiB
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  void now(std::span<const std::byte> part);    // before all that came by later()
  void later(std::span<const std::byte> part);  // in the order asked
  // Waits until all that was asked for has been tried.
  void finish();
  bool idle();  // nothing is left of it
  std::size_t bytes_done() const { return bytes_done_.load(); }

 private:
  using Part = std::span<const std::byte>;
  struct Queue {
    std::vector<Part> parts;
    std::size_t first = 0;
    bool empty() const { return first == parts.size(); }
  };
  void add(Queue& queue, Part part);
  Part take();  // the next piece; the mutex is held
  void work();

  std::mutex mutex_;
  std::condition_variable wake_, quiet_;
  Queue now_, later_;
  int reading_ = 0;
  bool stop_ = false;
  std::atomic<std::size_t> bytes_done_{0};
  std::vector<std::thread> threads_;
};

}  // namespace baltoro
