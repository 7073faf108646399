// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/hex.h"

#include <gtest/gtest.h>

#include <array>

namespace baltoro {
namespace {

TEST(Hex, EveryByteComesBack) {
  std::array<std::uint8_t, 256> bytes, back{};
  for (unsigned b = 0; b < bytes.size(); ++b) bytes[b] = static_cast<std::uint8_t>(b);
  const std::string digits = to_hex(bytes);
  EXPECT_EQ(digits.size(), 512U);
  EXPECT_TRUE(digits.starts_with("000102030405060708090a0b0c0d0e0f10"));
  EXPECT_TRUE(digits.ends_with("fdfeff"));
  EXPECT_TRUE(is_lower_hex(digits));
  ASSERT_TRUE(read_hex(digits, back));
  EXPECT_EQ(back, bytes);
  EXPECT_EQ(to_hex({}), "");
}

TEST(Hex, DigitsOfEitherCaseAreReadAndNothingElse) {
  std::array<std::uint8_t, 2> bytes{};
  ASSERT_TRUE(read_hex("0aF9", bytes));
  EXPECT_EQ(bytes, (std::array<std::uint8_t, 2>{0x0A, 0xF9}));
  for (const char* bad : {"", "0aF", "0aF90", "0aFg", "0aF ", "-1F9", "0x12", "0a\xC3\xA9"})
    EXPECT_FALSE(read_hex(bad, bytes)) << bad;
  int digits = 0;
  for (int c = -128; c < 128; ++c) digits += hex_digit(static_cast<char>(c)) >= 0;
  EXPECT_EQ(digits, 22);
  EXPECT_FALSE(is_lower_hex("0A"));
  EXPECT_FALSE(is_lower_hex("0g"));
}

}  // namespace
}  // namespace baltoro
