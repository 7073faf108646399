// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <thread>

#include "baltoro/base/mapped_file.h"
#include "baltoro/base/sha256.h"

namespace baltoro {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "baltoro-file-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string path(const char* name) const { return join_path(dir_, name); }
  std::string dir_;
};

TEST_F(FileTest, WritesAtomicallyAndReadsBack) {
  ASSERT_TRUE(write_file_atomically(path("a"), "one").ok());
  ASSERT_TRUE(write_file_atomically(path("a"), std::string("two\0three", 9)).ok());
  EXPECT_EQ(*read_file(path("a"), 100), std::string("two\0three", 9));
  EXPECT_FALSE(file_exists(path("a.tmp")));
}

TEST_F(FileTest, WhatOnlyItsOwnerMayReadIsNeverOpenToOthers) {
  const std::string file = path("secret");
  ASSERT_TRUE(write_file_atomically(file + ".tmp", "left by a process that died").ok());
  ASSERT_TRUE(write_file_atomically(file, "mine", Readers::kOwner).ok());
  EXPECT_EQ(std::filesystem::status(file).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(FileTest, AWriteThatFailsLeavesNothing) {
  const std::string folder = path("folder");
  ASSERT_TRUE(make_directories(folder).ok());
  EXPECT_FALSE(write_file_atomically(folder, "no folder can be replaced").ok());
  EXPECT_FALSE(file_exists(folder + ".tmp"));
}

TEST_F(FileTest, TheFirstToMakeAFileWins) {
  const std::string file = path("key");
  ASSERT_TRUE(write_file_unless_there(file, "first").ok());
  ASSERT_TRUE(write_file_unless_there(file, "second").ok());
  EXPECT_EQ(*read_file(file, 100), "first");
  EXPECT_EQ(std::filesystem::status(file).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  EXPECT_FALSE(write_file_unless_there(path("absent/key"), "x").ok());
  EXPECT_EQ(*list_directory(dir_), (std::vector<std::string>{"key"}));
}

TEST_F(FileTest, OfManyThatMakeAFileAtOnceAllReadTheSame) {
  constexpr int kMakers = 8;
  const std::string file = path("key");
  std::vector<std::string> seen(kMakers);
  std::vector<std::thread> makers;
  for (int i = 0; i < kMakers; ++i)
    makers.emplace_back([&, i] {
      const std::string mine(5000, static_cast<char>('a' + i));
      if (write_file_unless_there(file, mine).ok()) seen[static_cast<std::size_t>(i)] = *read_file(file, 10'000);
    });
  for (std::thread& maker : makers) maker.join();
  for (const std::string& text : seen) EXPECT_EQ(text, seen[0]);
  EXPECT_EQ(seen[0].size(), 5000U);
  EXPECT_EQ(list_directory(dir_)->size(), 1U);
}

TEST_F(FileTest, LimitsAreKept) {
  ASSERT_TRUE(write_file_atomically(path("a"), "12345").ok());
  EXPECT_TRUE(read_file(path("a"), 5).ok());
  const auto result = read_file(path("a"), 4);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Errc::kTooLarge);
}

TEST_F(FileTest, WhatIsNoRegularFileIsRefusedWithoutHanging) {
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  EXPECT_EQ(read_file(path("fifo"), 10).error().code, Errc::kCorrupt);
  EXPECT_EQ(read_file(dir_, 10).error().code, Errc::kCorrupt);
  EXPECT_EQ(read_file("/dev/null", 10).error().code, Errc::kCorrupt);
  EXPECT_EQ(MappedFile::open(path("fifo")).error().code, Errc::kCorrupt);
  EXPECT_EQ(read_file(path("absent"), 10).error().code, Errc::kNotFound);
  EXPECT_EQ(read_file(std::string("a\0b", 3), 10).error().code, Errc::kInvalidArgument);
}

TEST_F(FileTest, MapsAFileReadOnlyAndKeepsItAcrossMoves) {
  ASSERT_TRUE(write_file_atomically(path("a"), "mapped").ok());
  auto opened = MappedFile::open(path("a"));
  ASSERT_TRUE(opened.ok());
  MappedFile moved = std::move(*opened);
  MappedFile again(std::move(moved));
  EXPECT_EQ(std::memcmp(again.bytes().data(), "mapped", 6), 0);
  EXPECT_EQ(again.bytes().size(), 6u);
  ASSERT_TRUE(write_file_atomically(path("empty"), "").ok());
  EXPECT_EQ(MappedFile::open(path("empty")).error().code, Errc::kCorrupt);
}

TEST_F(FileTest, OutputFileWritesAtAnyOffset) {
  const auto file = OutputFile::create(path("out"));
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->resize(6).ok());
  ASSERT_TRUE(file->write_at(3, std::as_bytes(std::span("def", 3))).ok());
  EXPECT_EQ(*read_file(path("out"), 10), std::string("\0\0\0def", 6));
}

TEST_F(FileTest, MakesNestedDirectoriesAndListsThem) {
  ASSERT_TRUE(make_directories(path("x/y")).ok());
  ASSERT_TRUE(make_directories(path("x/y")).ok());
  ASSERT_TRUE(write_file_atomically(path("x/b"), "").ok());
  EXPECT_EQ(*list_directory(path("x")), (std::vector<std::string>{"b", "y"}));
  EXPECT_FALSE(make_directories(path("x/b/c")).ok());
}

using FileDeathTest = FileTest;

TEST_F(FileDeathTest, ATruncatedMappingEndsTheProgramWithAMessage) {
  ASSERT_TRUE(write_file_atomically(path("a"), std::string(1 << 16, 'x')).ok());
  const auto mapped = MappedFile::open(path("a"));
  ASSERT_TRUE(mapped.ok());
  ASSERT_EQ(::truncate(path("a").c_str(), 0), 0);
  EXPECT_EXIT(
      {
        install_mapping_fault_handler();
        volatile auto byte = mapped->bytes()[1 << 15];
        static_cast<void>(byte);
      },
      testing::ExitedWithCode(74), "a mapped file was truncated");
}

TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(to_hex(sha256({})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 hash;
  hash.update(std::as_bytes(std::span("ab", 2)));
  hash.update(std::as_bytes(std::span("c", 1)));
  EXPECT_EQ(to_hex(hash.finish()), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace baltoro
