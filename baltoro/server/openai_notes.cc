// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/openai_notes.h"

#include <fmt/format.h>

namespace baltoro::server {
namespace {

constexpr std::size_t kMaxMetadata = 16, kMaxMetadataName = 64, kMaxMetadataValue = 512;

json::Value read_metadata(FieldReader& reader) {
  const json::Value* metadata = reader.object("metadata");
  if (metadata == nullptr) return {};
  if (metadata->as_object().size() > kMaxMetadata) {
    reader.fail("metadata",
                fmt::format("at most {} entries are accepted, {} seen", kMaxMetadata, metadata->as_object().size()));
    return {};
  }
  for (const auto& [name, value] : metadata->as_object()) {
    if (name.size() > kMaxMetadataName || !value.is_string() || value.as_string().size() > kMaxMetadataValue) {
      reader.fail("metadata", fmt::format("strings of at most {} bytes under names of at most {} are needed",
                                          kMaxMetadataValue, kMaxMetadataName));
      return {};
    }
  }
  return *metadata;
}

}  // namespace

RequestNotes read_notes(FieldReader& reader, const ApiLimits& limits) {
  const auto note = [&](const char* key) -> json::Value {
    const std::string* text = reader.string(key);
    if (text == nullptr) return {};
    if (text->size() > limits.max_note_bytes) {
      reader.fail(key, fmt::format("at most {} bytes are accepted, {} seen", limits.max_note_bytes, text->size()));
    }
    return *text;
  };
  RequestNotes out;
  out.metadata = read_metadata(reader);
  out.user = note("user");
  out.safety_identifier = note("safety_identifier");
  out.prompt_cache_key = note("prompt_cache_key");
  out.prompt_cache_retention = note("prompt_cache_retention");
  (void)note("service_tier");
  return out;
}

}  // namespace baltoro::server
