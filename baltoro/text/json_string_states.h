// SPDX-License-Identifier: Apache-2.0
// The inside of a JSON string, byte by byte: well-formed UTF-8, escapes, surrogates in pairs only. Inside text/ only.
#pragma once

#include <array>
#include <cstdint>

namespace baltoro::text {

// Where the reader stands within a character of the string.
enum StringState : std::uint8_t {
  kWhole,  // between characters
  kLast1,  // UTF-8: so many continuation bytes are still to come
  kLast2,
  kLast3,
  kAfterE0,  // whose next byte is narrower than a continuation byte
  kAfterED,
  kAfterF0,
  kAfterF4,
  kBackslash,
  kHex1,        // behind \u
  kHex2,        // any second digit
  kHex2AfterD,  // 0-7: no surrogate; 8-b: the first of a pair
  kHex3,
  kHex4,
  kPairHex3,  // of the first of a pair
  kPairHex4,
  kPairBackslash,  // its second must follow
  kPairU,
  kPairLow1,  // d
  kPairLow2,  // c-f
  kStringStates,
  kNoState = 255
};

StringState next_in_string(StringState state, std::uint8_t byte);  // not for the closing quote
// Bytes to the end of the character: 0 for kWhole.
std::uint32_t bytes_to_whole(StringState state);

}  // namespace baltoro::text
