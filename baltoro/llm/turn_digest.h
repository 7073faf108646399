// SPDX-License-Identifier: Apache-2.0
// What an answer says, whichever way a client writes it back. Inside llm/ only.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "baltoro/base/sha256.h"
#include "baltoro/text/message.h"

namespace baltoro::llm {

// A digest of what a client shows of an answer: its content without white space at either end and with \n for \r\n;
// for each call the name, and the arguments as JSON with sorted keys, without spaces, 1.0 as 1, or as trimmed text
// where they are no JSON. Call ids and reasoning are left out.
Sha256Digest visible_digest(const text::Message& message);

// A digest of the reasoning with each run of white space as one space; none where nothing else is left.
std::optional<Sha256Digest> reasoning_digest(std::string_view reasoning);

// A call's arguments in that one form.
std::string canonical_arguments(std::string_view arguments);

// Digests of the prefixes of one growing prompt of one tenant.
class PromptDigest {
 public:
  explicit PromptDigest(std::string_view tenant);
  // `prompt` begins with what the last call had. The digest is of `prompt` + `more`.
  Sha256Digest of(std::span<const std::int32_t> prompt, std::span<const std::int32_t> more = {});

 private:
  Sha256 hash_;
  std::size_t hashed_ = 0;  // tokens
};

}  // namespace baltoro::llm
