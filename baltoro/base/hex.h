// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace baltoro {

// The value of a hexadecimal digit of either case, -1 for another character.
constexpr int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// As to_hex writes them.
constexpr bool is_lower_hex(std::string_view digits) {
  return digits.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Two lower-case digits for each byte.
std::string to_hex(std::span<const std::uint8_t> bytes);

// Fills `out` with the bytes that the digits, of either case, say. False: they are not exactly so many, or no digits;
// `out` then holds anything.
bool read_hex(std::string_view digits, std::span<std::uint8_t> out);

}  // namespace baltoro
