// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace baltoro::server {

// What a request may hold, whatever the dialect. Over a limit: refused with the field's name, never cut silently.
struct ApiLimits {
  std::size_t max_json_depth = 64;
  std::size_t max_json_values = 1'000'000;
  std::size_t max_messages = 10'000;
  std::size_t max_tools = 128;
  std::size_t max_tool_bytes = 128 << 10;  // one declaration, as JSON
  std::size_t max_name_bytes = 256;
  std::int64_t max_choices = 8;  // n, times the number of prompts
  std::size_t max_prompts = 8;
  std::size_t max_stops = 16;
  std::size_t max_stop_bytes = 4096;
  std::int64_t max_top_logprobs = 20;
  std::size_t max_logit_bias = 4096;
  bool strict_moonshot = false;       // refuse what Moonshot's own API refuses: other temperatures, top_p, penalties, n
  std::size_t max_note_bytes = 4096;  // user, prompt_cache_key, ...
};

}  // namespace baltoro::server
