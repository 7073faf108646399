// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "baltoro/engine/kv_directory.h"

namespace baltoro::engine {

// A page that was asked for.
struct KvPage {
  std::uint64_t ticket = 0;
  bool found = false;
  std::span<const std::byte> kv;  // when found
};

// A KvDirectory behind two threads, one that writes and one that reads, so that the engine waits for no disk: it copies
// a block into a buffer or out of one. All but `wake` is called on the engine thread.
class KvStore {
 public:
  // `wake` is called from the store's threads when a page was read or a buffer came free. kResourceExhausted: no thread
  // or memory.
  static Result<std::unique_ptr<KvStore>> start(std::unique_ptr<KvDirectory> directory, std::size_t kv_bytes);
  ~KvStore();  // writes what was handed over, then joins
  void set_wake(std::function<void()> wake);

  KvDirectory& directory() { return *directory_; }
  const KvDirectory& directory() const { return *directory_; }

  // A buffer for the next page to write, kv_bytes long; empty when all are on their way. Hand it over with write().
  std::span<std::byte> write_buffer();
  void write(const PageId& id);
  // Pages handed over and not written yet. Takes no lock: `wake` is called under the store's.
  std::int64_t pages_on_their_way() const { return on_their_way_; }
  // Notes that a chain of blocks, root first, is in use; forgotten where kMaxTouched others wait to be noted.
  void touch(std::vector<ChainKey> chain);

  // Asks for a page. False: all buffers are taken.
  bool read(std::uint64_t ticket, const PageId& id);
  // Hands over what has been read since, in the order that it was asked for; each page is valid during its call.
  void take_read(const std::function<void(const KvPage&)>& take);

  static constexpr std::size_t kBuffers = 8;  // for each direction
  static constexpr std::size_t kMaxTouched = 1024;

 private:
  enum class State : std::uint8_t { kFree, kWanted, kBusy, kDone };
  struct Buffer {
    State state = State::kFree;
    std::uint64_t order = 0, ticket = 0;
    PageId id;
    bool found = false;
    std::unique_ptr<std::byte[]> bytes;
  };
  using Buffers = std::vector<Buffer>;

  KvStore(std::unique_ptr<KvDirectory> directory, std::size_t kv_bytes);
  void write_loop();
  void touch_all(std::unique_lock<std::mutex>& lock);
  void read_loop();
  Buffer* first(Buffers& buffers, State state);
  std::span<std::byte> bytes_of(Buffer& buffer) const { return {buffer.bytes.get(), kv_bytes_}; }
  void notify();

  const std::unique_ptr<KvDirectory> directory_;
  const std::size_t kv_bytes_;

  mutable std::mutex mutex_;  // guards what follows, but for the bytes of a buffer: those are its holder's
  std::condition_variable work_;
  std::function<void()> wake_;
  Buffers writes_, reads_;
  std::vector<std::vector<ChainKey>> touched_;
  std::uint64_t orders_ = 0;
  bool stopping_ = false;

  std::atomic<std::int64_t> on_their_way_ = 0;

  std::thread writer_, reader_;
};

}  // namespace baltoro::engine
