// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/huge_pages.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

#include "baltoro/base/mapped_file.h"

namespace baltoro {
namespace {

bool aligned(const void* data) { return reinterpret_cast<std::uintptr_t>(data) % kHugePage == 0; }

TEST(HugeBuffer, IsAlignedAndZero) {
  for (const std::size_t bytes : {kHugePage, kHugePage + 1, 5 * kHugePage - 7}) {
    auto buffer = HugeBuffer::create(bytes);
    ASSERT_TRUE(buffer.ok()) << buffer.error().message;
    EXPECT_TRUE(aligned(buffer->data())) << bytes;
    EXPECT_EQ(buffer->size(), bytes);
    for (std::size_t i = 0; i < bytes; i += 4093) ASSERT_EQ(buffer->data()[i], std::byte{0});
    buffer->data()[bytes - 1] = std::byte{7};
    EXPECT_EQ(buffer->data()[bytes - 1], std::byte{7});
  }
}

TEST(HugeBuffer, SmallOnesAreWholeToo) {
  auto buffer = HugeBuffer::create(1);
  ASSERT_TRUE(buffer.ok());
  buffer->data()[0] = std::byte{1};
}

TEST(HugeBuffer, MovesItsMemory) {
  auto first = HugeBuffer::create(kHugePage);
  ASSERT_TRUE(first.ok());
  first->data()[3] = std::byte{9};
  const std::byte* place = first->data();
  HugeBuffer second = *std::move(first);
  EXPECT_EQ(second.data(), place);
  auto third = HugeBuffer::create(2 * kHugePage);
  ASSERT_TRUE(third.ok());
  *third = std::move(second);
  EXPECT_EQ(third->data()[3], std::byte{9});
}

TEST(HugeBuffer, MoreThanThereIsIsAnError) {
  for (const std::size_t bytes : {std::size_t{1} << 62, std::numeric_limits<std::size_t>::max()}) {
    const auto buffer = HugeBuffer::create(bytes);
    ASSERT_FALSE(buffer.ok()) << bytes;
    EXPECT_EQ(buffer.error().code, Errc::kResourceExhausted);
  }
}

// Leftovers of the aligned reservation must go: address space is what large models need.
TEST(HugeBuffer, KeepsOnlyWhatItHolds) {
  const auto mapped = [] {
    std::ifstream statm("/proc/self/statm");
    std::size_t pages = 0;
    statm >> pages;
    return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  };
  const std::size_t before = mapped();
  constexpr std::size_t kBytes = 8 * kHugePage + 1;
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(HugeBuffer::create(kBytes).ok());
  EXPECT_LT(mapped(), before + 8 * kHugePage);
}

TEST(MappedFile, OfSeveralHugePagesReadsAsWritten) {
  std::string path = testing::TempDir() + "/mappedXXXXXX";
  const int fd = ::mkstemp(path.data());
  ASSERT_GE(fd, 0);
  ::close(fd);
  std::string content(3 * kHugePage + 12345, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 2654435761u >> 13);
  std::ofstream(path, std::ios::binary) << content;
  {
    const auto file = MappedFile::open(path);
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_TRUE(aligned(file->bytes().data()));
    const std::string_view seen(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
    EXPECT_TRUE(seen == content);
  }
  ::unlink(path.c_str());
}

}  // namespace
}  // namespace baltoro
