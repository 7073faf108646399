// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "baltoro/server/field_reader.h"
#include "baltoro/server/unread_parts.h"

namespace baltoro::server {

// Calls take(FieldReader& block, const std::string& type) for each block of the array at `key`. What a block fails with
// ends as the owner's error.
template <typename Take>
void each_block(FieldReader& owner, std::string_view key, std::size_t max_blocks, Take&& take) {
  const json::Array* blocks = owner.array(key, max_blocks);
  for (std::size_t i = 0; blocks != nullptr && i < blocks->size() && owner.ok(); ++i) {
    FieldReader block((*blocks)[i], owner.path(key, i));
    const std::string* type = block.ok() ? block.string("type") : nullptr;
    if (block.ok() && type == nullptr) block.missing("type", "the block's type");
    if (block.ok()) take(block, *type);
    if (!block.ok()) owner.fail_with(block.status().error());
  }
}

// A string that must be there; "" after a failure.
const std::string& needed_string(FieldReader& reader, std::string_view key, std::string_view what);

// The text at `key`, a string or blocks joined by a newline; "" when absent.
std::string read_text_or_blocks(FieldReader& owner, std::string_view key, std::size_t max_blocks,
                                Unread unread = Unread::kRefused);

// The text that one block stands for: text, search_result, tool_reference, and documents whose text is inside. Images,
// PDFs, URLs and files are refused or noted: the model reads text, and nothing is fetched.
std::string read_inline_text(FieldReader& block, const std::string& type, std::size_t max_blocks,
                             Unread unread = Unread::kRefused);

// Appends, with a newline between what is not empty.
void append_line(std::string& out, std::string_view more);

}  // namespace baltoro::server
