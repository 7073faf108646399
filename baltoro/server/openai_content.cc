// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/openai_content.h"

#include <fmt/format.h>

namespace baltoro::server {
namespace {

// The member of a part of that type that holds its text; nullptr: a part without text.
const char* text_member(std::string_view type) {
  if (type == "text" || type == "input_text" || type == "output_text" || type == "reasoning_text") return "text";
  return type == "refusal" ? "refusal" : nullptr;
}

// What a part is that these models cannot read; "" for other ones.
std::string_view unread_kind(std::string_view type) {
  if (type == "image_url" || type == "input_image" || type == "image") return "image";
  if (type == "video_url" || type == "input_video" || type == "video") return "video";
  if (type == "input_audio" || type == "audio") return "audio";
  return type == "file" || type == "input_file" ? "file" : "";
}

void append_part(FieldReader& part, Unread unread, std::string& out) {
  const std::string* type = part.ok() ? part.string("type") : nullptr;
  if (part.ok() && type == nullptr) part.missing("type", "the part's type");
  if (!part.ok()) return;
  const char* member = text_member(*type);
  if (member == nullptr) {
    const std::string_view kind = unread == Unread::kNoted ? unread_kind(*type) : std::string_view();
    if (!kind.empty()) return void(out += unread_note(kind));
    return part.fail(
        "type", fmt::format("parts of type \"{}\" are not accepted, this model reads text only", type->substr(0, 64)));
  }
  const std::string* text = part.string(member);
  if (part.ok() && text == nullptr) part.missing(member, "a string");
  if (part.ok()) out += *text;
}

}  // namespace

std::optional<std::string> read_text(FieldReader& reader, std::string_view key, const ApiLimits& limits,
                                     Unread unread) {
  const json::Value* content = reader.any(key);
  if (content == nullptr) return {};
  if (content->is_string()) return content->as_string();
  if (!content->is_array()) {
    reader.wrong_kind(key, "a string or an array of parts", *content);
    return {};
  }
  const json::Array* parts = reader.array(key, limits.max_messages);
  std::string text;
  for (std::size_t i = 0; parts != nullptr && i < parts->size() && reader.ok(); ++i) {
    FieldReader part((*parts)[i], reader.path(key, i));
    append_part(part, unread, text);
    if (!part.ok()) reader.fail_with(part.status().error());
  }
  return text;
}

}  // namespace baltoro::server
