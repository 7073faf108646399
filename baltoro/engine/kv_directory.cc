// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/kv_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>
#include <utility>

#include "baltoro/base/clock.h"
#include "baltoro/base/file.h"
#include "baltoro/base/hex.h"

namespace baltoro::engine {
namespace {

constexpr std::string_view kTemporary = ".tmp-";
constexpr std::size_t kModelDigits = 32;

bool is_hex(std::string_view text, std::size_t digits) { return text.size() == digits && is_lower_hex(text); }

std::int64_t to_ns(const timespec& time) { return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec; }
timespec from_ns(std::int64_t ns) { return {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000}; }

std::int64_t now_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return to_ns(time);
}

void set_times(const std::string& path, std::int64_t ns) {
  const timespec times[2] = {from_ns(ns), from_ns(ns)};
  static_cast<void>(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW));  // only the order suffers
}

// Writes all of both pieces.
Status write_all(int fd, const std::string& path, std::span<const std::byte> head, std::span<const std::byte> body) {
  std::array<iovec, 2> parts = {iovec{const_cast<std::byte*>(head.data()), head.size()},
                                iovec{const_cast<std::byte*>(body.data()), body.size()}};
  std::size_t first = 0;
  while (first < parts.size()) {
    const ssize_t wrote = ::writev(fd, &parts[first], static_cast<int>(parts.size() - first));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return io_error("cannot write", path, errno);
    auto left = static_cast<std::size_t>(wrote);
    while (first < parts.size() && left >= parts[first].iov_len) left -= parts[first++].iov_len;
    if (first == parts.size()) break;
    parts[first].iov_base = static_cast<std::byte*>(parts[first].iov_base) + left;
    parts[first].iov_len -= left;
  }
  return {};
}

// How many bytes could be read, up to the size of `out`.
std::size_t read_up_to(int fd, std::span<std::byte> out, std::int64_t offset) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = ::pread(fd, out.data() + done, out.size() - done, offset + static_cast<std::int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

}  // namespace

Result<std::unique_ptr<KvDirectory>> KvDirectory::open(KvDirectoryOptions options) {
  const auto page = static_cast<std::int64_t>(options.kv_bytes + kPageHeaderBytes);
  if (options.max_bytes < page)
    return Error{
        Errc::kInvalidArgument,
        fmt::format("[kv_directory] room for at least one page of {} bytes needed, got {}", page, options.max_bytes)};
  std::unique_ptr<KvDirectory> directory(new KvDirectory(std::move(options)));
  BALTORO_TRY_STATUS(make_directories(join_path(directory->options_.dir, "pages")));
  BALTORO_TRY(DirectoryLock lock, DirectoryLock::take(directory->options_.dir));
  directory->lock_ = std::make_unique<DirectoryLock>(std::move(lock));
  BALTORO_TRY_STATUS(directory->load_secret());
  BALTORO_TRY_STATUS(directory->scan());
  return directory;
}

// Without the secret that made their keys, pages are never found again and leave as others come.
Status KvDirectory::load_secret() {
  const std::string path = join_path(options_.dir, "secret");
  Sha256Digest secret{};
  if (const auto text = read_file(path, secret.size()); text.ok() && text->size() == secret.size()) {
    std::memcpy(secret.data(), text->data(), secret.size());
  } else {
    if (::getrandom(secret.data(), secret.size(), 0) != static_cast<ssize_t>(secret.size()))
      return io_error("cannot draw", "a secret", errno);
    const std::string_view bytes(reinterpret_cast<const char*>(secret.data()), secret.size());
    BALTORO_TRY_STATUS(write_file_atomically(path, bytes, Readers::kOwner));
  }
  keys_ = std::make_unique<ChainKeys>(secret);
  return {};
}

Status KvDirectory::scan() {
  const std::string pages = join_path(options_.dir, "pages");
  models_.push_back(to_hex(options_.fingerprint).substr(0, kModelDigits));
  BALTORO_TRY_STATUS(make_directories(join_path(pages, models_[0])));
  if (::chmod(pages.c_str(), 0700) != 0) return io_error("cannot protect", pages, errno);
  BALTORO_TRY(const std::vector<std::string> names, list_directory(pages));
  for (const std::string& name : names)
    if (is_hex(name, kModelDigits) && name != models_[0]) models_.push_back(name);
  std::vector<Page> found;
  for (std::size_t model = 0; model < models_.size(); ++model) BALTORO_TRY_STATUS(scan_model(model, found));
  std::sort(found.begin(), found.end(), [](const Page& a, const Page& b) { return a.used_ns < b.used_ns; });
  for (const Page& page : found) remember(page, pages_.end());
  for (const std::string& path : make_room(0)) static_cast<void>(remove_file(path));
  log(fmt::format("{}: {} pages of {:.1f} MB found", options_.dir, pages_.size(),
                  static_cast<double>(stats_.bytes) / 1e6));
  return {};
}

// Files of other names are not ours to touch.
Status KvDirectory::scan_model(std::size_t model, std::vector<Page>& found) {
  const std::string root = join_path(join_path(options_.dir, "pages"), models_[model]);
  if (!is_directory(root)) return {};
  BALTORO_TRY(const std::vector<std::string> folders, list_directory(root));
  for (const std::string& folder : folders) {
    const std::string path = join_path(root, folder);
    if (!is_hex(folder, 2) || !is_directory(path)) continue;
    BALTORO_TRY(const std::vector<std::string> names, list_directory(path));
    for (const std::string& name : names) {
      const std::string file = join_path(path, name);
      if (name.starts_with(kTemporary)) static_cast<void>(remove_file(file));  // of a process that died
      struct stat info{};
      ChainKey key;
      if (!is_lower_hex(name) || !read_hex(name, key) || !name.starts_with(folder)) continue;
      if (::lstat(file.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
      found.push_back({.key = key, .model = model, .bytes = info.st_size, .used_ns = to_ns(info.st_mtim)});
    }
  }
  return {};
}

std::string KvDirectory::path_of(const Page& page) const {
  const std::string key = to_hex(page.key);
  return fmt::format("{}/pages/{}/{}/{}", options_.dir, models_[page.model], key.substr(0, 2), key);
}

bool KvDirectory::contains(const ChainKey& key) const {
  const std::lock_guard lock(mutex_);
  return by_key_.contains(key);
}

bool KvDirectory::takes_writes() const {
  const std::lock_guard lock(mutex_);
  return steady_seconds() >= stopped_until_;
}

void KvDirectory::write(const PageId& id, std::span<const std::byte> kv) {
  Page page{
      .key = id.key, .model = 0, .bytes = static_cast<std::int64_t>(kPageHeaderBytes + kv.size()), .used_ns = now_ns()};
  std::vector<std::string> victims;
  {
    const std::lock_guard lock(mutex_);
    if (by_key_.contains(id.key) || steady_seconds() < stopped_until_) return;
    if (const auto front = by_key_.find(id.before); front != by_key_.end()) page.used_ns = front->second->used_ns - 1;
    victims = make_room(page.bytes);
  }
  for (const std::string& path : victims) static_cast<void>(remove_file(path));
  const double begin = steady_seconds();
  if (const Status stored = store(page, id, kv); !stored.ok()) return note_failure(stored.error());
  const std::lock_guard lock(mutex_);
  const auto front = by_key_.find(id.before);
  remember(page, front == by_key_.end() ? pages_.end() : front->second);
  ++stats_.pages_written;
  stats_.bytes_written += page.bytes;
  stats_.write_seconds += steady_seconds() - begin;
}

Status KvDirectory::store(const Page& page, const PageId& id, std::span<const std::byte> kv) {
  const int injected = options_.fail_write ? options_.fail_write() : 0;
  const std::string path = path_of(page);
  if (injected != 0) return io_error("cannot write", path, injected);
  const std::string folder = path.substr(0, path.rfind('/'));
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return io_error("cannot make", folder, errno);
  const std::string temporary = fmt::format("{}/{}{}", folder, kTemporary, ++temporary_);
  const FileDescriptor fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.open()) return io_error("cannot create", temporary, errno);
  Status status = write_all(fd.get(), temporary, make_page_header(id, kv), kv);
  set_times(temporary, page.used_ns);
  if (status.ok()) status = rename_file(temporary, path);
  if (!status.ok()) static_cast<void>(remove_file(temporary));
  return status;
}

void KvDirectory::note_failure(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    ++stats_.write_errors;
    stopped_until_ = steady_seconds() + kWritePause;
  }
  log(fmt::format("{}; no pages are written for {} s", error.message, kWritePause));
}

// Under the mutex. The files that must go for `bytes` more.
std::vector<std::string> KvDirectory::make_room(std::int64_t bytes) {
  std::vector<std::string> paths;
  while (!pages_.empty() && stats_.bytes + bytes > options_.max_bytes) {
    paths.push_back(path_of(pages_.front()));
    forget(pages_.begin());
    ++stats_.pages_evicted;
  }
  return paths;
}

void KvDirectory::remember(const Page& page, Pages::iterator place) {
  if (page.model == 0 && by_key_.contains(page.key)) return;
  const auto added = pages_.insert(place, page);
  if (page.model == 0) by_key_.emplace(page.key, added);
  stats_.bytes += page.bytes;
}

void KvDirectory::forget(Pages::iterator page) {
  if (page->model == 0) by_key_.erase(page->key);
  stats_.bytes -= page->bytes;
  pages_.erase(page);
}

PageFault KvDirectory::read(const PageId& id, std::span<std::byte> kv) {
  if (options_.before_read) options_.before_read();
  std::string path;
  {
    const std::lock_guard lock(mutex_);
    const auto found = by_key_.find(id.key);
    if (found == by_key_.end()) return PageFault::kSize;
    path = path_of(*found->second);
  }
  const double begin = steady_seconds();
  PageFault fault = PageFault::kSize;
  const auto file = open_regular(path);
  const bool unreachable = !file.ok() && file.error().code != Errc::kNotFound && file.error().code != Errc::kCorrupt;
  if (unreachable) return fault;  // no descriptor is left, say: the page may be sound
  if (file.ok() && file->bytes == kPageHeaderBytes + kv.size()) {
    PageHeader header;
    const bool whole = read_up_to(file->fd.get(), header, 0) == header.size() &&
                       read_up_to(file->fd.get(), kv, kPageHeaderBytes) == kv.size();
    if (whole) fault = check_page(header, kv, options_.kv_bytes, id);
  }
  if (fault != PageFault::kNone) {
    drop(id.key, fault);
    return fault;
  }
  const std::lock_guard lock(mutex_);
  ++stats_.pages_read;
  stats_.bytes_read += static_cast<std::int64_t>(kPageHeaderBytes + kv.size());
  stats_.read_seconds += steady_seconds() - begin;
  return fault;
}

// A page that is not what its name says would be met again and again: it goes.
void KvDirectory::drop(const ChainKey& key, PageFault fault) {
  std::string path;
  {
    const std::lock_guard lock(mutex_);
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return;
    path = path_of(*found->second);
    forget(found->second);
    ++stats_.pages_bad;
  }
  static_cast<void>(remove_file(path));
  log(fmt::format("{}: bad page ({}), removed", path, page_fault_name(fault)));
}

void KvDirectory::touch(std::span<const ChainKey> chain) {
  const std::int64_t now = now_ns();
  std::vector<std::pair<std::string, std::int64_t>> times;
  {
    const std::lock_guard lock(mutex_);
    for (std::size_t i = chain.size(); i-- > 0;) {
      const auto found = by_key_.find(chain[i]);
      if (found == by_key_.end()) continue;
      Page& page = *found->second;
      page.used_ns = now - static_cast<std::int64_t>(i);
      pages_.splice(pages_.end(), pages_, found->second);
      times.emplace_back(path_of(page), page.used_ns);
    }
  }
  for (const auto& [path, ns] : times) set_times(path, ns);
}

KvDirectoryStats KvDirectory::stats() const {
  const std::lock_guard lock(mutex_);
  KvDirectoryStats stats = stats_;
  stats.pages = static_cast<std::int64_t>(pages_.size());
  stats.writes_stopped = steady_seconds() < stopped_until_;
  return stats;
}

void KvDirectory::log(std::string_view line) const {
  if (options_.log) options_.log(line);
}

}  // namespace baltoro::engine
