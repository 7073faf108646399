// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "baltoro/base/json.h"
#include "baltoro/server/api_limits.h"
#include "baltoro/server/field_reader.h"

namespace baltoro::server {

// What an OpenAI request says of itself and its sender. None of it changes the answer; null where absent.
struct RequestNotes {
  json::Value metadata, user, safety_identifier, prompt_cache_key, prompt_cache_retention;
};

// metadata (at most 16 strings of 512 bytes, names of 64), user, safety_identifier, prompt_cache_key and
// prompt_cache_retention (strings within limits.max_note_bytes), and service_tier, whose tiers are all the same here.
RequestNotes read_notes(FieldReader& reader, const ApiLimits& limits);

}  // namespace baltoro::server
