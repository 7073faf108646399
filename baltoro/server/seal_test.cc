// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/seal.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "baltoro/server/seal_key_file.h"

namespace baltoro::server {
namespace {

TEST(Seal, GivesBackWhatWasSealed) {
  const Seal seal;
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
  const Seal seal;
  const std::string sealed = seal.seal("a secret thought", "ann");
  EXPECT_EQ(seal.open(sealed, "bob"), std::nullopt);
  EXPECT_EQ(Seal().open(sealed, "ann"), std::nullopt);
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    std::string changed = sealed;
    changed[i] = changed[i] == 'A' ? 'Q' : 'A';
    // The last digit may hold bits that no byte takes: then the text is the same.
    const auto opened = seal.open(changed, "ann");
    if (i + 1 < sealed.size()) {
      EXPECT_EQ(opened, std::nullopt) << i;
    } else if (opened) {
      EXPECT_EQ(*opened, "a secret thought");
    }
    EXPECT_EQ(seal.open(sealed.substr(0, i), "ann"), std::nullopt) << i;
  }
  for (const std::string_view text : {"", "!", "AAAA", "gAAAAABo", "\xff\xff"}) {
    EXPECT_EQ(seal.open(text, "ann"), std::nullopt);
  }
}

TEST(Seal, AKeyThatIsKeptOpensAfterARestart) {
  Seal::Key key{};
  key[3] = 7;
  EXPECT_EQ(Seal(key).open(Seal(key).seal("kept", "ann"), "ann"), "kept");
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
  const auto made = open_seal_key(path_);
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(std::filesystem::status(path_).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  EXPECT_EQ(*open_seal_key(path_), *made);
  std::filesystem::remove(path_);
  EXPECT_NE(*open_seal_key(path_), *made);
}

TEST_F(SealKeyFile, HoldsAKeyAndNothingElse) {
  const std::string digits(62, 'a');
  for (const std::string& text :
       {std::string(), digits, digits + "aaa", digits + "ag", "\n" + digits + "aa", std::string(1 << 20, 'a')}) {
    write(text);
    EXPECT_FALSE(open_seal_key(path_).ok()) << text.substr(0, 80);
  }
  write(digits + "0F\r\n");
  ASSERT_TRUE(open_seal_key(path_).ok());
  EXPECT_EQ(open_seal_key(path_)->back(), 15);
  EXPECT_FALSE(open_seal_key(testing::TempDir()).ok());
  EXPECT_FALSE(open_seal_key("/nowhere/at/all").ok());
}

}  // namespace
}  // namespace baltoro::server
