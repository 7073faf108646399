// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/direct_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <thread>
#include <utility>

#include "baltoro/base/check.h"
#include "baltoro/base/file.h"
#include "baltoro/base/huge_pages.h"
#include "baltoro/base/quiet_thread.h"
#include "baltoro/base/read_queue.h"
#include "baltoro/base/round_up.h"

namespace baltoro {
namespace {

struct DirectFile {
  std::string path;
  FileDescriptor fd;
};

struct DirectFiles {
  std::vector<DirectFile> files;
  bool direct = true;  // of all
};

// Whether the file can be read past the page cache; if not it is left as it was. Some file systems take the flag and
// refuse the read.
bool make_direct(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_DIRECT) != 0) return false;
  auto probe = HugeBuffer::create(kReadAlignment);
  if (probe.ok() && ::pread(fd, probe->data(), kReadAlignment, 0) >= 0) return true;
  static_cast<void>(::fcntl(fd, F_SETFL, flags));
  return false;
}

// open_regular opens with O_NONBLOCK, under which io_uring would refuse a read that must wait.
Status make_blocking(int fd, const std::string& path) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0 && ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0) return {};
  return io_error("cannot set the flags of", path, errno);
}

Result<DirectFiles> open_files(const std::vector<std::string>& paths, bool direct) {
  DirectFiles opened;
  opened.direct = direct;
  for (const std::string& path : paths) {
    BALTORO_TRY(OpenedFile file, open_regular(path));
    BALTORO_TRY_STATUS(make_blocking(file.fd.get(), path));
    if (direct && !make_direct(file.fd.get())) opened.direct = false;
    opened.files.push_back({path, std::move(file.fd)});
  }
  return opened;
}

// What both ways of reading do with a piece's end.
class PieceReader : public BlockReader {
 public:
  PieceReader(DirectFiles files, Done done, const DirectReaderOptions& options)
      : files_(std::move(files)), done_(std::move(done)), queue_(options.tags, options.piece_bytes) {}
  void hurry(std::uint32_t tag) override { queue_.hurry(tag); }
  bool cancel(std::uint32_t tag) override { return queue_.cancel(tag); }
  BlockReaderStats stats() const override {
    BlockReaderStats stats = queue_.stats();
    stats.io_uring = ring();
    stats.direct = files_.direct;
    return stats;
  }
  std::string way() const override {
    return fmt::format("{}, {}", means(), files_.direct ? "O_DIRECT" : "page cache (no O_DIRECT here)");
  }

 protected:
  virtual std::string means() const = 0;
  virtual bool ring() const = 0;
  const DirectFile& file(const ReadPiece& piece) const { return files_.files[static_cast<std::size_t>(piece.file)]; }

  // Takes a system call's result (negative: errno) for what is left of a piece. True: the piece has ended and its read
  // been told; false: `piece` is now what is left to read.
  bool advance(ReadPiece& piece, std::int64_t result) {
    if (result == -EAGAIN || result == -EINTR) return false;
    if (result < 0 && !std::exchange(piece.retried, true)) {  // a disk's passing trouble costs no answer
      queue_.note_retry();
      return false;
    }
    if (result < 0) return end(piece, 0, io_error("cannot read", file(piece).path, static_cast<int>(-result)));
    if (result >= piece.bytes) return end(piece, result, {});
    const std::int64_t whole = round_down(result, kReadAlignment);
    if (whole == 0) {
      return end(piece, result,
                 Error{Errc::kCorrupt, fmt::format("[file] {}: {} bytes at offset {} expected, {} came: it is shorter "
                                                   "than when it was opened",
                                                   file(piece).path, piece.bytes, piece.offset, result)});
    }
    piece.got += whole;
    piece.offset += whole;
    piece.bytes -= whole;
    piece.into += whole;
    return false;
  }

  DirectFiles files_;
  Done done_;
  ReadQueue queue_;

 private:
  bool end(const ReadPiece& piece, std::int64_t got, Status status) {
    Status outcome;
    if (queue_.finish(piece, piece.got + got, std::move(status), &outcome)) {
      done_(piece.tag, std::move(outcome));
    }
    return true;
  }
};

// Threads that pread.
class ThreadReader final : public PieceReader {
 public:
  ThreadReader(DirectFiles files, Done done, const DirectReaderOptions& options, std::string reason)
      : PieceReader(std::move(files), std::move(done), options), reason_(std::move(reason)) {}
  ~ThreadReader() override {
    queue_.stop();
    for (std::thread& thread : threads_) thread.join();
  }
  Status start(int threads) {
    for (int i = 0; i < threads; ++i) {
      auto thread = start_quiet_thread([this] { work(); });
      if (!thread.ok() && threads_.empty()) return std::move(thread).error();
      if (!thread.ok()) break;
      threads_.push_back(*std::move(thread));
    }
    return {};
  }
  void read(const BlockRead& read, Urgency urgency) override { queue_.add(read, urgency); }

 protected:
  std::string means() const override { return fmt::format("pread by {} threads ({})", threads_.size(), reason_); }
  bool ring() const override { return false; }

 private:
  void work() {
    while (auto piece = queue_.wait_take()) {
      for (bool ended = false; !ended;) {
        const ssize_t got = ::pread(file(*piece).fd.get(), piece->into, static_cast<std::size_t>(piece->room()),
                                    static_cast<off_t>(piece->offset));
        ended = advance(*piece, got < 0 ? -errno : got);
      }
    }
  }
  std::string reason_;
  std::vector<std::thread> threads_;
};

// One thread that owns a ring: pieces in, completions out. read() wakes it through an eventfd that the ring reads.
class UringReader final : public PieceReader {
 public:
  UringReader(DirectFiles files, Done done, const DirectReaderOptions& options)
      : PieceReader(std::move(files), std::move(done), options), pieces_(static_cast<std::size_t>(options.depth)) {
    for (std::size_t i = pieces_.size(); i > 0; --i) free_.push_back(i - 1);
  }
  ~UringReader() override {
    if (thread_.joinable()) {
      queue_.stop();
      wake();
      thread_.join();
    }
    if (ring_made_) ::io_uring_queue_exit(&ring_);
  }
  // Says no, with the reason, where io_uring cannot be had.
  Status start() {
    wake_ = FileDescriptor(::eventfd(0, EFD_CLOEXEC));
    if (!wake_.open()) return io_error("cannot make", "an eventfd", errno);
    const int refused = ::io_uring_queue_init(static_cast<unsigned>(pieces_.size()) + 1, &ring_, 0);
    if (refused < 0) return io_error("cannot set up", "io_uring", -refused);
    ring_made_ = true;
    BALTORO_TRY(thread_, start_quiet_thread([this] { work(); }));
    return {};
  }
  void read(const BlockRead& read, Urgency urgency) override {
    queue_.add(read, urgency);
    wake();
  }

 protected:
  std::string means() const override { return "io_uring"; }
  bool ring() const override { return true; }

 private:
  static constexpr std::uint64_t kWake = ~std::uint64_t{0};

  void wake() {
    const std::uint64_t one = 1;
    while (::write(wake_.get(), &one, sizeof one) < 0 && errno == EINTR) {
    }
  }

  // The ring has room for all pieces and the wake-up: there is always an entry.
  io_uring_sqe* entry() {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    BALTORO_CHECK(sqe != nullptr, "an entry of the ring for every piece");
    return sqe;
  }
  void listen() {
    io_uring_sqe* sqe = entry();
    ::io_uring_prep_read(sqe, wake_.get(), &wake_count_, sizeof wake_count_, 0);
    ::io_uring_sqe_set_data64(sqe, kWake);
  }
  void prepare(std::size_t i) {
    const ReadPiece& piece = pieces_[i];
    io_uring_sqe* sqe = entry();
    ::io_uring_prep_read(sqe, file(piece).fd.get(), piece.into, static_cast<unsigned>(piece.room()),
                         static_cast<std::uint64_t>(piece.offset));
    ::io_uring_sqe_set_data64(sqe, i);
  }
  void fill() {
    while (!free_.empty()) {
      const auto piece = queue_.take();
      if (!piece) return;
      const std::size_t i = free_.back();
      free_.pop_back();
      pieces_[i] = *piece;
      prepare(i);
    }
  }
  void complete(std::uint64_t data, std::int64_t result) {
    if (data == kWake) return listen();
    const auto i = static_cast<std::size_t>(data);
    if (advance(pieces_[i], result)) {
      free_.push_back(i);
    } else {
      prepare(i);
    }
  }
  void work() {
    listen();
    while (!queue_.stopped() || free_.size() < pieces_.size()) {
      fill();
      const int submitted = ::io_uring_submit_and_wait(&ring_, 1);
      BALTORO_CHECK(submitted >= 0 || submitted == -EINTR || submitted == -EAGAIN || submitted == -EBUSY,
                    "a ring that takes entries");
      io_uring_cqe* cqe = nullptr;
      while (::io_uring_peek_cqe(&ring_, &cqe) == 0) {
        const std::uint64_t data = cqe->user_data;
        const int result = cqe->res;
        ::io_uring_cqe_seen(&ring_, cqe);
        complete(data, result);
      }
    }
  }

  FileDescriptor wake_;
  std::uint64_t wake_count_ = 0;  // where the ring puts the eventfd's value
  io_uring ring_ = {};
  bool ring_made_ = false;
  std::vector<ReadPiece> pieces_;  // under way, by their number in the ring
  std::vector<std::size_t> free_;  // numbers
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<BlockReader>> open_direct_reader(const std::vector<std::string>& paths, BlockReader::Done done,
                                                        const DirectReaderOptions& options) {
  BALTORO_CHECK(options.depth > 0 && options.depth <= 1024, "a depth");
  BALTORO_TRY(DirectFiles files, open_files(paths, options.direct));
  std::string reason = "io_uring not wanted";
  if (options.io_uring) {
    auto ring = std::make_unique<UringReader>(std::move(files), done, options);
    const Status started = ring->start();
    if (started.ok()) return std::unique_ptr<BlockReader>(std::move(ring));
    reason = started.error().message;
    ring.reset();
    BALTORO_TRY(files, open_files(paths, options.direct));
  }
  auto threads = std::make_unique<ThreadReader>(std::move(files), std::move(done), options, std::move(reason));
  BALTORO_TRY_STATUS(threads->start(options.depth));
  return std::unique_ptr<BlockReader>(std::move(threads));
}

}  // namespace baltoro
