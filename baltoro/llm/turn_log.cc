// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/turn_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "baltoro/base/clock.h"
#include "baltoro/base/quiet_thread.h"

namespace baltoro::llm {
namespace {

constexpr std::size_t kCheckBytes = 16;
constexpr std::uint32_t kMaxRecordBytes = 64u << 20;
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 30;
constexpr std::size_t kMaxWaitingBytes = std::size_t{16} << 20;
constexpr std::int64_t kLeastRewrite = 1 << 20;

template <typename T>
void put(std::string& out, const T& value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Takes a value from the front; false where there are too few bytes.
template <typename T>
bool get(std::span<const std::byte>& bytes, T& value) {
  if (bytes.size() < sizeof value) return false;
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes = bytes.subspan(sizeof value);
  return true;
}

bool get_call_ids(std::span<const std::byte>& bytes, std::vector<std::string>& ids) {
  std::uint32_t count = 0;
  if (!get(bytes, count)) return false;
  for (std::uint32_t i = 0; i < count; ++i) {
    std::uint32_t size = 0;
    if (!get(bytes, size) || size > bytes.size()) return false;
    ids.emplace_back(reinterpret_cast<const char*>(bytes.data()), size);
    bytes = bytes.subspan(size);
  }
  return true;
}

std::optional<KeptTurn> decode_payload(std::span<const std::byte> bytes) {
  KeptTurn kept;
  Sha256Digest reasoning{};
  std::uint8_t reasons = 0;
  std::uint32_t tokens = 0;
  const bool head = get(bytes, kept.prompt) && get(bytes, kept.visible) && get(bytes, reasoning) &&
                    get(bytes, reasons) && get(bytes, tokens);
  if (!head || reasons > 1 || tokens == 0 || tokens > bytes.size() / sizeof(text::TokenId)) return std::nullopt;
  if (reasoning != Sha256Digest{}) kept.reasoning = reasoning;
  kept.turn.reasons = reasons == 1;
  kept.turn.tokens.resize(tokens);
  std::memcpy(kept.turn.tokens.data(), bytes.data(), tokens * sizeof(text::TokenId));
  bytes = bytes.subspan(tokens * sizeof(text::TokenId));
  if (!get_call_ids(bytes, kept.turn.call_ids) || !bytes.empty()) return std::nullopt;
  return kept;
}

}  // namespace

std::string encode_turn(const KeptTurn& kept) {
  std::string payload;
  put(payload, kept.prompt);
  put(payload, kept.visible);
  put(payload, kept.reasoning.value_or(Sha256Digest{}));
  put(payload, static_cast<std::uint8_t>(kept.turn.reasons));
  put(payload, static_cast<std::uint32_t>(kept.turn.tokens.size()));
  payload.append(reinterpret_cast<const char*>(kept.turn.tokens.data()),
                 kept.turn.tokens.size() * sizeof(text::TokenId));
  put(payload, static_cast<std::uint32_t>(kept.turn.call_ids.size()));
  for (const std::string& id : kept.turn.call_ids) {
    put(payload, static_cast<std::uint32_t>(id.size()));
    payload += id;
  }
  const Sha256Digest digest = sha256(std::as_bytes(std::span(payload)));
  std::string record;
  put(record, static_cast<std::uint32_t>(payload.size()));
  record.append(reinterpret_cast<const char*>(digest.data()), kCheckBytes);
  return record + payload;
}

std::optional<KeptTurn> decode_turn(std::span<const std::byte>& bytes) {
  std::span<const std::byte> rest = bytes;
  std::uint32_t size = 0;
  std::array<std::uint8_t, kCheckBytes> check{};
  if (!get(rest, size) || !get(rest, check) || size > kMaxRecordBytes || size > rest.size()) return std::nullopt;
  const auto payload = rest.first(size);
  const Sha256Digest digest = sha256(payload);
  if (!std::equal(check.begin(), check.end(), digest.begin())) return std::nullopt;
  auto kept = decode_payload(payload);
  if (kept) bytes = rest.subspan(size);
  return kept;
}

Result<std::unique_ptr<TurnLog>> TurnLog::open(std::string path, std::shared_ptr<TurnStore> store) {
  std::unique_ptr<TurnLog> log(new TurnLog(std::move(path), std::move(store)));
  BALTORO_TRY_STATUS(log->load());
  BALTORO_TRY(log->thread_, start_quiet_thread([raw = log.get()] { raw->write_loop(); }));
  return log;
}

TurnLog::~TurnLog() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  if (thread_.joinable()) thread_.join();
}

Status TurnLog::load() {
  const auto file = read_file(path_, kMaxFileBytes);
  std::span<const std::byte> rest;
  const bool ours = file.ok() && file->starts_with(kTurnLogMagic);
  if (ours) rest = std::as_bytes(std::span(*file)).subspan(kTurnLogMagic.size());
  while (auto kept = decode_turn(rest)) {
    store_->keep(*std::move(kept));
    ++stats_.turns_read;
  }
  stats_.bytes_bad = static_cast<std::int64_t>(ours ? rest.size() : file.ok() ? file->size() : 0);
  if (!ours || !rest.empty()) return rewrite();
  fd_ = FileDescriptor(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW));
  if (!fd_.open()) return io_error("cannot open", path_, errno);
  stats_.bytes = static_cast<std::int64_t>(file->size());
  return {};
}

// The store's turns as a new file in place of the old one.
Status TurnLog::rewrite() {
  std::string content(kTurnLogMagic);
  for (const KeptTurn& kept : store_->all()) content += encode_turn(kept);
  BALTORO_TRY_STATUS(write_file_atomically(path_, content, Readers::kOwner));
  fd_ = FileDescriptor(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW));
  if (!fd_.open()) return io_error("cannot open", path_, errno);
  const std::lock_guard lock(mutex_);
  stats_.bytes = static_cast<std::int64_t>(content.size());
  return {};
}

void TurnLog::append(const KeptTurn& turn) {
  const std::string record = encode_turn(turn);
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() + record.size() > kMaxWaitingBytes) {
      ++stats_.write_errors;
      return;
    }
    waiting_ += record;
  }
  work_.notify_all();
}

TurnLogStats TurnLog::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void TurnLog::write_loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const std::string batch = std::exchange(waiting_, {});
    lock.unlock();
    write_batch(batch);
    lock.lock();
  }
}

// A write that fails half-way leaves a part of a record, behind which nothing would be read again: the file is made
// anew before the next. Where that fails too it is left alone for a while: a full disk does not get emptier by trying.
void TurnLog::write_batch(const std::string& batch) {
  if (steady_seconds() < stopped_until_) return;
  const std::int64_t most = std::max(kLeastRewrite, 2 * store_->stats().bytes);
  bool whole = fd_.open() && stats().bytes + std::ssize(batch) <= most;
  if (whole) whole = ::write(fd_.get(), batch.data(), batch.size()) == std::ssize(batch);
  if (whole) {
    const std::lock_guard lock(mutex_);
    stats_.bytes += std::ssize(batch);
    return;
  }
  if (rewrite().ok()) return;  // holds what the batch says
  fd_ = FileDescriptor();
  stopped_until_ = steady_seconds() + kWritePause;
  const std::lock_guard lock(mutex_);
  ++stats_.write_errors;
}

}  // namespace baltoro::llm
