// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/kv_store.h"

#include <algorithm>
#include <utility>

#include "baltoro/base/check.h"
#include "baltoro/base/quiet_thread.h"

namespace baltoro::engine {

KvStore::KvStore(std::unique_ptr<KvDirectory> directory, std::size_t kv_bytes)
    : directory_(std::move(directory)), kv_bytes_(kv_bytes), writes_(kBuffers), reads_(kBuffers) {
  for (Buffers* buffers : {&writes_, &reads_})
    for (Buffer& buffer : *buffers) buffer.bytes = std::make_unique_for_overwrite<std::byte[]>(kv_bytes);
}

Result<std::unique_ptr<KvStore>> KvStore::start(std::unique_ptr<KvDirectory> directory, std::size_t kv_bytes) {
  std::unique_ptr<KvStore> store(new KvStore(std::move(directory), kv_bytes));
  BALTORO_TRY(store->writer_, start_quiet_thread([raw = store.get()] { raw->write_loop(); }));
  BALTORO_TRY(store->reader_, start_quiet_thread([raw = store.get()] { raw->read_loop(); }));
  return store;
}

KvStore::~KvStore() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_ = nullptr;
  }
  work_.notify_all();
  if (writer_.joinable()) writer_.join();
  if (reader_.joinable()) reader_.join();
}

void KvStore::set_wake(std::function<void()> wake) {
  const std::lock_guard lock(mutex_);
  wake_ = std::move(wake);
}

// Under the mutex: the one of that state that came first, or null.
KvStore::Buffer* KvStore::first(Buffers& buffers, State state) {
  Buffer* best = nullptr;
  for (Buffer& buffer : buffers)
    if (buffer.state == state && (best == nullptr || buffer.order < best->order)) best = &buffer;
  return best;
}

std::span<std::byte> KvStore::write_buffer() {
  const std::lock_guard lock(mutex_);
  Buffer* buffer = first(writes_, State::kFree);
  if (buffer == nullptr) return {};
  buffer->order = 0;  // until it is handed over it is the first of the free ones
  return bytes_of(*buffer);
}

void KvStore::write(const PageId& id) {
  {
    const std::lock_guard lock(mutex_);
    Buffer* buffer = first(writes_, State::kFree);
    BALTORO_CHECK(buffer != nullptr, "write_buffer() gave one");
    buffer->state = State::kWanted;
    buffer->order = ++orders_;
    buffer->id = id;
    ++on_their_way_;
  }
  work_.notify_all();
}

void KvStore::touch(std::vector<ChainKey> chain) {
  {
    const std::lock_guard lock(mutex_);
    if (touched_.size() >= kMaxTouched) return;
    touched_.push_back(std::move(chain));
  }
  work_.notify_all();
}

bool KvStore::read(std::uint64_t ticket, const PageId& id) {
  {
    const std::lock_guard lock(mutex_);
    Buffer* buffer = first(reads_, State::kFree);
    if (buffer == nullptr) return false;
    buffer->state = State::kWanted;
    buffer->order = ++orders_;
    buffer->ticket = ticket;
    buffer->id = id;
  }
  work_.notify_all();
  return true;
}

void KvStore::take_read(const std::function<void(const KvPage&)>& take) {
  for (;;) {
    Buffer* buffer = nullptr;
    {
      const std::lock_guard lock(mutex_);
      buffer = first(reads_, State::kDone);
    }
    if (buffer == nullptr) return;
    take({.ticket = buffer->ticket, .found = buffer->found, .kv = bytes_of(*buffer)});
    const std::lock_guard lock(mutex_);
    buffer->state = State::kFree;
  }
}

// Under the mutex, so that the callee is not taken away meanwhile.
void KvStore::notify() {
  if (wake_) wake_();
}

void KvStore::write_loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return stopping_ || !touched_.empty() || first(writes_, State::kWanted) != nullptr; });
    if (!touched_.empty()) {  // first: it costs little, and a write takes the room of what seems unused
      touch_all(lock);
    } else if (Buffer* buffer = first(writes_, State::kWanted)) {
      buffer->state = State::kBusy;
      lock.unlock();
      directory_->write(buffer->id, bytes_of(*buffer));
      lock.lock();
      buffer->state = State::kFree;
      --on_their_way_;
      notify();
    } else {
      return;  // stopping, all written
    }
  }
}

void KvStore::touch_all(std::unique_lock<std::mutex>& lock) {
  const auto chains = std::exchange(touched_, {});
  lock.unlock();
  for (const auto& chain : chains) directory_->touch(chain);
  lock.lock();
}

void KvStore::read_loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return stopping_ || first(reads_, State::kWanted) != nullptr; });
    if (stopping_) return;
    Buffer* buffer = first(reads_, State::kWanted);
    buffer->state = State::kBusy;
    lock.unlock();
    const bool found = directory_->read(buffer->id, bytes_of(*buffer)) == PageFault::kNone;
    lock.lock();
    buffer->found = found;
    buffer->state = State::kDone;
    notify();
  }
}

}  // namespace baltoro::engine
