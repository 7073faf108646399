// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/anthropic_signature.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

namespace baltoro::server {
namespace {

using Origin = ThinkingSigner::Origin;

TEST(ThinkingSigner, KnowsItsOwn) {
  const ThinkingSigner signer("0123456789abcdef"), same("0123456789abcdef");
  for (const std::string& text :
       {std::string(), std::string("a thought"), std::string(100'000, 'x'), std::string("\0\xff", 2)}) {
    const std::string tag = signer.sign(text), sealed = signer.seal(text);
    EXPECT_EQ(tag, same.sign(text));
    EXPECT_EQ(sealed, same.seal(text));
    EXPECT_EQ(same.read(tag, text).origin, Origin::kOurs);
    EXPECT_EQ(same.read(tag, text).thinking, text);
    EXPECT_EQ(same.read(sealed, "").origin, Origin::kOurs);
    EXPECT_EQ(same.read(sealed, "").thinking, text);
    EXPECT_EQ(signer.read(tag, text + "!").origin, Origin::kAltered);
    EXPECT_EQ(signer.read(sealed, text + "!").origin, Origin::kAltered);
  }
}

TEST(ThinkingSigner, HidesWhatItSeals) {
  const ThinkingSigner signer("0123456789abcdef");
  EXPECT_EQ(signer.seal("a thought").find("thought"), std::string::npos);
  EXPECT_NE(signer.seal("a thought"), signer.seal("a thoughu"));
  EXPECT_EQ(signer.sign("a thought").size(), signer.sign(std::string(5000, 'x')).size());
}

// Each changed character makes a signature altered, or (where it no longer says whose it is) foreign, never ours.
TEST(ThinkingSigner, NoChangedSignatureIsOurs) {
  const ThinkingSigner signer("0123456789abcdef");
  for (const std::string& good : {signer.sign("deep"), signer.seal("deep")}) {
    for (std::size_t i = 0; i < good.size(); ++i) {
      for (const char c : {'A', 'z', '=', '\n', '\0'}) {
        std::string bad = good;
        if (bad[i] == c) continue;
        bad[i] = c;
        EXPECT_NE(signer.read(bad, "deep").origin, Origin::kOurs) << i;
        EXPECT_NE(signer.read(bad, "").origin, Origin::kOurs) << i;
      }
      EXPECT_NE(signer.read(good.substr(0, i), "deep").origin, Origin::kOurs) << i;
    }
  }
}

TEST(ThinkingSigner, SaysNothingOfOthers) {
  const ThinkingSigner signer("0123456789abcdef"), other("another key, as long");
  for (const std::string& foreign : {std::string(), std::string("x"), std::string("EqQBCgIYAhIM"), other.sign("deep"),
                                     other.seal("deep"), std::string(1 << 20, 'A'), std::string("====")}) {
    const auto seen = signer.read(foreign, "deep");
    EXPECT_EQ(seen.origin, Origin::kForeign);
    EXPECT_EQ(seen.thinking, "deep");
  }
}

TEST(ThinkingSigner, KeepsItsKeyInAFile) {
  const std::string path = ::testing::TempDir() + "/thinking-key-" + std::to_string(::getpid());
  std::filesystem::remove(path);
  const auto made = ThinkingSigner::key_file(path);
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(made->size(), 32u);
  EXPECT_EQ(std::filesystem::status(path).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  EXPECT_EQ(*ThinkingSigner::key_file(path), *made);
  std::ofstream(path, std::ios::trunc) << "short";
  const auto bad = ThinkingSigner::key_file(path);
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.error().message.find(path), std::string::npos);
  EXPECT_EQ(bad.error().message.find("short"), std::string::npos);
  std::filesystem::remove(path);
  EXPECT_EQ(ThinkingSigner::key_file("/nowhere/key").error().code, Errc::kIo);
  EXPECT_FALSE(ThinkingSigner::key_file(::testing::TempDir()).ok());
}

}  // namespace
}  // namespace baltoro::server
