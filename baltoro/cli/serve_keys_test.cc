// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/serve_keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>

#include "baltoro/base/file.h"

namespace baltoro::cli {
namespace {

using testing::HasSubstr;

class ServeKeys : public testing::Test {
 protected:
  void SetUp() override {
    ::unsetenv("BALTORO_API_KEY");
    std::string pattern = testing::TempDir() + "serve-keys-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override {
    ::unsetenv("BALTORO_API_KEY");
    std::filesystem::remove_all(dir_);
  }
  std::string file(const std::string& text) const {
    const std::string path = join_path(dir_, "keys");
    EXPECT_TRUE(write_file_atomically(path, text).ok());
    return path;
  }
  static std::vector<server::KeyDigest> digests(const ServeKeyOptions& options) {
    const auto read = read_serve_keys(options);
    EXPECT_TRUE(read.ok()) << read.error().message;
    std::vector<server::KeyDigest> out;
    if (read.ok())
      for (const server::KeyEntry& entry : *read) out.push_back(entry.digest);
    return out;
  }
  static std::string error(const ServeKeyOptions& options) {
    const auto read = read_serve_keys(options);
    return read.ok() ? "" : read.error().message;
  }
  std::string dir_;
};

TEST_F(ServeKeys, NoneAreAskedForNoneAreThere) { EXPECT_TRUE(digests({}).empty()); }

TEST_F(ServeKeys, ComeFromOptionEnvironmentAndLines) {
  ::setenv("BALTORO_API_KEY", "from-environment", 1);
  const std::string path = file("# comment\n\nfirst\r\n  \nse cond  \n#third\nlast");
  std::vector<server::KeyDigest> wanted;
  for (const char* key : {"option", "from-environment", "first", "se cond", "last"})
    wanted.push_back(server::key_digest(key));
  EXPECT_EQ(digests({.plain = {"option"}, .plain_file = path, .limits_file = {}}), wanted);
}

TEST_F(ServeKeys, ThoseWithLimitsComeFirst) {
  const std::string path = file(R"({"keys": [{"name": "ci", "key": "a", "max_concurrent": 2}]})");
  const auto read = read_serve_keys({.plain = {"b"}, .plain_file = {}, .limits_file = path});
  ASSERT_TRUE(read.ok());
  ASSERT_EQ(read->size(), 2U);
  EXPECT_EQ((*read)[0].name, "ci");
  EXPECT_EQ((*read)[0].limits.max_concurrent, 2);
  EXPECT_EQ((*read)[1].name, "key-2");
  EXPECT_EQ((*read)[1].digest, server::key_digest("b"));
}

TEST_F(ServeKeys, AFileWithoutAKeyOpensNothing) {
  for (const char* text : {"", "\n\n", "# only a comment\n", "   \r\n"})
    EXPECT_THAT(error({.plain = {"a"}, .plain_file = file(text), .limits_file = {}}),
                HasSubstr("no key in the key file"))
        << text;
  EXPECT_THAT(error({.plain = {""}, .plain_file = {}, .limits_file = {}}), HasSubstr("must not be empty"));
  const std::string none = file(R"({"keys": []})");
  EXPECT_THAT(error({.plain = {"a"}, .plain_file = {}, .limits_file = none}), HasSubstr(none));
}

TEST_F(ServeKeys, WhatIsNoFileIsRefusedWithoutHanging) {
  const std::string fifo = join_path(dir_, "fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& path : {fifo, dir_, join_path(dir_, "absent"), file(std::string((16 << 20) + 1, 'x'))}) {
    EXPECT_THAT(error({.plain = {}, .plain_file = path, .limits_file = {}}), HasSubstr("cannot read the key file"));
    EXPECT_THAT(error({.plain = {}, .plain_file = {}, .limits_file = path}), HasSubstr(path));
  }
}

}  // namespace
}  // namespace baltoro::cli
