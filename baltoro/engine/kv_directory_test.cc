// SPDX-License-Identifier: Apache-2.0
#include "baltoro/engine/kv_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <thread>
#include <utility>

#include "baltoro/base/file.h"
#include "baltoro/engine/kv_store.h"

namespace baltoro::engine {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr std::size_t kBytes = 2000;
constexpr std::int64_t kPage = kBytes + kPageHeaderBytes;

struct Directory : testing::Test {
  Directory() : dir(testing::TempDir() + "kv_directory_" + std::to_string(::getpid())) { fs::remove_all(dir); }
  ~Directory() override { fs::remove_all(dir); }

  std::unique_ptr<KvDirectory> open(std::int64_t pages = 100, std::uint8_t model = 1) {
    KvDirectoryOptions options{.dir = dir, .max_bytes = pages * kPage, .kv_bytes = kBytes};
    options.fingerprint.fill(model);
    options.log = [this](std::string_view line) { log += std::string(line) + "\n"; };
    options.fail_write = [this] {
      if (on_write) on_write();
      return fail;
    };
    auto opened = KvDirectory::open(std::move(options));
    EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().message);
    return opened.ok() ? *std::move(opened) : nullptr;
  }

  // The chain of blocks whose tokens are all `fill`.
  static std::vector<PageId> chain(const KvDirectory& directory, TokenId fill, std::size_t blocks,
                                   std::uint8_t model = 1) {
    std::vector<PageId> pages;
    ChainKey before = directory.keys().root({});
    for (std::size_t i = 0; i < blocks; ++i) {
      PageId id{.fingerprint = {}, .before = before, .key = {}, .index = i, .tokens = {}};
      id.fingerprint.fill(model);
      id.tokens.fill(fill);
      id.key = before = directory.keys().next(before, id.tokens);
      pages.push_back(id);
    }
    return pages;
  }
  static std::vector<std::byte> content(TokenId fill, std::size_t block) {
    return std::vector<std::byte>(kBytes, static_cast<std::byte>(static_cast<std::size_t>(fill) * 16 + block));
  }
  static void write(KvDirectory& directory, TokenId fill, std::size_t blocks) {
    const auto pages = chain(directory, fill, blocks);
    for (std::size_t i = 0; i < blocks; ++i) directory.write(pages[i], content(fill, i));
  }
  // How many blocks of the chain can be read, from its start on.
  static std::size_t readable(KvDirectory& directory, TokenId fill, std::size_t blocks) {
    const auto pages = chain(directory, fill, blocks);
    std::vector<std::byte> kv(kBytes);
    for (std::size_t i = 0; i < blocks; ++i) {
      if (directory.read(pages[i], kv) != PageFault::kNone) return i;
      EXPECT_EQ(kv, content(fill, i));
    }
    return blocks;
  }
  std::vector<std::string> files() const {
    std::vector<std::string> paths;
    for (const auto& entry : fs::recursive_directory_iterator(dir + "/pages"))
      if (entry.is_regular_file()) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    return paths;
  }

  std::string dir, log;
  int fail = 0;
  std::function<void()> on_write;
};

TEST_F(Directory, KeepsPagesOverARestart) {
  auto directory = open();
  write(*directory, 3, 5);
  EXPECT_EQ(readable(*directory, 3, 6), 5u);
  EXPECT_EQ(directory->stats().pages_written, 5);
  write(*directory, 3, 5);  // they are there
  EXPECT_EQ(directory->stats().pages_written, 5);
  directory = nullptr;
  directory = open();
  EXPECT_EQ(directory->stats().pages, 5);
  EXPECT_EQ(directory->stats().bytes, 5 * kPage);
  EXPECT_EQ(readable(*directory, 3, 6), 5u);
  EXPECT_EQ(directory->stats().pages_bad, 0);
  struct stat info{};
  ASSERT_EQ(::stat((dir + "/secret").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(Directory, AnotherModelsPagesAreNotFoundButCount) {
  auto directory = open(8, 1);
  write(*directory, 3, 5);
  directory = nullptr;
  directory = open(8, 2);
  EXPECT_EQ(directory->stats().pages, 5);
  const auto theirs = chain(*directory, 3, 1, 1);
  EXPECT_FALSE(directory->contains(theirs[0].key));
  const auto ours = chain(*directory, 4, 6, 2);
  for (std::size_t i = 0; i < ours.size(); ++i) directory->write(ours[i], content(4, i));
  EXPECT_EQ(directory->stats().pages, 8);
  EXPECT_EQ(directory->stats().pages_evicted, 3);  // the other model's, which are older
}

TEST_F(Directory, OneProcessAtATime) {
  const auto directory = open();
  const auto second = KvDirectory::open({.dir = dir, .max_bytes = kPage, .kv_bytes = kBytes});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Errc::kUnavailable);
  EXPECT_THAT(second.error().message, HasSubstr("in use by process " + std::to_string(::getpid())));
}

TEST_F(Directory, RefusesALimitThatHoldsNoPage) {
  const auto small = KvDirectory::open({.dir = dir, .max_bytes = kPage - 1, .kv_bytes = kBytes});
  ASSERT_FALSE(small.ok());
  EXPECT_EQ(small.error().code, Errc::kInvalidArgument);
}

TEST_F(Directory, TheLeastRecentlyUsedChainGoesFirstAndFromItsTail) {
  auto directory = open(9);
  write(*directory, 1, 3);
  write(*directory, 2, 3);
  write(*directory, 3, 3);
  std::vector<ChainKey> used;
  for (const PageId& page : chain(*directory, 1, 3)) used.push_back(page.key);
  directory->touch(used);
  directory = nullptr;  // the order holds over a restart
  directory = open(9);
  write(*directory, 4, 2);
  EXPECT_EQ(directory->stats().bytes, 9 * kPage);
  EXPECT_EQ(readable(*directory, 1, 3), 3u);
  EXPECT_EQ(readable(*directory, 2, 3), 1u);
  EXPECT_EQ(readable(*directory, 3, 3), 3u);
  EXPECT_EQ(readable(*directory, 4, 2), 2u);
  EXPECT_EQ(files().size(), 9u);
}

TEST_F(Directory, BadFilesAreMissesAndGo) {
  auto directory = open();
  write(*directory, 1, 12);
  directory = nullptr;
  const auto paths = files();
  ASSERT_EQ(paths.size(), 12u);
  for (std::size_t i = 0; i < paths.size(); ++i) {
    switch (i % 4) {
      case 0:
        fs::resize_file(paths[i], i * 200);
        break;
      case 1: {
        std::fstream file(paths[i], std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(i * 90));
        file.put('\x55');
        break;
      }
      case 2:
        fs::remove(paths[i]);
        fs::create_directory(paths[i]);
        break;
      case 3:
        fs::copy_file(paths[(i + 4) % 12], paths[i], fs::copy_options::overwrite_existing);
        break;
    }
  }
  directory = open();
  const auto pages = chain(*directory, 1, 12);
  std::vector<std::byte> kv(kBytes);
  for (const PageId& page : pages) EXPECT_NE(directory->read(page, kv), PageFault::kNone);
  EXPECT_GE(directory->stats().pages_bad, 8);
  EXPECT_THAT(log, HasSubstr("bad page"));
  for (const PageId& page : pages) EXPECT_FALSE(directory->contains(page.key));
}

TEST_F(Directory, FilesOfOtherNamesAreLeftAlone) {
  auto directory = open();
  write(*directory, 1, 1);
  directory = nullptr;
  const std::string page = files().at(0), folder = fs::path(page).parent_path();
  for (const std::string& name : {dir + "/notes.txt", dir + "/pages/readme", folder + "/0123", page + "0"})
    std::ofstream(name) << "mine";
  std::ofstream(folder + "/.tmp-7") << "half a page";
  fs::create_directory(dir + "/pages/" + std::string(32, 'z'));
  directory = open();
  EXPECT_EQ(directory->stats().pages, 1);
  EXPECT_FALSE(fs::exists(folder + "/.tmp-7"));
  for (const std::string& name : {dir + "/notes.txt", dir + "/pages/readme", folder + "/0123", page + "0"})
    EXPECT_TRUE(fs::exists(name)) << name;
}

TEST_F(Directory, ALostSecretLosesThePagesNotTheServer) {
  auto directory = open();
  write(*directory, 1, 3);
  directory = nullptr;
  std::ofstream(dir + "/secret") << "short";
  directory = open();
  EXPECT_EQ(readable(*directory, 1, 3), 0u);
  write(*directory, 1, 3);
  EXPECT_EQ(readable(*directory, 1, 3), 3u);
}

TEST_F(Directory, AFullDiskStopsWritesAlone) {
  const auto directory = open();
  write(*directory, 1, 2);
  for (const int error : {ENOSPC}) {
    fail = error;
    write(*directory, 2, 3);
    EXPECT_EQ(directory->stats().write_errors, 1);  // one try, then a pause
    EXPECT_TRUE(directory->stats().writes_stopped);
    EXPECT_FALSE(directory->takes_writes());
    EXPECT_THAT(log, HasSubstr("No space left"));
    fail = 0;
    write(*directory, 2, 3);
    EXPECT_EQ(readable(*directory, 2, 3), 0u);
    EXPECT_EQ(readable(*directory, 1, 2), 2u);
  }
}

TEST_F(Directory, APageThatCannotBeOpenedNowStays) {
  const auto directory = open();
  write(*directory, 1, 2);
  rlimit limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  EXPECT_EQ(readable(*directory, 1, 2), 0u);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(directory->stats().pages_bad, 0);
  EXPECT_EQ(readable(*directory, 1, 2), 2u);
}

TEST_F(Directory, AStoreReadsInOrderAndFinishesItsWrites) {
  auto directory = open();
  auto store = *KvStore::start(std::move(directory), kBytes);
  const auto pages = chain(store->directory(), 5, 30);
  for (std::size_t i = 0; i < pages.size();) {
    const auto buffer = store->write_buffer();
    if (buffer.empty()) continue;
    const auto bytes = content(5, i);
    std::copy(bytes.begin(), bytes.end(), buffer.begin());
    store->write(pages[i++]);
  }
  store = nullptr;  // writes what it has
  store = *KvStore::start(open(), kBytes);
  std::size_t asked = 0, got = 0;
  while (got < pages.size()) {
    while (asked < pages.size() && store->read(asked, pages[asked])) ++asked;
    store->take_read([&](const KvPage& page) {
      EXPECT_EQ(page.ticket, got);
      EXPECT_TRUE(page.found);
      EXPECT_TRUE(std::ranges::equal(page.kv, content(5, got)));
      ++got;
    });
  }
  const auto unknown = chain(store->directory(), 6, 1);
  ASSERT_TRUE(store->read(99, unknown[0]));
  bool answered = false;
  while (!answered) store->take_read([&](const KvPage& page) { answered = page.ticket == 99 && !page.found; });
}

// A chain in use is noted before the next page is written, which takes the room of what was not used for longest.
TEST_F(Directory, AStoreNotesUseBeforeItWrites) {
  std::promise<void> writing, go_on;
  write(*open(), 1, 1);
  auto directory = open(3);
  write(*directory, 2, 1);
  on_write = [&, first = true]() mutable {
    if (!std::exchange(first, false)) return;
    writing.set_value();
    go_on.get_future().wait();
  };
  const ChainKey used = chain(*directory, 1, 1)[0].key, unused = chain(*directory, 2, 1)[0].key;
  auto store = *KvStore::start(std::move(directory), kBytes);
  for (TokenId fill : {3, 4}) {
    ASSERT_FALSE(store->write_buffer().empty());
    store->write(chain(store->directory(), fill, 1)[0]);
    if (fill == 3) writing.get_future().wait();
  }
  store->touch({used});
  go_on.set_value();
  while (store->directory().stats().pages_written < 3) std::this_thread::yield();
  EXPECT_TRUE(store->directory().contains(used));
  EXPECT_FALSE(store->directory().contains(unused));
}

}  // namespace
}  // namespace baltoro::engine
