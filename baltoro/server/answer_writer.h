// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "baltoro/base/result.h"
#include "baltoro/llm/llm.h"
#include "baltoro/server/http.h"

namespace baltoro::server {

// Turns the events of one request into one dialect's answer: a stream's bytes as they come, or one body at the end.
// Pure: no HTTP, no clock. Calls come in the events' order from one thread.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  // Appends what the client may have now. Called for PrefillProgress too, whose text waits until the answer begins; not
  // for choices that fail; called for a choice's Finished.
  virtual void event(const llm::Event& event, std::string& out) = 0;
  // Every choice has finished well: appends the rest.
  virtual void end(std::string& out) = 0;

  // The dialect's own way to fail: the whole answer, or, where a part of the stream was sent already, what comes in
  // place of end(). OpenAI's unless another dialect says otherwise.
  virtual Response error_response(const Error& error) const;
  virtual void failed(const Error& error, std::string& out);
  // A stream had nothing to say for a while: appends what shows that it lives. An SSE comment unless said otherwise.
  virtual void keep_alive(std::string& out);
};

// What every answer says of itself.
struct AnswerHead {
  std::string id;  // "chatcmpl-...", "cmpl-..."
  std::string model;
  std::int64_t created_unix_s = 0;
  std::string system_fingerprint = {};  // of what computes: the same seed and fingerprint give the same answer
  std::int32_t n = 1;                   // choices per prompt
  std::int32_t choices = 1;             // in all
  bool include_usage = false;
};

}  // namespace baltoro::server
