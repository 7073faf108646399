// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/base/directory_lock.h"
#include "baltoro/base/result.h"
#include "baltoro/engine/kv_page.h"

namespace baltoro::engine {

struct KvDirectoryOptions {
  std::string dir;
  std::int64_t max_bytes = 0;  // of all pages, those of other models included
  Sha256Digest fingerprint{};
  std::size_t kv_bytes = 0;                        // a block's
  std::function<void(std::string_view)> log = {};  // one line at a time; may be called from any thread
  std::function<int()> fail_write = {};            // tests: an errno for the next write, 0: none
  std::function<void()> before_read = {};          // tests: called on the reading thread
};

struct KvDirectoryStats {
  std::int64_t pages = 0, bytes = 0;  // kept now, all models
  std::int64_t pages_written = 0, bytes_written = 0, pages_read = 0, bytes_read = 0, pages_evicted = 0;
  std::int64_t pages_bad = 0;     // that were found damaged or foreign, and removed
  std::int64_t write_errors = 0;  // disk full and the like
  bool writes_stopped = false;    // after one, for kWritePause
  double write_seconds = 0, read_seconds = 0;
};

// Pages of KV in a directory, found by chain key: DIR/pages/MODEL/KK/KEY, one file a block, with DIR/lock and
// DIR/secret beside. A page is written under another name and renamed, so that a process that dies at any moment leaves
// whole pages and temporary files, which the next one removes. Within max_bytes: the least recently used page goes
// first; the files' times keep the order over a restart. Nothing is synced: KV can always be computed again, and a page
// that a power failure tore fails its check. Any thread.
class KvDirectory {
 public:
  // Takes the directory, made where there is none, and reads which pages there are. kUnavailable: another process has
  // it. kInvalidArgument: max_bytes holds no page. kIo, kPermissionDenied: as the system says.
  static Result<std::unique_ptr<KvDirectory>> open(KvDirectoryOptions options);

  const ChainKeys& keys() const { return *keys_; }
  const Sha256Digest& fingerprint() const { return options_.fingerprint; }
  bool contains(const ChainKey& key) const;
  // Nothing while writes are stopped or the page is there. What goes wrong is logged and counted.
  void write(const PageId& id, std::span<const std::byte> kv);
  // Fills `kv` with the page. kNone: it is the one wanted. Else a miss: the page is removed, logged and counted.
  // kSize also for one that is not there or cannot be opened now, which stays.
  PageFault read(const PageId& id, std::span<std::byte> kv);
  // Marks a chain, root first, as used now: its root will leave last.
  void touch(std::span<const ChainKey> chain);
  bool takes_writes() const;
  KvDirectoryStats stats() const;

  static constexpr double kWritePause = 60;  // seconds without writes after a failed one

 private:
  struct Page {
    ChainKey key{};
    std::size_t model = 0;  // index into models_
    std::int64_t bytes = 0;
    std::int64_t used_ns = 0;  // the file's time; a block's is a little before that of the one in front of it
  };
  using Pages = std::list<Page>;  // least recently used first

  explicit KvDirectory(KvDirectoryOptions options) : options_(std::move(options)) {}
  Status load_secret();
  Status scan();
  Status scan_model(std::size_t model, std::vector<Page>& found);
  std::string path_of(const Page& page) const;
  Status store(const Page& page, const PageId& id, std::span<const std::byte> kv);
  std::vector<std::string> make_room(std::int64_t bytes);
  void remember(const Page& page, Pages::iterator place);
  void forget(Pages::iterator page);
  void note_failure(const Error& error);
  void drop(const ChainKey& key, PageFault fault);
  void log(std::string_view line) const;

  KvDirectoryOptions options_;
  std::unique_ptr<DirectoryLock> lock_;
  std::unique_ptr<ChainKeys> keys_;
  std::vector<std::string> models_;  // names of folders; 0 is ours

  mutable std::mutex mutex_;  // guards what follows
  Pages pages_;
  std::map<ChainKey, Pages::iterator> by_key_;  // of our model
  KvDirectoryStats stats_;
  double stopped_until_ = 0;
  std::atomic<std::uint64_t> temporary_ = 0;
};

}  // namespace baltoro::engine
