// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/read_rate.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "baltoro/base/clock.h"
#include "baltoro/base/file.h"
#include "baltoro/base/huge_pages.h"
#include "baltoro/base/round_up.h"

namespace baltoro {
namespace {

constexpr std::uint32_t kBuffers = 4;
constexpr std::int64_t kBufferBytes = kReadRateMemory / kBuffers;

// The ranges to read, one after the other.
class Walk {
 public:
  static Result<Walk> create(const std::vector<std::string>& paths, std::int64_t start) {
    Walk walk;
    for (const std::string& path : paths) {
      BALTORO_TRY(const OpenedFile file, open_regular(path));
      walk.bytes_.push_back(static_cast<std::int64_t>(file.bytes));
      walk.total_ += walk.bytes_.back();
    }
    if (walk.total_ == 0) return Error{Errc::kInvalidArgument, "[file] nothing to measure the disk with"};
    walk.at_ = round_down(start % walk.total_, kReadAlignment);
    return walk;
  }
  BlockRead next() {
    while (at_ >= bytes_[static_cast<std::size_t>(file_)]) {
      at_ -= bytes_[static_cast<std::size_t>(file_)];
      at_ = round_up(at_, kReadAlignment);
      file_ = (file_ + 1) % static_cast<int>(bytes_.size());
    }
    BlockRead read{.file = file_, .offset = at_};
    read.bytes = std::min(kBufferBytes, bytes_[static_cast<std::size_t>(file_)] - at_);
    at_ += kBufferBytes;
    if (at_ > bytes_[static_cast<std::size_t>(file_)]) at_ = bytes_[static_cast<std::size_t>(file_)];
    return read;
  }

 private:
  std::vector<std::int64_t> bytes_;
  std::int64_t total_ = 0;
  std::int64_t at_ = 0;
  int file_ = 0;
};

// Which buffers are free, and whether a read failed.
struct Buffers {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::uint32_t> free;
  Status status;

  void give(std::uint32_t tag, Status outcome) {
    {
      const std::lock_guard lock(mutex);
      free.push_back(tag);
      if (!outcome.ok() && status.ok()) status = std::move(outcome);
    }
    changed.notify_one();
  }
  Result<std::uint32_t> take() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return !free.empty(); });
    BALTORO_TRY_STATUS(status);
    const std::uint32_t tag = free.back();
    free.pop_back();
    return tag;
  }
  Status wait_all() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return free.size() == kBuffers; });
    return status;
  }
};

}  // namespace

Result<ReadRate> measure_read_rate(const std::vector<std::string>& paths, std::int64_t start, std::int64_t bytes,
                                   const DirectReaderOptions& options) {
  BALTORO_TRY(Walk walk, Walk::create(paths, start));
  BALTORO_TRY(HugeBuffer memory, HugeBuffer::create(kBuffers * kBufferBytes));
  Buffers buffers;
  for (std::uint32_t tag = 0; tag < kBuffers; ++tag) buffers.free.push_back(tag);
  DirectReaderOptions settled = options;
  settled.tags = kBuffers;
  BALTORO_TRY(const auto reader,
              open_direct_reader(
                  paths, [&](std::uint32_t tag, Status status) { buffers.give(tag, std::move(status)); }, settled));
  ReadRate rate;
  rate.way = reader->way();
  const double begin = steady_seconds();
  while (rate.bytes < bytes) {
    BALTORO_TRY(const std::uint32_t tag, buffers.take());
    BlockRead read = walk.next();
    read.tag = tag;
    read.into = memory.data() + tag * kBufferBytes;
    rate.bytes += read.bytes;
    reader->read(read, Urgency::kNow);
  }
  BALTORO_TRY_STATUS(buffers.wait_all());
  rate.seconds = steady_seconds() - begin;
  return rate;
}

}  // namespace baltoro
