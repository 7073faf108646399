// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/read_ahead.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

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
