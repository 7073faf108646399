// SPDX-License-Identifier: Apache-2.0
// Kept turns in a file, so that a conversation goes on from its sampled tokens after a restart. Inside llm/ only.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "baltoro/base/file.h"
#include "baltoro/base/result.h"
#include "baltoro/llm/turn_store.h"

namespace baltoro::llm {

// The file: "BALTURN\n", then records, all numbers little-endian:
//   u32 bytes of the payload | first 16 bytes of its SHA-256 | payload
// A payload: prompt digest (32), visible digest (32), reasoning digest (32; zeros: none), u8 reasons, u32 tokens, the
// ids (4 each), u32 calls, each call id as u32 bytes and text.
std::string encode_turn(const KeptTurn& turn);  // a whole record
// Reads the record at the start of `bytes` and moves on behind it; none where there is no whole and sound one.
std::optional<KeptTurn> decode_turn(std::span<const std::byte>& bytes);
inline constexpr std::string_view kTurnLogMagic = "BALTURN\n";

struct TurnLogStats {
  std::int64_t bytes = 0, turns_read = 0, write_errors = 0;
  std::int64_t bytes_bad = 0;  // behind the last sound record when it was opened
};

// Appends turns on a thread of its own; what fails is counted and dropped. A process that dies leaves whole records and
// at most a part of one, which the next open cuts off. When the file has grown to twice what the store keeps, or a
// write failed, it is written anew. Any thread.
class TurnLog {
 public:
  // Opens or makes the file and gives what it holds to `store`, the oldest first. A file that is none of ours is
  // replaced. kIo, kPermissionDenied, kResourceExhausted.
  static Result<std::unique_ptr<TurnLog>> open(std::string path, std::shared_ptr<TurnStore> store);
  ~TurnLog();  // writes what is waiting

  void append(const KeptTurn& turn);
  TurnLogStats stats() const;

  static constexpr double kWritePause = 60;  // seconds without writes after the file could not be made anew

 private:
  TurnLog(std::string path, std::shared_ptr<TurnStore> store) : path_(std::move(path)), store_(std::move(store)) {}
  Status load();
  Status rewrite();
  void write_loop();
  void write_batch(const std::string& batch);

  const std::string path_;
  const std::shared_ptr<TurnStore> store_;
  FileDescriptor fd_;         // the thread's, after open()
  double stopped_until_ = 0;  // the same
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable work_;
  std::string waiting_;
  TurnLogStats stats_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace baltoro::llm
