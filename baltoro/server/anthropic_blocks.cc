// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/anthropic_blocks.h"

#include <fmt/format.h>

namespace baltoro::server {
namespace {

// A document is read if its text is in the request; `content` is a string or text blocks.
std::string read_document(FieldReader& block, std::size_t max_blocks, Unread unread) {
  const json::Value* source = block.object("source");
  if (block.ok() && source == nullptr) block.missing("source", "the document's source");
  if (!block.ok()) return {};
  FieldReader inner(*source, block.path("source"));
  const std::string& type = needed_string(inner, "type", "the source's type");
  std::string body;
  if (inner.ok() && type == "text") {
    body = needed_string(inner, "data", "the document's text");
  } else if (inner.ok() && type == "content") {
    body = read_text_or_blocks(inner, "content", max_blocks);
  } else if (inner.ok() && unread == Unread::kNoted) {
    body = unread_note("document");
  } else {
    inner.fail("type", fmt::format("documents of type \"{}\" are not accepted, only \"text\" and \"content\": this "
                                   "model reads text, and nothing is fetched",
                                   type.substr(0, 64)));
  }
  if (!inner.ok()) {
    block.fail_with(inner.status().error());
    return {};
  }
  std::string out;
  if (const std::string* title = block.string("title")) append_line(out, *title);
  if (const std::string* context = block.string("context")) append_line(out, *context);
  append_line(out, body);
  return out;
}

std::string read_search_result(FieldReader& block, std::size_t max_blocks) {
  std::string out = needed_string(block, "title", "the result's title");
  append_line(out, needed_string(block, "source", "where the result comes from"));
  append_line(out, read_text_or_blocks(block, "content", max_blocks));
  return out;
}

}  // namespace

const std::string& needed_string(FieldReader& reader, std::string_view key, std::string_view what) {
  static const std::string kNone;
  const std::string* value = reader.ok() ? reader.string(key) : nullptr;
  if (reader.ok() && value == nullptr) reader.missing(key, what);
  return value == nullptr ? kNone : *value;
}

void append_line(std::string& out, std::string_view more) {
  if (!out.empty() && !more.empty()) out += '\n';
  out += more;
}

std::string read_text_or_blocks(FieldReader& owner, std::string_view key, std::size_t max_blocks, Unread unread) {
  const json::Value* value = owner.any(key);
  if (value == nullptr) return {};
  if (value->is_string()) return value->as_string();
  std::string out;
  if (!value->is_array()) {
    owner.wrong_kind(key, "a string or an array of blocks", *value);
    return out;
  }
  each_block(owner, key, max_blocks, [&](FieldReader& block, const std::string& type) {
    append_line(out, read_inline_text(block, type, max_blocks, unread));
  });
  return out;
}

std::string read_inline_text(FieldReader& block, const std::string& type, std::size_t max_blocks, Unread unread) {
  if (type == "text") return needed_string(block, "text", "a string");
  if (type == "document") return read_document(block, max_blocks, unread);
  if (type == "image" && unread == Unread::kNoted) return unread_note("image");
  if (type == "search_result") return read_search_result(block, max_blocks);
  if (type == "tool_reference") {
    return fmt::format("tool_reference: {}", needed_string(block, "tool_name", "the tool's name"));
  }
  block.fail("type", fmt::format("blocks of type \"{}\" are not accepted here: this model reads text, and nothing is "
                                 "fetched",
                                 type.substr(0, 64)));
  return {};
}

}  // namespace baltoro::server
