// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/page_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "baltoro/base/file.h"

namespace baltoro {
namespace {

class PageCache : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "page_cache_" + std::to_string(::getpid());
    ASSERT_TRUE(write_file_atomically(path_, std::string(kBytes, 'x')).ok());
  }
  void TearDown() override { ::unlink(path_.c_str()); }
  static constexpr std::size_t kBytes = (8 << 20) + 17;
  std::string path_;
};

TEST_F(PageCache, AFileReadThroughIsCached) {
  ASSERT_TRUE(read_through(path_).ok());
  const auto cached = cached_bytes(path_);
  ASSERT_TRUE(cached.ok()) << cached.error().message;
  EXPECT_EQ(*cached, kBytes);
}

// Whether the system forgets depends on the file system (tmpfs cannot): never more than there was, and no error.
TEST_F(PageCache, ADroppedFileIsCachedNoMoreThanBefore) {
  ASSERT_TRUE(drop_from_page_cache(path_).ok());
  const auto cached = cached_bytes(path_);
  ASSERT_TRUE(cached.ok()) << cached.error().message;
  EXPECT_LE(*cached, kBytes);
  ASSERT_TRUE(read_through(path_).ok());
  EXPECT_EQ(*cached_bytes(path_), kBytes);
}

TEST_F(PageCache, WhatIsNoFileIsSaid) {
  for (const std::string path : {"/nowhere/at/all", "/", "/dev/null"}) {
    EXPECT_FALSE(cached_bytes(path).ok()) << path;
    EXPECT_FALSE(drop_from_page_cache(path).ok()) << path;
    EXPECT_FALSE(read_through(path).ok()) << path;
  }
}

}  // namespace
}  // namespace baltoro
