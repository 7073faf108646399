// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/read_ahead.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include "baltoro/base/huge_pages.h"

namespace baltoro {
namespace {

// A file of `bytes` bytes that are mapped, but not read.
class FreshMapping {
 public:
  explicit FreshMapping(std::size_t bytes) : bytes_(bytes) {
    std::string path = testing::TempDir() + "/aheadXXXXXX";
    fd_ = ::mkstemp(path.data());
    ::unlink(path.c_str());
    const std::string content(bytes, 'x');
    EXPECT_EQ(::write(fd_, content.data(), bytes), static_cast<ssize_t>(bytes));
    data_ = static_cast<std::byte*>(map_for_huge_pages(fd_, bytes, PROT_READ));
    EXPECT_NE(static_cast<void*>(data_), MAP_FAILED);
  }
  ~FreshMapping() {
    ::munmap(data_, bytes_);
    ::close(fd_);
  }
  std::span<const std::byte> bytes() const { return {data_, bytes_}; }
  int fd() const { return fd_; }

 private:
  std::size_t bytes_;
  int fd_;
  std::byte* data_;
};

// Pages of [data, data + bytes) that the page tables have: a read of them will not fault. -1 where that is not told.
std::int64_t pages_present(std::span<const std::byte> bytes) {
  constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  std::vector<std::uint64_t> entries((begin + bytes.size() - 1) / page - begin / page + 1);
  const int fd = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  const std::size_t size = entries.size() * sizeof entries[0];
  const ssize_t got = ::pread(fd, entries.data(), size, static_cast<off_t>(begin / page * sizeof entries[0]));
  ::close(fd);
  if (got != static_cast<ssize_t>(size)) return -1;
  return std::ranges::count_if(entries, [](std::uint64_t entry) { return (entry & kPresent) != 0; });
}

bool system_fills_page_tables() {
  const FreshMapping file(1);
  void* data = const_cast<std::byte*>(file.bytes().data());
  return ::madvise(data, static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), MADV_POPULATE_READ) == 0 || errno != EINVAL;
}

// What it is for. The file is in memory, for it was just written; nobody has read the mapping.
TEST(ReadAhead, FillsThePageTables) {
  if (!system_fills_page_tables()) GTEST_SKIP() << "this Linux has no MADV_POPULATE_READ (5.14 and later do)";
  const FreshMapping file(9 * kHugePage + 777);
  if (pages_present(file.bytes()) < 0) GTEST_SKIP() << "this system shows no /proc/self/pagemap";
  ASSERT_EQ(pages_present(file.bytes()), 0);
  ReadAhead ahead;
  const auto first = file.bytes().subspan(kHugePage + 5, 3 * kHugePage);
  ahead.now(first);
  ahead.finish();
  const std::int64_t page = ::sysconf(_SC_PAGESIZE);
  EXPECT_EQ(pages_present(first), static_cast<std::int64_t>(3 * kHugePage) / page + 1);
  ahead.later(file.bytes());
  ahead.finish();
  EXPECT_EQ(pages_present(file.bytes()), static_cast<std::int64_t>(9 * kHugePage) / page + 1);
}

TEST(ReadAhead, DoesAllThatIsAskedOnce) {
  const FreshMapping file(9 * kHugePage + 777);
  ReadAhead ahead;
  ahead.finish();  // nothing asked: returns
  const auto part = file.bytes().subspan(5, 8 * kHugePage);
  ahead.later(part);
  ahead.now(file.bytes().subspan(3 * kHugePage + 1, 10));
  ahead.now({});
  ahead.finish();
  EXPECT_EQ(ahead.bytes_done(), part.size() + 10);
  ahead.later(file.bytes());
  ahead.finish();
  EXPECT_EQ(ahead.bytes_done(), part.size() + 10 + file.bytes().size());
}

// Asked from several threads, and left with work undone.
TEST(ReadAhead, EndsInTheMiddle) {
  const FreshMapping file(8 * kHugePage);
  for (int i = 0; i < 20; ++i) {
    ReadAhead ahead;
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (int k = 0; k < 20; ++k) ahead.later(file.bytes());
        ahead.now(file.bytes().first(100));
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

// A page that is gone must not end the process: only its reader may.
TEST(ReadAhead, SurvivesAFileCutShort) {
  const FreshMapping file(6 * kHugePage);
  ASSERT_EQ(::ftruncate(file.fd(), 100), 0);
  ReadAhead ahead;
  ahead.now(file.bytes());
  ahead.finish();
  EXPECT_EQ(ahead.bytes_done(), file.bytes().size());
}

}  // namespace
}  // namespace baltoro
