// SPDX-License-Identifier: Apache-2.0
// The reads of a BlockReader that have not ended, cut into pieces. What DirectReader's ways of reading share.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "baltoro/base/block_reader.h"
#include "baltoro/base/round_up.h"

namespace baltoro {

// What one system call reads: `bytes` must come, `room` may (to the next multiple of kReadAlignment).
struct ReadPiece {
  std::uint32_t tag = 0;
  int file = 0;
  std::int64_t offset = 0;
  std::int64_t bytes = 0;
  std::byte* into = nullptr;
  std::int64_t got = 0;  // of earlier calls, when it comes in parts
  bool retried = false;  // a call has failed already
  std::int64_t room() const { return round_up(bytes, kReadAlignment); }
};

class ReadQueue {
 public:
  ReadQueue(std::uint32_t tags, std::int64_t piece_bytes);

  void add(const BlockRead& read, Urgency urgency);
  void hurry(std::uint32_t tag);
  bool cancel(std::uint32_t tag);  // as BlockReader::cancel
  void stop();                     // take() gives nothing from now on

  std::optional<ReadPiece> take();       // the next piece, if there is one
  std::optional<ReadPiece> wait_take();  // waits for it; none after stop()
  // A piece has ended, with `got` bytes off the device. True: it was the last of its read, whose outcome is then in
  // *outcome. The pieces of a read that has failed and were not taken are dropped.
  bool finish(const ReadPiece& piece, std::int64_t got, Status status, Status* outcome);
  void note_retry();
  bool stopped() const;
  BlockReaderStats stats() const;

 private:
  struct Job {
    BlockRead read;
    Urgency urgency = Urgency::kNow;
    std::int64_t taken = 0;  // bytes cut off so far
    int under_way = 0;       // pieces
    bool queued = false;
    Status status;
  };
  // Tags in order; never grows.
  struct Line {
    std::vector<std::uint32_t> tags;
    std::size_t head = 0, count = 0;
    void push(std::uint32_t tag);
    void pop() { head = (head + 1) % tags.size(), --count; }
    void remove(std::uint32_t tag);
  };
  Line& line(Urgency urgency) { return urgency == Urgency::kNow ? now_ : later_; }
  std::optional<ReadPiece> take_locked();

  const std::int64_t piece_bytes_;
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<Job> jobs_;  // by tag
  Line now_, later_;
  bool stopped_ = false;
  int under_way_ = 0;
  double busy_since_ = 0;
  BlockReaderStats stats_;
};

}  // namespace baltoro
