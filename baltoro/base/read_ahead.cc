// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/read_ahead.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <utility>

#include "baltoro/base/huge_pages.h"
#include "baltoro/base/quiet_thread.h"
#include "baltoro/base/round_up.h"
#include "baltoro/base/thread_control.h"

namespace baltoro {
namespace {

constexpr int kThreads = 4;                    // 8 MiB in 4 requests is what the disks measured need (docs/log.md)
constexpr std::size_t kPiece = 4 * kHugePage;  // of one request

// The end of the piece that starts at `begin`: pieces end on huge pages.
std::uintptr_t piece_end(std::uintptr_t begin, std::uintptr_t end) {
  return std::min(end, round_down(begin, kHugePage) + kPiece);
}

void read_piece(std::span<const std::byte> piece) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<std::uintptr_t>(piece.data());
  const std::uintptr_t begin = round_down(address, page);
  const std::size_t bytes = address + piece.size() - begin;
  while (::madvise(reinterpret_cast<void*>(begin), bytes, MADV_POPULATE_READ) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    if (errno == EINVAL) static_cast<void>(::madvise(reinterpret_cast<void*>(begin), bytes, MADV_WILLNEED));
    return;  // an older kernel reads, but leaves the page tables alone; an unreadable page is its reader's to report
  }
}

}  // namespace

ReadAhead::ReadAhead(std::size_t parts, std::span<const int> cpus) {
  now_.parts.reserve(parts);
  later_.parts.reserve(parts);
  for (int i = 0; i < kThreads; ++i) {
    auto thread = start_quiet_thread([this, mask = CpuMask::of(cpus), anywhere = cpus.empty()] {
      if (!anywhere) move_to(0, mask);
      work();
    });
    if (!thread.ok()) break;
    threads_.push_back(*std::move(thread));
  }
}

ReadAhead::~ReadAhead() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ReadAhead::add(Queue& queue, Part part) {
  if (part.empty() || threads_.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    queue.parts.push_back(part);
  }
  wake_.notify_all();
}

void ReadAhead::now(std::span<const std::byte> part) { add(now_, part); }
void ReadAhead::later(std::span<const std::byte> part) { add(later_, part); }

void ReadAhead::finish() {
  std::unique_lock lock(mutex_);
  quiet_.wait(lock, [this] { return threads_.empty() || (now_.empty() && later_.empty() && reading_ == 0); });
}

bool ReadAhead::idle() {
  const std::lock_guard lock(mutex_);
  return now_.empty() && later_.empty() && reading_ == 0;
}

ReadAhead::Part ReadAhead::take() {
  Queue& queue = now_.empty() ? later_ : now_;
  Part& front = queue.parts[queue.first];
  const auto begin = reinterpret_cast<std::uintptr_t>(front.data());
  const Part piece = front.first(piece_end(begin, begin + front.size()) - begin);
  front = front.subspan(piece.size());
  if (front.empty() && ++queue.first == queue.parts.size()) {
    queue.parts.clear();
    queue.first = 0;
  }
  return piece;
}

void ReadAhead::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stop_ || !now_.empty() || !later_.empty(); });
    if (stop_) return;
    const Part piece = take();
    ++reading_;
    lock.unlock();
    read_piece(piece);
    bytes_done_ += piece.size();
    lock.lock();
    --reading_;
    if (now_.empty() && later_.empty() && reading_ == 0) quiet_.notify_all();
  }
}

}  // namespace baltoro
