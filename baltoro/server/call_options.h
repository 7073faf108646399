// SPDX-License-Identifier: Apache-2.0
// What a client may say of how its call is handled, in every dialect alike: members of the body beside the dialect's
// own, or headers where a client cannot add members.
#pragma once

#include "baltoro/base/json.h"
#include "baltoro/base/result.h"
#include "baltoro/llm/llm.h"
#include "baltoro/server/http.h"

namespace baltoro::server {

struct CallOptions {
  llm::Handling handling;
  std::string cache_salt;  // see llm::CacheScope
  bool progress = false;   // a stream tells how far the prompt is, as comments (": prefill 512/4096")
};

// member                  header               value
// priority                X-Priority           -1000 to 1000, lower is sooner; 0
// timeout                 X-Request-Timeout    seconds, over 0, from the request to the end of its answer
// prefill_progress        X-Prefill-Progress   true, false (header: 1, 0 too)
// max_identical_calls     -                    0 to 1000; see llm::Handling
// stop_repetition         -                    true, false
// cache_salt              -                    text of 1 to 256 bytes: shares no cached prompt with other salts
// The member wins over the header; what is absent in both comes from `defaults`. kInvalidArgument names the member or
// the header.
Result<CallOptions> read_call_options(const Request& head, const json::Value& body, const CallOptions& defaults);

}  // namespace baltoro::server
