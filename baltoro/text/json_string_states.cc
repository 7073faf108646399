// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/json_string_states.h"

#include <string_view>

#include "baltoro/base/hex.h"

namespace baltoro::text {
namespace {

bool is_hex(std::uint8_t c) { return hex_digit(static_cast<char>(c)) >= 0; }
bool within(std::uint8_t c, std::uint8_t low, std::uint8_t high) { return low <= c && c <= high; }

StringState after_whole(std::uint8_t c) {
  if (c == '\\') return kBackslash;
  if (c < 0x20 || c == '"') return kNoState;
  if (c < 0x80) return kWhole;
  if (within(c, 0xC2, 0xDF)) return kLast1;
  if (c == 0xE0) return kAfterE0;
  if (c == 0xED) return kAfterED;
  if (within(c, 0xE1, 0xEF)) return kLast2;
  if (c == 0xF0) return kAfterF0;
  if (within(c, 0xF1, 0xF3)) return kLast3;
  return c == 0xF4 ? kAfterF4 : kNoState;
}

StringState step(StringState state, std::uint8_t c) {
  const auto when = [](bool good, StringState next) { return good ? next : kNoState; };
  switch (state) {
    case kWhole:
      return after_whole(c);
    case kLast1:
      return when(within(c, 0x80, 0xBF), kWhole);
    case kLast2:
      return when(within(c, 0x80, 0xBF), kLast1);
    case kLast3:
      return when(within(c, 0x80, 0xBF), kLast2);
    case kAfterE0:
      return when(within(c, 0xA0, 0xBF), kLast1);
    case kAfterED:
      return when(within(c, 0x80, 0x9F), kLast1);
    case kAfterF0:
      return when(within(c, 0x90, 0xBF), kLast2);
    case kAfterF4:
      return when(within(c, 0x80, 0x8F), kLast2);
    case kBackslash:
      if (c == 'u') return kHex1;
      return when(std::string_view("\"\\/bfnrt").find(static_cast<char>(c)) != std::string_view::npos, kWhole);
    case kHex1:
      if (c == 'd' || c == 'D') return kHex2AfterD;
      return when(is_hex(c), kHex2);
    case kHex2:
      return when(is_hex(c), kHex3);
    case kHex2AfterD:
      if (within(c, '0', '7')) return kHex3;
      return when(c == '8' || c == '9' || c == 'a' || c == 'b' || c == 'A' || c == 'B', kPairHex3);
    case kHex3:
      return when(is_hex(c), kHex4);
    case kHex4:
      return when(is_hex(c), kWhole);
    case kPairHex3:
      return when(is_hex(c), kPairHex4);
    case kPairHex4:
      return when(is_hex(c), kPairBackslash);
    case kPairBackslash:
      return when(c == '\\', kPairU);
    case kPairU:
      return when(c == 'u', kPairLow1);
    case kPairLow1:
      return when(c == 'd' || c == 'D', kPairLow2);
    case kPairLow2:
      return when(within(c, 'c', 'f') || within(c, 'C', 'F'), kHex3);
    case kStringStates:
    case kNoState:
      break;
  }
  return kNoState;
}

struct Table {
  std::array<std::array<StringState, 256>, kStringStates> next;
  std::array<std::uint32_t, kStringStates> left{};

  Table() {
    for (unsigned s = 0; s < kStringStates; ++s)
      for (unsigned c = 0; c < 256; ++c) next[s][c] = step(static_cast<StringState>(s), static_cast<std::uint8_t>(c));
    left = {0, 1, 2, 3, 2, 2, 3, 3, 1, 4, 3, 3, 2, 1, 8, 7, 6, 5, 4, 3};
  }
};

}  // namespace

static const Table kTable;

StringState next_in_string(StringState state, std::uint8_t byte) { return kTable.next[state][byte]; }
std::uint32_t bytes_to_whole(StringState state) { return kTable.left[state]; }

}  // namespace baltoro::text
