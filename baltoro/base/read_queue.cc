// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/read_queue.h"

#include <algorithm>
#include <utility>

#include "baltoro/base/check.h"
#include "baltoro/base/clock.h"

namespace baltoro {

void ReadQueue::Line::push(std::uint32_t tag) { tags[(head + count++) % tags.size()] = tag; }

void ReadQueue::Line::remove(std::uint32_t tag) {
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t one = tags[(head + i) % tags.size()];
    if (one != tag) tags[(head + kept++) % tags.size()] = one;
  }
  count = kept;
}

ReadQueue::ReadQueue(std::uint32_t tags, std::int64_t piece_bytes) : piece_bytes_(piece_bytes), jobs_(tags) {
  BALTORO_CHECK(tags > 0 && piece_bytes > 0 && piece_bytes % kReadAlignment == 0, "pieces of whole blocks");
  now_.tags.resize(tags);
  later_.tags.resize(tags);
}

void ReadQueue::add(const BlockRead& read, Urgency urgency) {
  BALTORO_CHECK(read.bytes > 0 && read.offset >= 0 && read.offset % kReadAlignment == 0 &&
                    reinterpret_cast<std::uintptr_t>(read.into) % kReadAlignment == 0,
                "an aligned read");
  {
    const std::lock_guard lock(mutex_);
    Job& job = jobs_.at(read.tag);
    BALTORO_CHECK(!job.queued && job.under_way == 0, "one read of a tag at a time");
    job.read = read;
    job.urgency = urgency;
    job.taken = 0;
    job.status = {};
    job.queued = true;
    line(urgency).push(read.tag);
  }
  ready_.notify_one();
}

void ReadQueue::hurry(std::uint32_t tag) {
  const std::lock_guard lock(mutex_);
  Job& job = jobs_.at(tag);
  if (!job.queued || job.urgency == Urgency::kNow) return;
  later_.remove(tag);
  job.urgency = Urgency::kNow;
  now_.push(tag);
}

bool ReadQueue::cancel(std::uint32_t tag) {
  const std::lock_guard lock(mutex_);
  Job& job = jobs_.at(tag);
  if (!job.queued) return false;
  line(job.urgency).remove(tag);
  job.queued = false;
  if (job.status.ok()) job.status = Error{Errc::kCancelled, "[file] not wanted any more"};
  return job.under_way == 0;
}

void ReadQueue::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  ready_.notify_all();
}

bool ReadQueue::stopped() const {
  const std::lock_guard lock(mutex_);
  return stopped_;
}

std::optional<ReadPiece> ReadQueue::take_locked() {
  if (stopped_) return std::nullopt;
  Line& from = now_.count > 0 ? now_ : later_;
  if (from.count == 0) return std::nullopt;
  const std::uint32_t tag = from.tags[from.head];
  Job& job = jobs_[tag];
  const ReadPiece piece{.tag = tag,
                        .file = job.read.file,
                        .offset = job.read.offset + job.taken,
                        .bytes = std::min(piece_bytes_, job.read.bytes - job.taken),
                        .into = job.read.into + job.taken};
  job.taken += piece.bytes;
  ++job.under_way;
  if (job.taken == job.read.bytes) {
    from.pop();
    job.queued = false;
  }
  if (under_way_++ == 0) busy_since_ = steady_seconds();
  return piece;
}

std::optional<ReadPiece> ReadQueue::take() {
  const std::lock_guard lock(mutex_);
  return take_locked();
}

std::optional<ReadPiece> ReadQueue::wait_take() {
  std::unique_lock lock(mutex_);
  ready_.wait(lock, [this] { return stopped_ || now_.count + later_.count > 0; });
  return take_locked();
}

bool ReadQueue::finish(const ReadPiece& piece, std::int64_t got, Status status, Status* outcome) {
  const std::lock_guard lock(mutex_);
  stats_.bytes_read += got;
  if (--under_way_ == 0) stats_.busy_seconds += steady_seconds() - busy_since_;
  Job& job = jobs_[piece.tag];
  if (!status.ok() && job.status.ok()) job.status = std::move(status);
  if (!job.status.ok() && job.queued) {
    line(job.urgency).remove(piece.tag);
    job.queued = false;
  }
  if (--job.under_way > 0 || job.queued) return false;
  *outcome = std::move(job.status);
  return true;
}

void ReadQueue::note_retry() {
  const std::lock_guard lock(mutex_);
  ++stats_.retries;
}

BlockReaderStats ReadQueue::stats() const {
  const std::lock_guard lock(mutex_);
  BlockReaderStats stats = stats_;
  if (under_way_ > 0) stats.busy_seconds += steady_seconds() - busy_since_;
  return stats;
}

}  // namespace baltoro
