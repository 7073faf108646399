// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace baltoro::server {

// What becomes of an image, a sound or a file in a request: the models here read text. In what a user says now it is
// refused, so that nobody believes it was seen. Further back, and in tools' results, refusing would end a session for
// good, since clients send it again each time: there the model is told that it was left out.
enum class Unread : std::uint8_t { kRefused, kNoted };

// In place of the part; `what` is "image", "file", ...
inline std::string unread_note(std::string_view what) {
  std::string out = "[";
  out.append(what).append(" omitted: this model reads text only]");
  return out;
}

}  // namespace baltoro::server
