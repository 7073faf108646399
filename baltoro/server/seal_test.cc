// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/seal.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "baltoro/server/base64url.h"

namespace baltoro::server {
namespace {

TEST(Seal, GivesBackWhatWasSealed) {
  const Seal seal(SealKey::random());
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{100'000}}) {
    const std::string text(size, 'x');
    const std::string sealed = seal.seal(text, "ann");
    EXPECT_EQ(sealed.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
              std::string::npos);
    EXPECT_EQ(seal.open(sealed, "ann"), text);
  }
  EXPECT_EQ(seal.open(seal.seal("", ""), ""), "");
  EXPECT_NE(seal.seal("same", "ann"), seal.seal("same", "ann"));
}

TEST(Seal, OpensNothingElse) {
  const Seal seal(SealKey::random());
  const std::string sealed = seal.seal("a secret thought", "ann");
  EXPECT_EQ(seal.open(sealed, "bob"), std::nullopt);
  EXPECT_EQ(Seal(SealKey::random()).open(sealed, "ann"), std::nullopt);
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    std::string changed = sealed;
    changed[i] = changed[i] == 'A' ? 'Q' : 'A';
    EXPECT_EQ(seal.open(changed, "ann"), std::nullopt) << i;
    EXPECT_EQ(seal.open(sealed.substr(0, i), "ann"), std::nullopt) << i;
  }
  for (const std::string_view text : {"", "!", "AAAA", "gAAAAABo", "\xff\xff"}) {
    EXPECT_EQ(seal.open(text, "ann"), std::nullopt);
  }
}

TEST(Seal, AKeyThatIsKeptOpensAfterARestart) {
  const SealKey key(SealKey::Bytes{1, 2, 3});
  EXPECT_EQ(Seal(key).open(Seal(key).seal("kept", "ann"), "ann"), "kept");
}

TEST(SealKey, EachPurposeHasAKeyOfItsOwn) {
  const SealKey key(SealKey::Bytes{1, 2, 3});
  EXPECT_EQ(key.derive("a").bytes(), key.derive("a").bytes());
  EXPECT_NE(key.derive("a").bytes(), key.derive("b").bytes());
  EXPECT_NE(key.derive("a").bytes(), key.bytes());
  EXPECT_EQ(Seal(key.derive("b")).open(Seal(key.derive("a")).seal("x", ""), ""), std::nullopt);
}

TEST(Base64Url, OneTextForEachBytes) {
  EXPECT_EQ(to_base64url("\xfb\xff"), "-_8");
  EXPECT_EQ(from_base64url("-_8"), "\xfb\xff");
  EXPECT_EQ(from_base64url(""), "");
  for (const char* bad : {"-_9", "-_8=", "A", "AAAAA", "+/8", "AB", "A\n"}) EXPECT_FALSE(from_base64url(bad)) << bad;
}

class SealKeyFile : public testing::Test {
 protected:
  SealKeyFile() : path_(testing::TempDir() + "seal_key_" + std::to_string(::getpid())) {
    std::filesystem::remove(path_);
  }
  ~SealKeyFile() override { std::filesystem::remove(path_); }
  void write(const std::string& text) const { std::ofstream(path_) << text; }
  const std::string path_;
};

TEST_F(SealKeyFile, IsMadeOnceAndReadAgain) {
  const auto made = SealKey::in_file(path_);
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(std::filesystem::status(path_).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  EXPECT_EQ(SealKey::in_file(path_)->bytes(), made->bytes());
  std::filesystem::remove(path_);
  EXPECT_NE(SealKey::in_file(path_)->bytes(), made->bytes());
}

TEST_F(SealKeyFile, HoldsAKeyAndNothingElse) {
  const std::string digits(62, 'a');
  for (const std::string& text :
       {std::string(), digits, digits + "aaa", digits + "ag", "\n" + digits + "aa", std::string(1 << 20, 'a')}) {
    write(text);
    EXPECT_FALSE(SealKey::in_file(path_).ok()) << text.substr(0, 80);
  }
  write(digits + "0F\r\n");
  ASSERT_TRUE(SealKey::in_file(path_).ok());
  EXPECT_EQ(SealKey::in_file(path_)->bytes().back(), 15);
  write("a secret that is none");
  const auto bad = SealKey::in_file(path_);
  EXPECT_NE(bad.error().message.find(path_), std::string::npos);
  EXPECT_EQ(bad.error().message.find("secret"), std::string::npos);
  EXPECT_FALSE(SealKey::in_file(testing::TempDir()).ok());
  EXPECT_EQ(SealKey::in_file("/nowhere/at/all").error().code, Errc::kIo);
}

}  // namespace
}  // namespace baltoro::server
